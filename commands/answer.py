"""A result as a few lines for a person: what, how sure, when and in which band, and what it resembles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .console import bold, yellow

if TYPE_CHECKING:
    from ..runtime.results import Result


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
    if not result.parts:
        from ..runtime.methods.loading import all_methods

        hints = [f"-m {one.name} {one.on_request}" for one in all_methods() if one.on_request]
        yield "why", f"not asked: {'; '.join(hints)}"
    yield from result.lines(top)
    yield "bundle", result.bundle
    total = sum(result.timings.values())
    yield "took", f"{total:.0f} ms on {result.device}"
