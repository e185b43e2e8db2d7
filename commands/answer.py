"""A result as a few lines for a person: what, how sure, when and in which band, and what it resembles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .console import bold, yellow

if TYPE_CHECKING:
    from ..runtime.methods.components.result import ComponentsResult
    from ..runtime.methods.prototypes.result import Place, Prototype
    from ..runtime.methods.segments.result import SegmentsResult
    from ..runtime.results import Result

_SPANS = 4


def answer(name: str, result: Result, *, top: int = 3) -> list[str]:
    """Lines for `console.say`, which styles them where stdout is a terminal."""
    lines = [f"{bold(name)}  {_facts(result)}"]
    lines += [f"  {topic:<9} {text}" for topic, text in _lines(result, top)]
    lines += [f"  {yellow('warning')}   {warning}" for warning in result.warnings]
    return lines


def _facts(result: Result) -> str:
    channels = f"{result.channel_count} channel{'s' if result.channel_count != 1 else ''}"
    return f"{result.duration_s:.2f} s, {result.sample_rate} Hz, {channels}"


def _lines(result: Result, top: int) -> Iterator[tuple[str, str]]:
    heard = [f"{label} {score:.1%}" for label, score in result.predictions[:top]]
    yield "heard", bold(heard[0]) + "".join(f"   {text}" for text in heard[1:])
    if result.target != result.predictions[0][0]:
        yield "explained", result.target
    if all(part is None for part in (result.mask, result.segments, result.components, result.prototypes)):
        yield "why", "not asked: -m segments says which stretches count (it asks the model some 200 times)"
    mask = result.mask
    if mask is not None:
        spans = [f"{start:.2f}-{end:.2f} s" for start, end in mask.spans[:_SPANS]]
        more = f" and {len(mask.spans) - _SPANS} more" if len(mask.spans) > _SPANS else ""
        where = ", ".join(spans) + more if spans else "nowhere in particular"
        low, high = mask.band
        yield "evidence", f"{where}; {low:.0f}-{high:.0f} Hz; {mask.area:.0%} of the spectrogram"
    if result.segments is not None:
        yield from _segments(result.segments, top)
    if result.components is not None:
        yield from _components(result.components, top)
    for rescored in (result.rescored, result.components.rescored if result.components is not None else None):
        for domain, scores in (rescored or {}).items():
            kept, removed = scores["mask_in"], scores["mask_out"]
            what = "" if rescored is result.rescored else "components, "
            yield "rescored", f"{what}{domain}: kept {kept:.1%}, removed {removed:.1%}"
    for view, prototypes in (result.prototypes or {}).items():
        for index, found in enumerate(prototypes[:top]):
            topic = "resembles" if index == 0 else ""
            yield (
                topic,
                f"{view if index == 0 else '':<14} {_place(found.place):<26} -> {' + '.join(found.labels)} "
                f"{found.similarity:.2f}  {found.clip} {_place(found)}",
            )
    if result.channels is not None:
        yield "adds up" if result.channels.additive else "channels", result.channels.sum
    yield "bundle", result.bundle
    total = sum(result.timings.values())
    yield "took", f"{total:.0f} ms on {result.device}"


def _place(at: Place | Prototype) -> str:
    return f"{at.start_s:.2f}-{at.end_s:.2f} s, {at.fmin_hz:.0f}-{at.fmax_hz:.0f} Hz"


def _segments(found: SegmentsResult, top: int) -> Iterator[tuple[str, str]]:
    """The segments that matter most, in order of rank, and how far they can be believed."""
    sign = "" if found.signed else ", sign of the marginal effect"
    for rank, index in enumerate(found.strongest(top)):
        place = []
        if found.axis != "frequency":
            place.append(f"{found.start_s[index]:.2f}-{found.end_s[index]:.2f} s")
        if found.axis != "time":
            place.append(f"{found.fmin_hz[index]:.0f}-{found.fmax_hz[index]:.0f} Hz")
        spread = found.uncertainty[index]
        doubt = f" ± {spread:.3g}" if math.isfinite(spread) else ""
        says = "for" if found.importance[index] >= 0 else "against"
        rate = f" ({found.density[index]:+.3g} a second)" if found.uneven else ""
        text = f"{', '.join(place)}   {says} it: {found.importance[index]:+.3g}{doubt}{rate}"
        yield "segments" if rank == 0 else "", text
    unit = {"log_odds": "log-odds", "impurity": "shares of the forest", "score": "shares of the score"}
    yield (
        "",
        f"{unit[found.unit]}{sign}; {found.surrogate} surrogate, {found.fill} fill, "
        f"held-out R2 {found.r2:.2f}, {found.calls} calls",
    )


def _components(found: ComponentsResult, top: int) -> Iterator[tuple[str, str]]:
    """The components that matter most for each label that holds: relevance, what and when, where from."""
    for label in (found.label, *found.also):
        mine = found.of(label)
        whose = f"{label}: " if found.also else ""
        for rank, index in enumerate(mine.selected[:top]):
            one = mine[index]
            known = f"   mostly {one.label}" if one.label else ""
            clip = f", as in {one.clip} {one.clip_start_s:.1f}-{one.clip_end_s:.1f} s" if one.clip else ""
            topic = "consists" if rank == 0 else ""
            yield topic, f"{whose if rank == 0 else ''}{one.relevance:.2f}  {one.name}{known}{clip}"
        count = f"{len(mine.selected)} of {len(found)} components are relevant (above {found.threshold:g})"
        yield ("", count) if mine.selected else ("consists", f"{whose}{count}")
