"""What a user says of a graph that does not say it itself: labels, rate, level, window. Never torch."""

from __future__ import annotations

import os
from pathlib import Path

from ....errors import SourceError
from ....printable import first_line
from ....runtime.audio.lengths import samples_of
from ....runtime.bundle.manifest import Level
from ...frontends.frontend import Frontend


def read_labels(text: str) -> list[str]:
    """Labels from a file with one a line, or from a list with commas. Raises SourceError."""
    path = Path(text)
    # A long list is no name that a file system takes; os.path.isfile answers that with no.
    # One word is a label: a detector has no more.
    named = "," not in text and ("/" in text or "\\" in text or path.suffix != "")
    if named or os.path.isfile(text):  # noqa: PTH113
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(
                f"{text}: no readable file of labels ({first_line(error)}); give one label a line, or a,b,c"
            ) from error
        while lines and not lines[-1].strip():
            lines.pop()
        return [line.strip() for line in lines]
    return [label.strip() for label in text.split(",")]


def rate_of(path: Path, given: int | None, frontend: Frontend | None) -> int:
    """The sample rate that was given or is the front end's. Raises SourceError."""
    own = None if frontend is None else frontend.sample_rate
    rate = given or own
    if rate is None:
        raise SourceError(f"{path}: an .onnx file does not say its sample rate; give it")
    if own is not None and given not in (None, own):
        raise SourceError(
            f"{path}: a sample rate of {given} Hz, and {own} Hz in the description of its front end; correct "
            "one of them (sample_rate)"
        )
    if not 1000 <= rate <= 768000:
        raise SourceError(f"{path}: a sample rate of {rate} Hz; give one between 1000 and 768000")
    return rate


def level_of(path: Path, given: Level | None, frontend: Frontend | None) -> Level:
    """The level that was given or is the front end's. Raises SourceError where they differ."""
    own = None if frontend is None else frontend.level
    if own not in (None, "none", given) and given is not None:
        raise SourceError(f"{path}: the level {given}, and {own} of its front end; leave the level out")
    return given or own or "none"


def window_samples(
    path: Path, fixed: int | None, rate: int, seconds: float | None, usual: int | None = None
) -> int:
    """Samples of a window: the graph's own length, else what was asked for, else the usual one."""
    if fixed is not None:
        if seconds is not None and abs(seconds * rate - fixed) > 0.005 * rate:
            raise SourceError(
                f"{path}: takes {fixed} samples, {fixed / rate:g} s at {rate} Hz; leave the "
                "window out, or correct the sample rate"
            )
        return fixed
    if seconds is None and usual is not None:
        return usual
    if seconds is None:
        raise SourceError(f"{path}: takes sound of any length; say the longest taken at once by --window")
    if not (0.02 <= seconds <= 3600):
        raise SourceError(f"{path}: a window of {seconds:g} s; give one between 0.02 and 3600 s")
    return samples_of(seconds, rate)
