"""What pictures of a result show: its methods' own, and the spectrogram of its sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath

from ...errors import MethodError
from ..audio.amplitude import amplitude_of_blocks
from ..audio.writing import SoundFormat
from ..drawing.shown import Chart, Picture, Sheet, Spectrogram
from ..methods.loading import method_of
from ..methods.result import About, AudioKind
from ..report.gather import ExplainedSound
from ..scores.text import score_text


def about_of(
    result: ExplainedSound, audio: AudioKind = "full", coding: SoundFormat = "wav", title: str | None = None
) -> About:
    """What the files and pictures of a result have in common."""
    named = title if title is not None else f"{result.target}  {score_text(result.score, result.task)}"
    caption = f"{PurePath(result.input).name}, explained with {result.bundle}"
    rate, seconds = result.sample_rate, result.duration_s
    return About(named, rate, seconds, audio, coding, caption, lambda: _spectrogram(result))


def chart_of(result: ExplainedSound, method: str | None, title: str | None) -> Chart:
    """What a method says over time; None: the first that says something, else the spectrogram alone.

    Raises MethodError.
    """
    for name in [method] if method is not None else result.parts:
        charts = [one for one in _pictures(result, name, title).values() if isinstance(one, Chart)]
        if charts:
            return charts[0]
    if method is not None:
        raise MethodError(f"the method {method} has no picture over time; see plot_prototypes")
    about = about_of(result, title=title)
    if (shown := about.spectrogram()) is None:
        raise MethodError("nothing to plot: no method has a picture over time, and the sound is not kept")
    return Chart(about.title, about.caption, result.duration_s, shown)


def sheet_of(result: ExplainedSound, name: str, title: str | None) -> Sheet:
    """A picture of the method prototypes. Raises MethodError, PrototypeIndexError."""
    sheet = _pictures(result, "prototypes", title).get(name)
    if not isinstance(sheet, Sheet):
        raise MethodError(f"the method prototypes has no picture {name!r}")
    return sheet


def _pictures(result: ExplainedSound, method: str, title: str | None) -> Mapping[str, Picture]:
    """What the pictures of a method show. Raises MethodError where it did not run."""
    if method not in result.parts:
        ran = ", ".join(result.parts) or "none"
        raise MethodError(f"the method {method!r} did not run (of this result: {ran}): name it in methods=")
    return method_of(method).pictures(result.parts[method], about_of(result, title=title))


def _spectrogram(result: ExplainedSound) -> Spectrogram | None:
    """That of the model, else one of the sound; None where a loaded result has neither."""
    for part in result.parts.values():
        if (shown := part.spectrogram(result.duration_s)) is not None:
            return replace(shown, mask=None)
    if result.sound is None:
        return None
    blocks, samples = result.sound.input_blocks(), result.sound.input_samples
    amplitude = amplitude_of_blocks(blocks, result.sample_rate, samples)
    return Spectrogram(amplitude, result.duration_s, result.sample_rate / 2)
