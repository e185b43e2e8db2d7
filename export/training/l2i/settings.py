"""What the training of an interpreter is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ....errors import RunError


@dataclass(frozen=True, kw_only=True)
class L2iSettings:
    """How to train an L2I interpreter over a classifier (arXiv 2202.11479), or with it, by design."""

    epochs: int = 40
    batch_size: int = 16
    lr: float = 3e-3
    weight_decay: float = 1e-4
    seed: int = 0
    # Components of the dictionary; None: where the curve of the reconstruction error has its knee.
    components: int | None = None
    # Weight of the dictionary's L1 penalties.
    sparsity: float = 0.8
    # compact: at most 8 % of the classifier's multiply-adds; reference: SpeechBrain's layers, over Cnn14.
    interpreter: Literal["compact", "reference"] = "compact"
    # Features a frame of the compact psi; None: as many as its cost allows.
    width: int | None = None
    # theta(psi(.)) becomes the classifier, trained with the backbone by the clips' labels.
    by_design: bool = False
    # Weights of the loss: reconstruction, L1 of activations, cross-entropy (None: 1, and 5 by design, where
    # it makes the classifier). The paper's: 5, 0.4, 0.5 rising to 1.
    alpha: float = 10.0
    beta: float = 0.8
    fidelity_weight: float | None = None
    # Of the class's score once its components are removed. The paper has no such term: 0.
    removal_weight: float = 3.0
    # Components of more relevance are selected (the paper's tau); None: 0.2, with several labels 0.3.
    threshold: float | None = None
    # Part of the clips heard with noise or another clip mixed in (post-hoc); mixup's alpha (by design).
    mixtures: float = 0.5
    mixup: float = 0.4
    label_smoothing: float = 0.05
    # Post-hoc: part of the training recordings that the best epoch is chosen by, and epochs without a better
    # one after which training ends (0: never early).
    stop_fraction: float = 0.1
    patience: int = 0
    # As in ClassifierSettings.
    exact: bool = False
    ema_decay: float = 0.99
    val_fold: int | None = None
    val_fraction: float | None = None
    train_folds: tuple[int, ...] | None = None

    @property
    def answer_weight(self) -> float:
        """Weight of the cross-entropy with what theta is to answer."""
        usual = 5.0 if self.by_design else 1.0
        return usual if self.fidelity_weight is None else self.fidelity_weight


def check_l2i(settings: L2iSettings) -> None:
    """Raise RunError for settings that cannot work, naming the first."""
    for name in ("epochs", "batch_size", "width", "components"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise RunError(f"{name} {value}: must be 1 or more")
    if settings.batch_size < 2:
        raise RunError("batch size 1: batch norm needs 2 or more")
    if not 0 < settings.lr < 10:
        raise RunError(f"lr {settings.lr:g}: must be above 0 (0.003 is usual)")
    for name in ("alpha", "beta", "fidelity_weight", "removal_weight", "sparsity"):
        value = getattr(settings, name)
        if value is not None and not 0 <= value < 1e6:
            raise RunError(f"{name} {value:g}: a weight of the loss is 0 or more")
    if settings.threshold is not None and not 0 <= settings.threshold < 1:
        raise RunError(f"threshold {settings.threshold:g}: relevances lie below 1; give 0 to 1")
