"""The endpoints, as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import resources
from typing import Annotated

import msgspec
from anyio import create_task_group, to_thread
from msgspec import Meta
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ...printable import printable
from ...runtime.explainer import engine_of
from ...runtime.methods.loading import all_methods
from ...runtime.report.page import live_page
from ...version import __version__
from .access import Access
from .openapi import openapi
from .questions import DetectQuestion, ExplainQuestion
from .refusals import Refused, json_response
from .service import Service
from .settings import THREADS

_FOOTER = "Made by earmark. Sounds go to the server of this page alone, which keeps none."


class Limits(msgspec.Struct, frozen=True):
    """What a server allows."""

    max_bytes: Annotated[int, Meta(description="Bytes of an upload.")]
    max_seconds: Annotated[float, Meta(description="Seconds of a sound.")]
    timeout_s: Annotated[float, Meta(description="Seconds that an answer may take.")]


class ServerFacts(msgspec.Struct, frozen=True):
    """What answers."""

    earmark: Annotated[str, Meta(description="Version of earmark.")]
    bundle: Annotated[str, Meta(description="Name of the bundle.")]
    bundle_id: Annotated[str, Meta(description="Hash of it.")]
    device: Annotated[str, Meta(description="What runs.")]
    task: Annotated[str, Meta(description="What the model's scores are: single_label, multi_label, ...")]
    labels: Annotated[list[str], Meta(description="The classes, in the order of the logits.")]
    methods: Annotated[list[str], Meta(description="What explains unless others are named.")]
    on_request: Annotated[list[str], Meta(description="What explains when it is named.")]
    sample_rate: Annotated[int, Meta(description="Of the model, in Hz.")]
    window_s: Annotated[float, Meta(description="What the model is given at once, in seconds.")]
    limits: Annotated[Limits, Meta(description="What this server allows.")]


def application(service: Service, on_failure: Callable[[Exception], None]) -> ASGIApp:
    """The endpoints of a service as an ASGI application; its lifespan warms up and counts sounds.

    on_failure: called where the bundle turns out not to run
    """
    endpoints = _Endpoints(service)
    routes = [
        Route("/", endpoints.page, methods=["GET"]),
        Route("/healthz", endpoints.health, methods=["GET"]),
        Route("/readyz", endpoints.readiness, methods=["GET"]),
        Route("/metrics", endpoints.metrics, methods=["GET"]),
        Route("/openapi.json", endpoints.openapi, methods=["GET"]),
        Route("/v1/bundle", endpoints.about, methods=["GET"]),
        Route("/v1/explain", endpoints.explain, methods=["POST"]),
        Route("/v1/detect", endpoints.detect, methods=["POST"]),
        Route("/page/explain", endpoints.show, methods=["POST"]),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        # Questions are checked and uploads written in these; each keeps memory of its own.
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        stop_watching = service.metrics.watch()

        async def warm_up() -> None:
            try:
                await to_thread.run_sync(service.warm_up, abandon_on_cancel=True)
            except Exception as error:
                on_failure(error)

        async with create_task_group() as group:
            group.start_soon(warm_up)
            yield
            group.cancel_scope.cancel()
        stop_watching()
        service.end()

    application = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _not_routed},
    )
    application.router.redirect_slashes = False
    settings = service.settings
    return Access(application, settings.token, settings.names, [one.path for one in routes], service.metrics)


class _Endpoints:
    """What each path does."""

    def __init__(self, service: Service) -> None:
        self._service = service
        backend = (resources.files(__package__) / "page" / "backend.js").read_text(encoding="utf-8")
        self._page = live_page("earmark", backend, footer=_FOOTER, allowed={"connect-src": "'self'"})
        engine = engine_of(service.explainer)
        manifest, settings = engine.manifest, service.settings
        about = ServerFacts(
            __version__,
            manifest.name,
            manifest.bundle_id,
            service.explainer.device,
            manifest.task,
            list(manifest.labels),
            service.explainer.methods,
            [method.name for method in all_methods() if method.on_request],
            manifest.sample_rate,
            service.answers.window_s,
            Limits(settings.max_bytes, settings.max_seconds, settings.timeout_s),
        )
        self._about = msgspec.json.encode(about)
        self._openapi = msgspec.json.encode(openapi(settings, ServerFacts))

    async def page(self, _: Request) -> Response:
        """The page that explains live."""
        policy = f"{self._page.policy}; frame-ancestors 'none'"
        return Response(self._page.text, media_type="text/html", headers={"Content-Security-Policy": policy})

    async def health(self, _: Request) -> Response:
        """Whether the process is alive."""
        return Response("ok\n", media_type="text/plain")

    async def readiness(self, _: Request) -> Response:
        """Whether sounds are answered."""
        if self._service.admission.stopping.is_set():
            return Refused(503, "the server is stopping").response()
        if not self._service.ready:
            return Refused(503, "the model is being opened", retry_s=1).response()
        return Response("ok\n", media_type="text/plain")

    async def metrics(self, _: Request) -> Response:
        """What Prometheus asks for."""
        return Response(self._service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, _: Request) -> Response:
        """The interface."""
        return json_response(self._openapi)

    async def about(self, _: Request) -> Response:
        """What answers."""
        return json_response(self._about)

    async def explain(self, request: Request) -> Response:
        """Explain a sound."""
        return await self._service.answered(request, ExplainQuestion, self._service.answers.explain)

    async def detect(self, request: Request) -> Response:
        """Find where labels occur."""
        return await self._service.answered(request, DetectQuestion, self._service.answers.detect)

    async def show(self, request: Request) -> Response:
        """Explain a sound for the page."""
        return await self._service.answered(request, ExplainQuestion, self._service.answers.show)


async def _not_routed(request: Request, error: Exception) -> Response:
    """No such path, or not by this method."""
    assert isinstance(error, HTTPException)  # noqa: S101 (what it is registered for)
    path = printable(request.url.path[:80])
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        refused = Refused(405, f"{path} is asked by {allowed}", headers={"Allow": allowed})
    elif error.status_code == 404:
        refused = Refused(404, f"there is no {path}: /openapi.json says what there is")
    else:
        refused = Refused(400, "the request cannot be read")
    return refused.response()
