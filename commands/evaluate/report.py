"""The report of `earmark evaluate masks` for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..console import bold, say

if TYPE_CHECKING:
    from ...evaluation.faithfulness.evaluate import ComponentReport, MaskReport

_FIGURES = {
    "relative_error": "reconstruction error |X - W H| / |X| {:.3f}",
    "squared_error": "(mean square {:.4f})",
    "selected": "{:.1f} components selected",
    "none_selected": "none in {:.1%} of the windows",
}


def print_report(report: MaskReport, *, intervals: bool) -> None:
    """The conditions and the tables, on stdout."""
    say(bold(report.bundle))
    for name, one in report.conditions.items():
        silence = "; ".join(
            f"silence ({domain}) is classified as {answer.label} {answer.score:.0%}"
            for domain, answer in one.silence.items()
        )
        classified = "classified"
        if not report.settings.any_label:
            classified = f"{one.right / one.windows:.1%} classified as labelled"
        say(
            f"{name}: {one.text}. {one.clips} clips, {one.windows} windows, "
            f"{classified} in {one.classify_ms:.1f} ms each; {silence}"
        )
    say("")
    say(*report.table.text(intervals=intervals).split("\n"))
    if intervals and report.differences.rows:
        say("", "mask minus the others, window by window")
        say(*report.differences.text(intervals=True).split("\n"))
    if report.components is not None:
        _print_components(report.components, intervals=intervals)


def _print_components(report: ComponentReport, *, intervals: bool) -> None:
    kind = "by design" if report.by_design else "beside the classifier"
    say("", f"{report.count} components, relevant above {report.threshold:g}; {kind}")
    for name, table in report.fidelity.items():
        figures = [text.format(report.figures[name][key].estimate) for key, text in _FIGURES.items()]
        say(f"{name}: {figures[0]} {figures[1]}, {figures[2]}, {figures[3]}")
        say(*table.text(intervals=intervals).split("\n"))
    if intervals and report.differences.rows:
        say("", "components minus the others, window by window")
        say(*report.differences.text(intervals=True).split("\n"))
