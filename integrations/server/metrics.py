"""Counters for Prometheus: of requests, and through `earmark.observe` of sounds."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

from ...runtime.observing import Observation, observe
from .admission import Admission

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """What a server counts, in a registry of its own."""

    def __init__(self, admission: Admission, version: str, bundle: str, bundle_id: str, device: str) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        about = Info("earmark", "What answers", registry=registry)
        about.info({"version": version, "bundle": bundle, "bundle_id": bundle_id, "device": device})
        self.requests = Counter(
            "earmark_http_requests", "Requests by status", ["endpoint", "status"], registry=registry
        )
        self.seconds = Histogram(
            "earmark_http_request_seconds",
            "From a request's head to its answer",
            ["endpoint"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self.upload_bytes = Counter("earmark_upload_bytes", "Bytes of uploads", registry=registry)
        computing = Gauge("earmark_computing", "Requests that compute", registry=registry)
        computing.set_function(lambda: admission.computing)
        waiting = Gauge("earmark_waiting", "Requests that are received or wait", registry=registry)
        waiting.set_function(lambda: admission.waiting)
        self._sounds = Counter("earmark_sounds", "Sounds by outcome", ["kind", "error"], registry=registry)
        self._sound_seconds = Counter(
            "earmark_sound_seconds", "Length of the sounds that were answered", ["kind"], registry=registry
        )
        self._answers = Counter("earmark_answers", "Results, or detections", ["kind"], registry=registry)
        self._stages = Histogram(
            "earmark_stage_seconds",
            "Time of a stage for a sound",
            ["stage"],
            buckets=_BUCKETS,
            registry=registry,
        )

    def watch(self) -> Callable[[], None]:
        """Count every sound from now on; what is returned ends it."""
        return observe(self._observed)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def _observed(self, one: Observation) -> None:
        self._sounds.labels(one.kind, one.error).inc()
        self._sound_seconds.labels(one.kind).inc(one.duration_s)
        self._answers.labels(one.kind).inc(one.answers)
        for stage, milliseconds in one.timings.items():
            self._stages.labels(stage).observe(milliseconds / 1e3)
