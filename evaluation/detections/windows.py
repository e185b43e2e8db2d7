"""Window-level figures: how well the scores of windows rank those that hold an event, label by label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ...runtime.scores.windows import WindowScores
from ..ranking import average_precision, roc_auc
from .matching import Flags, Occurrence

Scores = npt.NDArray[np.float32]


def holds_event(windows: WindowScores, events: Sequence[Occurrence]) -> Flags:
    """Whether each window shares with one of the events half of it, or half of the event if that is shorter.

    Args:
        windows: W windows.
        events: Of one recording and label.

    Returns:
        [W].

    """
    holds = np.zeros(len(windows), bool)
    for event in events:
        shared = np.minimum(windows.end_s, event.end_s) - np.maximum(windows.start_s, event.start_s)
        shorter = np.minimum(windows.end_s - windows.start_s, event.end_s - event.start_s)
        holds |= shared >= 0.5 * shorter - 1e-9
    return holds


@dataclass(frozen=True)
class RankedWindows:
    """The windows of all recordings, for the labels that have events.

    Attributes:
        labels: Those labels.
        truth: [W, labels] of each recording: whether the window holds an event.
        scores: [W, labels] of each recording, 0..1.

    """

    labels: Sequence[str]
    truth: list[Flags] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)

    def add(self, windows: WindowScores, events: Sequence[Occurrence]) -> None:
        """Take the windows of one more recording with its events."""
        columns = [windows.labels.index(label) for label in self.labels]
        self.scores.append(np.asarray(windows.scores[:, columns], np.float32))
        held = [holds_event(windows, [one for one in events if one.label == name]) for name in self.labels]
        self.truth.append(np.stack(held, axis=1))

    def figures(self) -> dict[str, dict[str, float]]:
        """For each label: windows that hold its events, average precision, area under the ROC curve."""
        if not self.truth:
            return {}
        truth, scores = np.concatenate(self.truth), np.concatenate(self.scores)
        return {
            label: {
                "windows": int(truth[:, k].sum()),
                "window_ap": average_precision(truth[:, k], scores[:, k]),
                "window_auroc": roc_auc(truth[:, k], scores[:, k]),
            }
            for k, label in enumerate(self.labels)
        }
