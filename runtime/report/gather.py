"""What a page shows of one explanation, gathered from what the methods answered."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ...errors import EarmarkError
from ...printable import printable
from ...times import duration_text, span_text, time_text
from ..audio.sound import OpenSound
from ..methods.components.result import ComponentsResult
from ..methods.evidence import Overview
from ..methods.mask.result import MaskResult
from ..methods.prototypes.channels import Contributions
from ..methods.prototypes.prototype import Place, Prototype
from ..methods.prototypes.result import PrototypesResult
from ..methods.result import MethodResult
from ..methods.segments.picture import shown_values
from ..methods.segments.result import SegmentsResult
from ..scores.text import score_text
from ..values.arrays import FloatArray
from .items import (
    Box,
    Contribution,
    Item,
    Picture,
    Segment,
    ShownClip,
    ShownMatch,
    ShownSegments,
    ShownSounds,
    ShownView,
    Track,
)
from .media import SMALL, flac, mono, picture_of, sounds_of, spectrogram_of

# Labels with their scores, matches of a view, tracks of the mixer, lines of methods unknown here.
_LABELS, _MATCHES, _TRACKS, _LINES = 6, 3, 8, 12
# Of a training clip around its place: a second to each side, and no more than so long.
_AROUND_S, _LONGEST_CLIP_S = 1.0, 3.0
# Longer sound would make pages that no browser opens gladly.
LONGEST_S = 300.0
_UNITS = {
    "log_odds": "log-odds",
    "impurity": "share of the forest",
    "score": "share of the score",
    "value": "units of the value",
}
# What the views compare, in words.
_VIEWS = {
    "square": "A spot in time and frequency (square)",
    "time": "A moment, over all frequencies (time)",
    "frequency": "A band, over all the time (frequency)",
    "time_frequency": "A moment within a band (time_frequency)",
    "window": "All of a window (window)",
}


class ExplainedSound(Protocol):
    """What is asked of a `Result`."""

    @property
    def input(self) -> str: ...  # noqa: D102
    @property
    def predictions(self) -> tuple[tuple[str, float], ...]: ...  # noqa: D102
    @property
    def target(self) -> str: ...  # noqa: D102
    @property
    def score(self) -> float: ...  # noqa: D102
    @property
    def task(self) -> str: ...  # noqa: D102
    @property
    def sample_rate(self) -> int: ...  # noqa: D102
    @property
    def channel_count(self) -> int: ...  # noqa: D102
    @property
    def duration_s(self) -> float: ...  # noqa: D102
    @property
    def parts(self) -> Mapping[str, MethodResult]: ...  # noqa: D102
    @property
    def sound(self) -> OpenSound | None: ...  # noqa: D102
    @property
    def warnings(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def timings(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def bundle(self) -> str: ...  # noqa: D102
    @property
    def bundle_id(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


def item_of(result: ExplainedSound, *, start_s: float = 0.0) -> Item:
    """All that a page shows and plays of a result, whose sound begins at `start_s` in a recording."""
    parts = list(result.parts.values())
    mask = next((part for part in parts if isinstance(part, MaskResult)), None)
    components = next((part for part in parts if isinstance(part, ComponentsResult)), None)
    segments = next((part for part in parts if isinstance(part, SegmentsResult)), None)
    prototypes = next((part for part in parts if isinstance(part, PrototypesResult)), None)
    explains = mask if mask is not None else components
    original, without = _original(result, explains)
    kept = None if explains is None or original is None else mono(explains.audio)
    sounds = None if original is None else sounds_of(result.sample_rate, original, kept)
    clips, views = ([], []) if prototypes is None else _views(prototypes)
    known = (MaskResult, ComponentsResult, SegmentsResult, PrototypesResult)
    return Item(
        label=printable(result.target),
        score=result.score,
        start_s=start_s,
        seconds=result.duration_s,
        summary=_summary(result, mask, components, start_s),
        predictions=[(printable(label), score) for label, score in result.predictions[:_LABELS]],
        warnings=[printable(warning) for warning in result.warnings],
        facts=_facts(result),
        picture=_picture(result, mask, components, original),
        sounds=sounds,
        segments=None if segments is None else _segments(segments),
        tracks=[] if components is None or sounds is None else _tracks(components, sounds),
        clips=clips,
        views=views,
        contributions=[] if prototypes is None else _contributions(prototypes.channels),
        contributions_note="" if prototypes is None else printable(_sum(prototypes.channels, result.task)),
        others=[
            (topic, printable(text))
            for part in parts
            if not isinstance(part, known)
            for topic, text in part.lines(_LINES)
        ],
        without=without,
    )


def _original(
    result: ExplainedSound, explains: MaskResult | ComponentsResult | None
) -> tuple[FloatArray | None, str]:
    """The input as mono sound [samples], or None and why there is none."""
    if result.duration_s > LONGEST_S:
        longest, lasts = f"{LONGEST_S / 60:.0f} minutes", duration_text(result.duration_s)
        return None, (
            f"a page plays sound of up to {longest}, and this one lasts {lasts}; explain a part of it, or "
            "let earmark detect cut and explain what it detects"
        )
    try:
        if result.sound is not None:
            blocks = [block.mean(axis=0, dtype=np.float32) for block in result.sound.input_blocks()]
            return np.concatenate(blocks), ""
        if explains is not None:
            return mono(explains.audio) + mono(explains.residual), ""
    except EarmarkError as error:
        return None, f"the sound cannot be read any more: {printable(str(error))}"
    return None, "the result was loaded, and no method kept its sound"


def _picture(
    result: ExplainedSound,
    mask: MaskResult | None,
    components: ComponentsResult | None,
    original: FloatArray | None,
) -> Picture | None:
    """The model's spectrogram with the mask on it, else one of the sound alone."""
    if mask is not None:
        return _seen(mask.overview, result.duration_s, mask.max_hz)
    if original is None:
        return None
    if components is not None and components.selected:
        return _seen(components.overview, result.duration_s, components.max_hz)
    return spectrogram_of(original, result.sample_rate)


