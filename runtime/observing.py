"""Counters and timings for whoever watches: one function, told of every sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from ..log import logger
from .document import Kind


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one sound.

    Attributes:
        kind: "result" of explain and explain_many, "detections" of detect.
        input: Name of the sound.
        bundle: Name of the bundle that was asked.
        device: What ran.
        error: Class of the error, such as "AudioError"; "" where there is an answer.
        duration_s: Length of the sound in seconds; 0 where there is an error.
        windows: How many windows were classified.
        answers: Results (one a target) or detections.
        timings: Stage -> milliseconds.

    """

    kind: Kind
    input: str
    bundle: str
    device: str
    error: str = ""
    duration_s: float = 0.0
    windows: int = 0
    answers: int = 0
    timings: Mapping[str, float] = {}


Observer = Callable[[Observation], None]

_observers: list[Observer] = []


def observe(observer: Observer) -> Callable[[], None]:
    """Call `observer` after every sound that is explained or searched in this process.

    It is called in the thread that did it. What it raises is logged and goes no further.

    Args:
        observer: Takes an `Observation`.

    Returns:
        A function that ends it.

    Examples:
        >>> import numpy as np
        >>> seen = []
        >>> stop = earmark.observe(lambda one: seen.append((one.windows, one.error)))
        >>> with earmark.load(device="cpu") as explainer:
        ...     result = explainer.explain(np.zeros(16_000, "float32"), 16_000, methods=[])
        >>> stop()
        >>> seen
        [(1, '')]

    """
    # Its own object, so that the same function may be given twice.
    entry: Observer = lambda one: observer(one)  # noqa: E731, PLW0108
    _observers.append(entry)

    def stop() -> None:
        if entry in _observers:
            _observers.remove(entry)

    return stop


def tell(observation: Observation) -> None:
    """Tell the observers, and the log of errors."""
    if observation.error:
        logger.info("%s: %s", observation.input, observation.error)
    for observer in tuple(_observers):
        try:
            observer(observation)
        except Exception:
            logger.exception("an observer raised")


@contextmanager
def telling_errors(kind: Kind, name: str, bundle: str, device: str) -> Iterator[None]:
    """Tell of an error that ends the block, which goes on."""
    try:
        yield
    except Exception as error:
        tell(Observation(kind=kind, input=name, bundle=bundle, device=device, error=type(error).__name__))
        raise
