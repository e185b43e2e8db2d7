"""The curves of `earmark evaluate masks --curves`: metrics against the area kept, as JSON or as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import MissingDependencyError
from ...evaluation.faithfulness.metrics import METRICS
from ...prototypes_index.atomic import open_whole, write_whole
from ...prototypes_index.durability import naming

# What is drawn, from left to right.
_DRAWN = ("faithfulness", "average_drop", "input_fidelity")
SUFFIXES = (".json", ".png", ".svg", ".pdf")


def check_curves(path: Path) -> None:
    """Raise what would otherwise stop the work after it is done."""
    if path.suffix.lower() != ".json":
        _pyplot()


def write_curves(path: Path, points: Sequence[dict[str, Any]]) -> None:
    """Write the points of `faithfulness.table.curves` to `path`, .json or a picture."""
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".json":
        write_whole(path, json.dumps({"points": list(points)}, indent=2) + "\n")
        return
    rows = list(dict.fromkeys((point["condition"], point["domain"]) for point in points))
    pyplot = _pyplot()
    figure, panels = pyplot.subplots(
        len(rows), len(_DRAWN), figsize=(4.2 * len(_DRAWN), 3.4 * len(rows)), squeeze=False, sharex=True
    )
    for (condition, domain), line in zip(rows, panels, strict=True):
        here = [point for point in points if (point["condition"], point["domain"]) == (condition, domain)]
        for key, panel in zip(_DRAWN, line, strict=True):
            for method in dict.fromkeys(point["method"] for point in here):
                mine = [point for point in here if point["method"] == method]
                areas = [point["area"] for point in mine]
                panel.plot(areas, [point[key]["estimate"] for point in mine], marker=".", label=method)
                if mine[0][key]["low"] is not None:
                    low, high = ([point[key][end] for point in mine] for end in ("low", "high"))
                    panel.fill_between(areas, low, high, alpha=0.12)
            panel.set_title(f"{METRICS[key].name}, {condition}, {domain}", fontsize=10)
            panel.set_xlabel("area kept")
            panel.grid(alpha=0.3)
    panels[0, 0].legend(fontsize=8)
    figure.tight_layout()
    with open_whole(path) as file:
        figure.savefig(file, dpi=120, format=path.suffix[1:].lower())
    pyplot.close(figure)


def _pyplot() -> Any:
    """Matplotlib without a screen. Raises MissingDependencyError naming the extra."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingDependencyError(
            "a picture of the curves needs matplotlib, which is not installed; "
            'pip install "earmark[evaluation]", or write them as .json'
        ) from error
    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot
