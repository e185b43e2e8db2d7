"""`WindowScores`: what the classifier says of every window of a sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypedDict

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from ...bounds import setting
from ..bundle.manifest import Task
from ..values.arrays import FloatArray
from ..values.dataframes import import_pandas
from ..values.records import ResultRecord
from .labels import SHOWN, best, checked_bounds, label_index

if TYPE_CHECKING:
    import pandas

Seconds = npt.NDArray[np.float64]


# Begin and end of something, in JSON.
Span = Annotated[list[float], Meta(min_length=2, max_length=2)]


class Prediction(TypedDict):
    """A label and its score, 0..1, in JSON."""

    label: Annotated[str, setting("That.")]
    score: Annotated[float, setting("0..1; of a regression the value.")]


class WindowDict(TypedDict):
    """One window in JSON: when it lies, and its best labels."""

    start_s: Annotated[float, setting("Begin in seconds.")]
    end_s: Annotated[float, setting("End in seconds.")]
    predictions: Annotated[list[Prediction], setting("Its best labels, best first.")]


@dataclass(frozen=True, eq=False, repr=False)
class WindowScores(ResultRecord):
    """The scores of every window of a sound, W windows and K labels.

    Attributes:
        labels: The K classes, in the order of the logits.
        start_s: [W] where each window begins, in seconds; exact to the sample.
        end_s: [W] where it ends; windows overlap where the hop is shorter than they are.
        scores: [W, K] probabilities, 0..1; of a long sound in a temporary file that goes with the result.
        task: Of the bundle: "single_label", "multi_label", or "regression", whose scores are values.

    Examples:
        >>> import numpy as np
        >>> scores = np.float32([[0.25, 0.75]])
        >>> windows = earmark.WindowScores(("dog", "siren"), np.zeros(1), np.ones(1), scores)
        >>> len(windows), windows.top(1)
        (1, [(('siren', 0.75),)])

    """

    labels: tuple[str, ...]
    start_s: Seconds
    end_s: Seconds
    scores: FloatArray
    task: Task = "single_label"

    def __len__(self) -> int:
        """How many windows there are."""
        return len(self.scores)

    def top(
        self, most: int | None = SHOWN, *, min_score: float = 0.0, labels: Sequence[str] | None = None
    ) -> list[tuple[tuple[str, float], ...]]:
        """The best labels of each window.

        Args:
            most: How many labels at the most, for each window; None: all.
            min_score: Labels with a lower score are left out, 0..1.
            labels: Only these; None: any.

        Returns:
            For each window pairs (label, score), best first; of a regression in the labels' order.

        Raises:
            LabelError: One of `labels` does not exist.
            MethodError: A bound that is none.

        """
        checked_bounds(most, min_score)
        if labels is None:
            names, scores = self.labels, self.scores
        else:
            among = [label_index(label, self.labels, "the windows") for label in dict.fromkeys(labels)]
            names, scores = tuple(self.labels[k] for k in among), self.scores[:, among]
        return [
            tuple((names[k], float(row[k])) for k in best(row, most, min_score, self.task)) for row in scores
        ]

    def to_dataframe(self) -> pandas.DataFrame:
        """The scores as a table, a row for each window.

        Returns:
            Columns start_s, end_s and one for each label.

        Raises:
            MissingDependencyError: pandas is not installed.

        """
        pandas = import_pandas()
        table = pandas.DataFrame(np.asarray(self.scores), columns=list(self.labels))
        # Labels may have these names.
        table.insert(0, "start_s", self.start_s, allow_duplicates=True)
        table.insert(1, "end_s", self.end_s, allow_duplicates=True)
        return table

    def to_dict(
        self, most: int | None = SHOWN, *, min_score: float = 0.0, labels: Sequence[str] | None = None
    ) -> list[WindowDict]:
        """The windows in plain types, each with its best labels.

        Args:
            most: How many labels at the most, for each window; None: all.
            min_score: Labels with a lower score are left out, 0..1.
            labels: Only these; None: any.

        Returns:
            One JSON-ready mapping for each window, in order.

        Raises:
            LabelError: One of `labels` does not exist.
            MethodError: A bound that is none.

        """
        rows = self.top(most, min_score=min_score, labels=labels)
        return [
            {
                "start_s": round(float(start), 6),
                "end_s": round(float(end), 6),
                "predictions": [{"label": label, "score": score} for label, score in row],
            }
            for start, end, row in zip(self.start_s, self.end_s, rows, strict=True)
        ]
