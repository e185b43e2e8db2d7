"""The curves of `earmark evaluate masks --curves`: metrics against the area kept, as JSON or as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import MissingDependencyError
from ...prototypes_index.atomic import open_whole
from .options import make_folder_of, write_file

if TYPE_CHECKING:
    from ...evaluation.faithfulness.evaluate import CurvePoint

# What is drawn, from left to right.
_DRAWN = ("faithfulness", "average_drop", "input_fidelity")
_SUFFIXES = (".json", ".png", ".svg", ".pdf")


def check_curves(path: Path) -> None:
    """Raise what would otherwise stop the work after it is done.

    Raises:
        click.BadParameter: The file's ending is none of .json, .png, .svg, .pdf.
        MissingDependencyError: A picture needs matplotlib, which is not installed.

    """
    if path.suffix.lower() not in _SUFFIXES:
        raise click.BadParameter(f"{path}: end it with {', '.join(_SUFFIXES)}", param_hint="--curves")
    if path.suffix.lower() != ".json":
        _pyplot()


def write_curves(path: Path, points: Sequence[CurvePoint]) -> None:
    """Write the points to `path`, .json or a picture, whole or not at all. Raises WriteError."""
    from ...evaluation.report import json_ready

    if path.suffix.lower() == ".json":
        write_file(path, json.dumps({"points": json_ready(points)}, indent=2) + "\n")
        return
    make_folder_of(path)
    figure = _drawn(points)
    with open_whole(path) as file:
        figure.savefig(file, dpi=120, format=path.suffix[1:].lower())
    _pyplot().close(figure)


def _drawn(points: Sequence[CurvePoint]) -> Any:
    """A row of panels for each condition and domain."""
    from ...evaluation.faithfulness.metrics import METRICS

    rows = list(dict.fromkeys((point.condition, point.domain) for point in points))
    figure, panels = _pyplot().subplots(
        len(rows), len(_DRAWN), figsize=(4.2 * len(_DRAWN), 3.4 * len(rows)), squeeze=False, sharex=True
    )
    for (condition, domain), line in zip(rows, panels, strict=True):
        here = [point for point in points if (point.condition, point.domain) == (condition, domain)]
        for key, panel in zip(_DRAWN, line, strict=True):
            for method in dict.fromkeys(point.method for point in here):
                curve = [(one.area, getattr(one, key)) for one in here if one.method == method]
                areas = [area for area, _ in curve]
                panel.plot(areas, [value.estimate for _, value in curve], marker=".", label=method)
                low, high = [value.low for _, value in curve], [value.high for _, value in curve]
                panel.fill_between(areas, low, high, alpha=0.12)
            panel.set_title(f"{METRICS[key].name}, {condition}, {domain}", fontsize=10)
            panel.set_xlabel("area kept")
            panel.grid(alpha=0.3)
    panels[0, 0].legend(fontsize=8)
    figure.tight_layout()
    return figure


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
