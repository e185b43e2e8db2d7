"""Counters and timings for Prometheus: sounds by outcome, hours of sound, seconds a stage.

    pip install prometheus-client
    python examples/prometheus_metrics.py

A service would call `prometheus_client.start_http_server(8000)`; here the metrics are printed.
"""

import numpy as np
from prometheus_client import Counter, Histogram, generate_latest

import earmark

SOUNDS = Counter("earmark_sounds", "Sounds by outcome", ["kind", "bundle", "error"])
SECONDS = Counter("earmark_sound_seconds", "Length of the sounds that were answered", ["kind", "bundle"])
ANSWERS = Counter("earmark_answers", "Results, or detections", ["kind", "bundle"])
STAGES = Histogram("earmark_stage_seconds", "Time of a stage for a sound", ["stage", "device"])


def count(one: earmark.Observation) -> None:
    """Take what came of a sound."""
    SOUNDS.labels(one.kind, one.bundle, one.error).inc()
    SECONDS.labels(one.kind, one.bundle).inc(one.duration_s)
    ANSWERS.labels(one.kind, one.bundle).inc(one.answers)
    for stage, milliseconds in one.timings.items():
        STAGES.labels(stage, one.device).observe(milliseconds / 1e3)


stop = earmark.observe(count)
noise = np.random.default_rng(0).normal(0.0, 0.1, 16_000).astype(np.float32)
with earmark.load(device="cpu") as explainer:
    for _ in explainer.explain_many([(noise, 16_000, "good"), (noise[:0], 16_000, "empty")]):
        pass
stop()
print(generate_latest().decode())
