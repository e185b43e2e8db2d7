"""The part of components in `earmark evaluate`: fidelity, reconstruction, selection, and who is behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...progress import Progress
from ..console import say

if TYPE_CHECKING:
    from ...evaluation.data.folder import Clip
    from ...evaluation.faithfulness.conditions import Condition
    from ...evaluation.faithfulness.judge import Record
    from ...evaluation.statistics import Interval
    from ...evaluation.table import Table
    from ...runtime.engine import Engine

_FIGURES = {
    "relative_error": "reconstruction error |X - W H| / |X| {:.3f}",
    "squared_error": "(mean square {:.4f})",
    "selected": "{:.1f} components selected",
    "none_selected": "none in {:.1%} of the windows",
}


@dataclass(frozen=True)
class ComponentReport:
    """What a condition's clips say of the components, and components minus the other methods."""

    fidelity: Mapping[str, Table]
    figures: Mapping[str, Mapping[str, Interval]]
    differences: Table
    about: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **self.about,
            "fidelity": {name: table.to_dict() for name, table in self.fidelity.items()},
            "figures": {
                name: {key: value.to_dict() for key, value in some.items()}
                for name, some in self.figures.items()
            },
            "differences": self.differences.to_dict(),
        }

    def print(self, *, intervals: bool) -> None:
        """The tables for people, on stdout."""
        kind = "by design" if self.about["by_design"] else "beside the classifier"
        say("", f"{self.about['count']} components, relevant above {self.about['threshold']:g}; {kind}")
        for name, table in self.fidelity.items():
            said = [text.format(self.figures[name][key].estimate) for key, text in _FIGURES.items()]
            say(f"{name}: {said[0]} {said[1]}, {said[2]}, {said[3]}")
            say(*table.text(intervals=intervals).split("\n"))
        if intervals and self.differences.rows:
            say("", "components minus the others, window by window")
            say(*self.differences.text(intervals=True).split("\n"))


def component_report(
    engine: Engine,
    clips: Sequence[Clip],
    conditions: Sequence[Condition],
    records: Sequence[Record],
    *,
    seed: int,
) -> ComponentReport | None:
    """The report; None where no components were among the methods judged (`records`)."""
    from ...evaluation.faithfulness.components import component_figures, fidelity_table, interpret_clips
    from ...evaluation.faithfulness.table import differences
    from ...runtime.methods.components.interpreter import dictionary_of

    if not any(record.masker == "components" for record in records):
        return None
    spec, task = dictionary_of(engine.graphs).spec, engine.manifest.task
    fidelity: dict[str, Table] = {}
    figures: dict[str, dict[str, Interval]] = {}
    for condition in conditions:
        with Progress(len(clips), f"interpreting, {condition.name}") as bar:
            windows = interpret_clips(engine, clips, condition, seed=seed, on_clip=bar.step)
        fidelity[condition.name] = fidelity_table(windows, task, by_design=spec.by_design, seed=seed)
        figures[condition.name] = component_figures(windows, seed=seed)
    about = {"count": spec.count, "threshold": spec.threshold, "by_design": spec.by_design}
    return ComponentReport(fidelity, figures, differences(records, "components", seed=seed), about)
