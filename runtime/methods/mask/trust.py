"""How far a mask is to be believed, without classifying its parts: probabilities out of what is known anyway.

Two things are asked of a mask: that the sound it keeps is alone classified as the target, and that the sound
it removes is not. For each, the manifest holds a logistic model over a few features of a window, fitted to
recordings that nothing was trained on (`evaluation/trust/`). Where the parts were classified
(`rescore=True`), what came of it takes the place of the estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ....errors import BundleError
from ....forks import fork_waits
from ...bundle.manifest import Manifest, Task, TrustModel, TrustSpec
from ...inference.scores import HOLDS
from ...values.arrays import FloatArray
from ...values.records import ResultRecord
from ..rescoring import Rescored
from .document import TrustDict

Features = npt.NDArray[np.float64]

# What is known of a window, in the order of a model's weights.
FEATURES = ("log-odds", "area", "kept energy", "removed level")
# Beyond, nothing more is learnt from log-odds.
_MOST = 12.0
# Below a probability of this, a warning says so.
_DOUBTFUL = 0.5
# Level of silence in decibels.
_FLOOR_DB = -80.0


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Trust(ResultRecord):
    """How far a mask is to be believed.

    Attributes:
        kept: Probability that the kept sound alone is classified as the target, 0..1.
        removed: Probability that the removed sound is not, 0..1.
        how: "estimated" by what was measured on other recordings, "measured" by rescoring: then 0 or 1.
        error: Of estimates the larger expected calibration error on other recordings; None where measured.

    """

    kept: float
    removed: float
    how: Literal["estimated", "measured"]
    error: float | None = None

    def to_dict(self) -> TrustDict:
        """JSON-ready."""
        return {
            "kept": round(self.kept, 6),
            "removed": round(self.removed, 6),
            "how": self.how,
            "error": None if self.error is None else round(self.error, 6),
        }

    @property
    def text(self) -> str:
        """In one line."""
        if self.how == "measured":
            kept, removed = ("is" if one else "is not" for one in (self.kept, not self.removed))
            return f"measured: the kept part {kept} of the class, the removed part {removed}"
        return (
            f"estimated: {self.kept:.0%} that the kept part alone is of the class, {self.removed:.0%} that "
            "the removed part is not"
        )

    def warnings(self, target: str) -> list[str]:
        """What a user should know of an estimate; rescoring has warnings of its own."""
        if self.how == "measured":
            return []
        lines = []
        if self.kept < _DOUBTFUL:
            lines.append(f"the kept part alone is {target!r} with a probability of {self.kept:.0%} only")
        if self.removed < _DOUBTFUL:
            lines.append(f"what is left without it is still {target!r} with {1.0 - self.removed:.0%}")
        return [f"doubtful: {line} (estimated; --rescore measures it)" for line in lines]


def log_odds(logits: npt.ArrayLike, target: int, task: Task) -> float:
    """The log-odds of a label by its logits [K], within +-12: log p / (1 - p)."""
    values = np.array(logits, np.float64)
    odds = float(values[target])
    if task != "multi_label":
        if len(values) < 2:
            return _MOST
        # Those of the others together.
        values[target] = -np.inf
        top = values.max()
        odds -= float(top + np.log(np.exp(values - top).sum()))
    return min(max(odds, -_MOST), _MOST)


def features_of(
    logits: FloatArray,
    target: int,
    task: Task,
    *,
    area: float,
    energies: npt.NDArray[np.floating],
) -> Features:
    """What is known of a masked window, as `FEATURES` names it.

    logits: of the window [K]; area: mean of the mask, 0..1
    energies: [3] of the window, of what is kept and of what is removed, see `audio.stft.energies_of`
    """
    whole, kept, removed = (float(one) for one in energies)
    shares = kept / max(whole, 1e-12), removed / max(whole, 1e-12)
    level = max(10.0 * np.log10(max(shares[1], 1e-12)), _FLOOR_DB)
    return np.array([log_odds(logits, target, task), area, shares[0], level / 10.0])


@fork_waits
def probability(model: TrustModel, features: Features) -> Features:
    """What a model says of windows with features [W, n], [W] in 0..1."""
    probabilities: Features = 0.5 * (1.0 + np.tanh(0.5 * (model.bias + features @ np.array(model.weights))))
    return probabilities


def estimate(spec: TrustSpec, features: Features) -> Trust:
    """How far a mask is to be believed, by the features of its windows [W, n].

    Of several windows the probabilities are averaged.
    """
    kept, removed = (float(probability(model, features).mean()) for model in (spec.kept, spec.removed))
    return Trust(kept, removed, "estimated", max(spec.kept.error, spec.removed.error))


def measured(rescored: Mapping[str, Rescored], target: str, task: Task) -> Trust:
    """What came of classifying the parts as sound."""
    scores = rescored["audio"]
    if task == "multi_label":
        kept, still = scores["mask_in"] >= HOLDS, scores["mask_out"] >= HOLDS
    else:
        kept, still = scores["mask_in_label"] == target, scores["mask_out_label"] == target
    return Trust(float(kept), float(not still), "measured")


def check_trust(manifest: Manifest, path: Path) -> None:
    """Models fit the features, and silence the labels. Raises BundleError."""
    spec = manifest.trust
    if spec is None:
        return
    if {len(spec.kept.weights), len(spec.removed.weights)} != {len(FEATURES)}:
        raise BundleError(
            f"{path}: what it says of trust in masks does not fit; measure it again with "
            "earmark evaluate trust --store"
        )
