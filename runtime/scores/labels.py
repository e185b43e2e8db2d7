"""Labels of a model: looking one up, and choosing those that are shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import LabelError, MethodError
from ..values.arrays import FloatArray
from .text import reaching

# Labels that JSON holds of each sound and window unless others are asked for.
SHOWN = 10


def label_index(label: object, labels: Sequence[str], bundle: str) -> int:
    """The index of a label, 0..K-1, among all K.

    label: what a user gave: a label, or where labels are `Scientific_Common` either half of one, if no other
        label has that half
    Raises LabelError where there is no such label, with the nearest, or several have that half.
    """
    if not isinstance(label, str):
        raise LabelError(f"target is {label!r}: give a label, such as {labels[0]!r}")
    if label in labels:
        return labels.index(label)
    having = [index for index, one in enumerate(labels) if label in one.split("_", 1)]
    if len(having) == 1:
        return having[0]
    if having:
        several = ", ".join(repr(labels[index]) for index in having[:3])
        raise LabelError(f"{bundle}: {label!r} is a half of {len(having)} labels ({several}): give one whole")
    import difflib

    near = difflib.get_close_matches(label, labels, n=3, cutoff=0.4) or _with_near_half(label, labels)
    hint = (
        f"did you mean {', '.join(map(repr, near))}?"
        if near
        else f"it has {', '.join(labels[:SHOWN])}" + (", ..." if len(labels) > SHOWN else "")
    )
    raise LabelError(f"{bundle}: no label {label!r}; {hint}")


def _with_near_half(label: str, labels: Sequence[str]) -> list[str]:
    """Labels `Scientific_Common` of which one half is near to `label`."""
    import difflib

    halves = {half: one for one in labels if "_" in one for half in one.split("_", 1)}
    return [halves[half] for half in difflib.get_close_matches(label, list(halves), n=3, cutoff=0.6)]


def ranked(scores: FloatArray, task: str) -> list[int]:
    """Indices of scores [K], the highest first, among equals the first; of a regression as they come.

    Values of a regression are of several units, and none is better than another.
    """
    if task == "regression":
        return list(range(len(scores)))
    return [int(index) for index in np.argsort(-scores, kind="stable")]


def best(
    scores: FloatArray, most: int | None = None, min_score: float = 0.0, task: str = "single_label"
) -> list[int]:
    """Indices of the highest scores [K], at most so many (None: all), in the order of `ranked`.

    Those below `min_score` are left out, 0..1.
    """
    return [index for index in ranked(scores, task)[:most] if reaching(float(scores[index]), min_score)]


def listed(labels: Sequence[str], most: int) -> str:
    """The first `most` labels in a line, and how many there are where that is not all."""
    rest = f", ... {len(labels)} in all" if len(labels) > most else ""
    return ", ".join(labels[:most]) + rest


def checked_bounds(most: int | None, min_score: float) -> None:
    """Raise MethodError unless `most` is None or a whole number from 0 on, and `min_score` lies in 0..1."""
    if most is not None and (isinstance(most, bool) or not isinstance(most, (int, np.integer)) or most < 0):
        raise MethodError(f"top is {most!r}: give how many labels, from 0 on, or None for all")
    if isinstance(min_score, bool) or not isinstance(min_score, (int, float, np.number)):
        raise MethodError(f"min_score is {min_score!r}: give a number from 0 to 1")
    if not 0.0 <= float(min_score) <= 1.0:
        raise MethodError(f"min_score is {min_score!r}: give a number from 0 to 1")
