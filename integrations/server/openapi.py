"""The interface as an OpenAPI document: of the types that requests are read into and records are made of."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from ...runtime.json_schema import json_schema
from ...version import __version__
from .questions import DetectQuestion, ExplainQuestion, UploadQuestion, holds_json, repeatable
from .refusals import ErrorAnswer
from .settings import ServerSettings
from .uploads import FIELD

Schema = dict[str, Any]

_REFERENCE = "#/components/schemas/"
_BINARY: Schema = {"type": "string", "format": "binary", "description": "A sound file."}
# Status -> why. Those of every path, and those of paths that take a sound.
_ALWAYS = {
    401: "The token is missing or wrong.",
    421: "The server is not known by that name.",
}
_OF_SOUND = {
    400: "A parameter does not exist or does not fit; the message names the nearest.",
    403: "The request came from a page of another site.",
    408: "The body came too slowly.",
    413: "The upload or its sound is larger than this server takes.",
    415: "The body is of another type.",
    429: "Too many requests of this client are in work; Retry-After says when to ask again.",
    500: "A defect, or the device failed.",
    501: "A package that is needed is not installed here.",
    503: "The server is full or stops; Retry-After says when to ask again.",
}


def openapi(settings: ServerSettings, about: type[msgspec.Struct]) -> Schema:
    """Make the document, OpenAPI 3.1. about: what `/v1/bundle` answers."""
    kinds: list[type[UploadQuestion]] = [ExplainQuestion, DetectQuestion]
    (*questions, error, described), parts = msgspec.json.schema_components(
        [*kinds, ErrorAnswer, about], ref_template=_REFERENCE + "{name}"
    )
    records = json_schema()["$defs"]
    components = {**json.loads(json.dumps(records).replace("#/$defs/", _REFERENCE)), **parts}
    asked = [components.pop(one["$ref"].rpartition("/")[2])["properties"] for one in questions]
    sounds = [
        ("/v1/explain", "explain", "Say what a sound is classified as, and why.", "Result"),
        ("/v1/detect", "detect", "Find where labels occur in a recording, and why.", "Detections"),
    ]
    paths: dict[str, Schema] = {
        path: {"post": _sound(name, summary, record, kind, fields, error)}
        for (path, name, summary, record), kind, fields in zip(sounds, kinds, asked, strict=True)
    }
    paths["/v1/bundle"] = {"get": _plain("bundle", "Say what answers.", _json(described), error)}
    ok = {"text/plain": {"schema": {"type": "string"}}}
    paths["/metrics"] = {"get": _plain("metrics", "Metrics for Prometheus.", ok, error)}
    for path, summary in (
        ("/healthz", "Say whether the process lives."),
        ("/readyz", "Say whether it is ready."),
    ):
        paths[path] = {"get": _plain(path[1:], summary, ok, error)}
    paths["/readyz"]["get"]["responses"]["503"] = _response("It is not.", _json(error), retry=True)
    document: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "earmark",
            "version": __version__,
            "description": "Explains audio classifiers. Answers are records of schema-1.json.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": {name: components[name] for name in sorted(components)}},
    }
    if settings.token is not None:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        for path in ("/healthz", "/readyz"):
            document["paths"][path]["get"]["security"] = []
    # As the schema of records has them.
    renamed: Schema = json.loads(re.sub(r'(\w+)Dict"', r'\1"', json.dumps(document)))
    return renamed


def _sound(
    name: str, summary: str, record: str, kind: type[UploadQuestion], fields: dict[str, Schema], error: Schema
) -> Schema:
    """An operation that takes a sound and gives a record."""
    parameters = {field: _given(schema) for field, schema in fields.items()}
    json_fields = [field for field in fields if holds_json(kind, field)]
    form: Schema = {
        "type": "object",
        "properties": {FIELD: _BINARY, **parameters},
        "required": [FIELD],
        "additionalProperties": False,
    }
    encoding = {field: {"contentType": "application/json"} for field in json_fields}
    bodies = ("application/octet-stream", "audio/flac", "audio/mpeg", "audio/ogg", "audio/wav")
    answer = _json({"$ref": _REFERENCE + record})
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [
            {
                "name": field,
                "in": "query",
                "description": schema.get("description", ""),
                **_carried(kind, field, schema),
            }
            for field, schema in parameters.items()
        ],
        "requestBody": {
            "required": True,
            "description": "The sound, or a form with it; fields of the form are parameters, too.",
            "content": {
                "multipart/form-data": {"schema": form, "encoding": encoding},
                **{body: {"schema": _BINARY} for body in bodies},
            },
        },
        "responses": {
            "200": _response("The record.", answer),
            "422": _response("The sound cannot be used; the record says why in `error`.", answer),
            **_refused({**_ALWAYS, **_OF_SOUND}, error),
        },
    }


def _plain(name: str, summary: str, content: Schema, error: Schema) -> Schema:
    """An operation that takes nothing."""
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": _response("It.", content), **_refused(_ALWAYS, error)},
    }


def _given(schema: Schema) -> Schema:
    """The schema of a parameter that is given: what is left away is not null."""
    some = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name not in {"anyOf", "default"}}
    if not some:
        return {**rest, **({"default": schema["default"]} if schema.get("default") is not None else {})}
    return {**rest, **(some[0] if len(some) == 1 else {"anyOf": some})}


def _carried(kind: type[UploadQuestion], name: str, schema: Schema) -> Schema:
    """How a parameter stands in a query."""
    if holds_json(kind, name):
        return {"content": {"application/json": {"schema": schema}}}
    return {"schema": schema, **({"style": "form", "explode": True} if repeatable(kind, name) else {})}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _response(description: str, content: Schema, *, retry: bool = False) -> Schema:
    headers = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
    return {"description": description, "content": content, **({"headers": headers} if retry else {})}


def _refused(reasons: dict[int, str], error: Schema) -> Schema:
    return {
        str(status): _response(reason, _json(error), retry=status in {429, 503})
        for status, reason in sorted(reasons.items())
    }