def _seen(overview: Overview, seconds: float, max_hz: float) -> Picture:
    return picture_of(overview.amplitude, seconds, max_hz, overview.mask)


def _summary(
    result: ExplainedSound, mask: MaskResult | None, components: ComponentsResult | None, start_s: float
) -> list[str]:
    """The answer in sentences; times count from the begin of the recording."""
    label = printable(result.target)
    best, score = result.predictions[0]
    if result.task == "regression":
        sentences = [f"The model gives {score_text(result.score, result.task)} for {label}."]
    elif best == result.target:
        sentences = [f"The model says {label}, with a score of {result.score:.1%}."]
    else:
        sentences = [
            f"Explained is {label}, with a score of {result.score:.1%}; the model says {printable(best)}, "
            f"{score:.1%}."
        ]
    if mask is not None:
        low, high = mask.band
        where = ", ".join(
            span_text(start_s + start, start_s + end, between=" to ") for start, end in mask.spans[:3]
        )
        more = f" and {len(mask.spans) - 3} more" if len(mask.spans) > 3 else ""
        sentences.append(
            f"What it rests on lies {f'at {where}{more}, ' if where else ''}"
            f"between {low:.0f} and {high:.0f} Hz: {mask.area:.0%} of the spectrogram."
        )
    if components is not None:
        count = len(components.selected)
        sentences.append(
            f"{count} of {len(components)} components matter to it."
            if count
            else "No component matters to it."
        )
    for what, part in (("what the mask keeps", mask), ("the components that matter", components)):
        if part is not None and part.rescored and "audio" in part.rescored:
            scores = part.rescored["audio"]
            sentences.append(
                f"Given {what} alone, the model gives {label} {scores['mask_in']:.1%}; given the rest, "
                f"{scores['mask_out']:.1%}."
            )
    return sentences


def _facts(result: ExplainedSound) -> list[tuple[str, str]]:
    """What was run."""
    channels = (
        "mono" if result.channel_count == 1 else f"{result.channel_count} channels, played as their mean"
    )
    seconds = sum(result.timings.values()) / 1000.0
    return [
        ("Sound", f"{time_text(result.duration_s, 3)}, {result.sample_rate} Hz, {channels}"),
        ("Bundle", printable(result.bundle)),
        ("Bundle ID", result.bundle_id),
        ("Methods", ", ".join(result.parts) or "none: scores alone"),
        ("Device", result.device),
        ("Seed", str(result.seed)),
        *([("Time", duration_text(seconds))] if seconds else []),
    ]


