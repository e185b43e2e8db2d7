"""What the training of an interpreter is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from ....errors import RunError
from ..settings import ExplainerSettings


@dataclass(frozen=True, kw_only=True)
class L2iSettings(ExplainerSettings):
    """How to train an L2I interpreter over a classifier (arXiv 2202.11479), or with it, by design."""

    # theta(psi(.)) becomes the classifier.
    by_design: Annotated[
        bool, Meta(description="The components become the classifier, trained with it by the labels.")
    ] = False
    components: (
        Annotated[
            int,
            Meta(
                ge=1,
                description="Of the dictionary.",
                extra={"metavar": "K", "default": "at the knee of the reconstruction error"},
            ),
        ]
        | None
    ) = None
    interpreter: Annotated[
        Literal["compact", "reference"],
        Meta(
            description="compact: at most 8 % of the classifier's multiply-adds; reference: SpeechBrain's "
            "CNN14PSI_stft_2d, over Cnn14."
        ),
    ] = "compact"
    # The paper's weights of the loss: 5, 0.4, 0.5 rising to 1, and no term for the removal.
    alpha: Annotated[float, Meta(ge=0, description="Weight of the reconstruction.")] = 10.0
    beta: Annotated[float, Meta(ge=0, description="Weight of the activations' L1.")] = 0.8
    fidelity_weight: (
        Annotated[
            float,
            Meta(
                ge=0,
                description="Of the cross-entropy with the classifier's answer.",
                extra={"default": "1; by design, with the labels: 5"},
            ),
        ]
        | None
    ) = None
    removal_weight: Annotated[
        float,
        Meta(ge=0, description="Of the class's score without its components, beyond the paper's loss."),
    ] = 3.0
    # Weight of the dictionary's L1 penalties.
    sparsity: Annotated[float, Meta(ge=0, description="Of the dictionary.")] = 0.8
    # The paper's tau.
    threshold: (
        Annotated[
            float,
            Meta(
                ge=0,
                lt=1,
                description="Components of more relevance are selected.",
                extra={"default": "0.2; several labels: 0.3"},
            ),
        ]
        | None
    ) = None
    # By design.
    mixup: float = 0.4
    label_smoothing: float = 0.05

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
