"""What a plot of detections shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

import numpy as np

from ..drawing.shown import Scores
from ..scores.labels import label_index
from .detection import SearchedRecording

# Rows, and columns of scores: of longer recordings the highest of those that share one.
_ROWS, _COLUMNS = 12, 2000


def scores_of(detections: SearchedRecording, labels: Sequence[str] | None, title: str | None) -> Scores:
    """Scores of the labels that matter, and where they were detected. Raises LabelError."""
    windows = detections.windows
    if labels is None:
        most = [label for label, _ in Counter(one.label for one in detections.items).most_common(_ROWS)]
        best = np.argsort(-windows.scores.max(axis=0, initial=0.0), kind="stable")[:3]
        shown = most or [windows.labels[int(one)] for one in best]
    else:
        shown = [windows.labels[label_index(one, windows.labels, detections.bundle)] for one in labels]
    rows = {label: row for row, label in enumerate(shown)}
    # Of windows that overlap, each has the time until the next begins.
    start_s = np.asarray(windows.start_s, np.float64)
    end_s = np.append(start_s[1:], windows.end_s[-1:])
    values = np.asarray(windows.scores)[:, [windows.labels.index(label) for label in shown]]
    if len(start_s) > _COLUMNS:
        first = np.arange(_COLUMNS) * len(start_s) // _COLUMNS
        values = np.maximum.reduceat(values, first, axis=0)
        start_s, end_s = start_s[first], np.append(start_s[first[1:]], end_s[-1:])
    return Scores(
        title=detections.summary if title is None else title,
        caption=f"{PurePath(detections.input).name}, detected with {detections.bundle}",
        seconds=detections.duration_s,
        labels=tuple(shown),
        start_s=start_s,
        end_s=end_s,
        values=values,
        detected=tuple(
            (one.start_s, one.end_s, rows[one.label]) for one in detections.items if one.label in rows
        ),
    )