def _segments(segments: SegmentsResult) -> ShownSegments:
    values, spreads, per = shown_values(segments)
    rows = zip(
        segments.start_s,
        segments.end_s,
        segments.fmin_hz,
        segments.fmax_hz,
        values,
        spreads,
        strict=True,
    )
    sign = "" if segments.signed else "; signs are those of the marginal effect"
    return ShownSegments(
        axis=segments.axis,
        unit=_UNITS[segments.unit] + per,
        note=(
            f"The {segments.surrogate} surrogate predicts {max(0.0, segments.r2):.0%} of what unseen masks "
            f"do to the score (R2 {segments.r2:.2f}, {segments.calls} forward passes, "
            f"{segments.fill} fill){sign}."
        ),
        rows=[
            Segment(
                _box(start, end, low, high), float(value), float(spread) if math.isfinite(spread) else None
            )
            for start, end, low, high, value, spread in rows
        ],
        pairs=[pair.text for pair in segments.interacting],
    )


def _tracks(components: ComponentsResult, sounds: ShownSounds) -> list[Track]:
    """The selected components, most relevant first, at the scale of the item's sounds."""
    tracks = []
    for index in components.selected[:_TRACKS]:
        one = components[index]
        known = f"mostly {one.label}" if one.label else ""
        clip = f"as in {one.clip} {one.clip_start_s:.1f} to {one.clip_end_s:.1f} s" if one.clip else ""
        note = printable(", ".join(filter(None, (known, clip))))
        tracks.append(
            Track(
                printable(one.name), note, one.relevance, flac(mono(one.audio()), sounds.rate, sounds.scale)
            )
        )
    return tracks


def _views(prototypes: PrototypesResult) -> tuple[list[ShownClip], list[ShownView]]:
    """The nearest prototypes of each view; a stretch of a clip that several show is kept once."""
    clips: list[ShownClip] = []
    known: dict[tuple[str, int, int], int] = {}
    views = []
    window_s = prototypes.channels.end_s - prototypes.channels.start_s
    for name, nearest in prototypes.prototypes.items():
        matches = [_match(one, window_s, clips, known) for one in nearest[:_MATCHES]]
        views.append(ShownView(_VIEWS.get(name, name), matches))
    return clips, views


def _match(
    one: Prototype, window_s: float, clips: list[ShownClip], known: dict[tuple[str, int, int], int]
) -> ShownMatch:
    """A prototype; its stretch of sound joins `clips` where it is not there yet."""
    stretch = None
    if one.sound is not None:
        place_s = one.end_s - one.start_s
        try:
            wave, rate, start = one.around(min(window_s, place_s + 2 * _AROUND_S, _LONGEST_CLIP_S))
        except EarmarkError:
            # The page shows the rest; `earmark verify` tells what is wrong with the file.
            wave = np.zeros(0, np.float32)
        if len(wave):
            key = (str(one.sound), round(start * rate), len(wave))
            if key not in known:
                known[key] = len(clips)
                sounds, picture = sounds_of(rate, wave), spectrogram_of(wave, rate, SMALL)
                clips.append(ShownClip(printable(one.clip), start, picture, sounds))
            stretch = known[key]
    return ShownMatch(
        label=printable(" + ".join(one.labels)),
        similarity=one.similarity,
        clip=printable(one.clip),
        here=_box_of(one.place),
        there=_box(one.start_s, one.end_s, one.fmin_hz, one.fmax_hz),
        stretch=stretch,
        attribution=printable(one.attribution),
        unlike=one.unlike,
    )


def _contributions(channels: Contributions) -> list[Contribution]:
    """The summands of the logit, the largest first; none where channels only localise."""
    rows = [
        Contribution(f"channel {one.channel}", one.contribution, _box_of(one.place))
        for one in channels
        if one.contribution is not None
    ]
    if rows and channels.remainder is not None and channels.bias is not None:
        rows += [
            Contribution(f"{channels.others} other channels", channels.remainder),
            Contribution("bias", channels.bias),
        ]
    return rows


def _sum(channels: Contributions, task: str) -> str:
    """What the bars are, in a sentence."""
    if channels.additive:
        what = "value" if task == "regression" else "logit"
        return f"They sum to the {what} of {channels.label}, {channels.logit:.2f}."
    return channels.note


def _box_of(place: Place) -> Box:
    return _box(place.start_s, place.end_s, place.fmin_hz, place.fmax_hz)


def _box(*edges: float) -> Box:
    start, end, low, high = (round(float(edge), 4) for edge in edges)
    return start, end, low, high
