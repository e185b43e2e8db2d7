"""`earmark serve`: explanations over HTTP, by Starlette and uvicorn.

serving    a socket, uvicorn, signals           protocol  limits on connections
app        endpoints                            access    who may ask; log lines, metrics of requests
service    a request's way through the limits   admission, uploads, questions, answers
openapi    the interface as a document          metrics, settings, refusals
"""
