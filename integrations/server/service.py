"""A request: its question is checked, its upload received, its turn waited for, its answer computed."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from ...errors import EarmarkError, as_earmark_error
from ...runtime.document import error_dict
from ...runtime.explainer import Explainer, engine_of
from ...version import __version__
from .admission import Admission, Gone, stopping
from .answers import Prepared, UploadAnswers
from .metrics import Metrics
from .questions import Asked, question_of
from .refusals import Refused, json_response, problem, status_of
from .settings import ServerSettings
from .uploads import Upload, check_head, received

logger = logging.getLogger("earmark.server")


class Service:
    """One explainer, which threads share, and what stands between it and its clients.

    ready: whether the first answer would be no slower than the next
    """

    def __init__(self, explainer: Explainer, settings: ServerSettings) -> None:
        self.settings = settings
        self.explainer = explainer
        self.ready = False
        self.answers = UploadAnswers(explainer, settings)
        self.admission = Admission(
            settings.concurrency, settings.queue, settings.per_client, settings.timeout_s
        )
        manifest = engine_of(explainer).manifest
        self.metrics = Metrics(
            self.admission, __version__, manifest.name, manifest.bundle_id, explainer.device
        )
        self._pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="earmark answer")
        # Set where answers are to end as they are.
        self._ended = threading.Event()

    async def answered(
        self, request: Request, kind: type[Asked], prepare: Callable[[Asked], Prepared]
    ) -> Response:
        """The answer to a request with a sound."""
        query = request.query_params.multi_items()

        def asked(fields: Sequence[tuple[str, str]] = ()) -> Prepared:
            return prepare(question_of(kind, [*query, *fields]))

        try:
            check_head(request, self.settings.max_bytes)
            with self.admission.place(request.client.host if request.client else ""):
                # A question that cannot be answered needs no sound. To find the nearest of many labels takes
                # its time.
                prepared = await to_thread.run_sync(asked)
                async with received(request, self.settings.max_bytes) as upload:
                    self.metrics.upload_bytes.inc(upload.size)
                    if upload.fields:
                        prepared = await to_thread.run_sync(asked, upload.fields)
                    return await self._computed(request, prepared, upload)
        except Refused as refused:
            return refused.response()
        except Gone:
            # Nobody reads it.
            return Response(status_code=499)
        except EarmarkError as error:
            return problem(status_of(error), error_dict(error))
        except Exception as raised:
            defect = as_earmark_error(raised)
            _note(defect)
            return problem(500, error_dict(defect))
        except asyncio.CancelledError:
            if not self.admission.stopping.is_set():
                raise
            # It took longer than a server that stops waits.
            return stopping().response()

    async def _computed(self, request: Request, prepared: Prepared, upload: Upload) -> Response:
        """The answer, computed in a thread when it is this request's turn; ended where its client goes."""
        gone = asyncio.create_task(_gone(request))
        try:
            async with self.admission.turn(gone):
                cancelled = threading.Event()
                gone.add_done_callback(lambda _: cancelled.set())
                loop = asyncio.get_running_loop()
                future = loop.run_in_executor(
                    self._pool,
                    prepared.answer,
                    upload,
                    lambda: cancelled.is_set() or self._ended.is_set(),
                )
                answer = await future
        finally:
            gone.cancel()
        if answer.error is not None:
            _note(answer.error)
        retry = {"Retry-After": "5"} if answer.status == 503 else None
        return json_response(answer.body, answer.status, retry)

    def warm_up(self) -> None:
        """Make the first answer as fast as the next. Raises what the explainer raises."""
        self.explainer.warm_up()
        self.ready = True

    def end(self) -> None:
        """Let go of everything; answers that are still computed end at their next window."""
        self._ended.set()
        self._pool.shutdown(wait=False, cancel_futures=True)


async def _gone(request: Request) -> None:
    """Ends when the client does; its body was received before."""
    with suppress(asyncio.CancelledError):
        while (await request.receive())["type"] != "http.disconnect":
            pass


def _note(error: EarmarkError) -> None:
    """Note what is no client's fault, and where it came from where somebody looks for defects."""
    if status_of(error) >= 500:
        logger.error("%s: %s", type(error).__name__, error, exc_info=error)
