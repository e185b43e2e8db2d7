"""Settings of the training of an interpreter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from ....bounds import setting
from ..settings import ExplainerSettings, check_batch_norm


@dataclass(frozen=True, kw_only=True)
class L2iSettings(ExplainerSettings):
    """How to train an L2I interpreter over a classifier (arXiv 2202.11479), or with it, by design."""

    # theta(psi(.)) becomes the classifier.
    by_design: Annotated[
        bool, setting("The components become the classifier, trained with it by the labels.")
    ] = False
    components: (
        Annotated[
            int,
            setting(
                "Spectra of the dictionary.", ge=1, metavar="K", default="96, or as many as the sounds allow"
            ),
        ]
        | None
    ) = None
    epochs: Annotated[int, setting("Passes over the data.", ge=1)] = 60
    interpreter: Annotated[
        Literal["compact", "reference"],
        setting(
            "compact: at most 8 % of the classifier's multiply-adds; reference: SpeechBrain's "
            "CNN14PSI_stft_2d, over Cnn14."
        ),
    ] = "compact"
    # The paper's weights of the loss: 5, 0.4, 0.5 rising to 1, and no term for the removal.
    alpha: Annotated[float, setting("Weight of the reconstruction.", ge=0)] = 10.0
    beta: Annotated[float, setting("Weight of the activations' L1.", ge=0)] = 0.8
    fidelity_weight: (
        Annotated[
            float,
            setting(
                "Of the cross-entropy with the classifier's answer.",
                ge=0,
                default="1; by design, with the labels: 5",
            ),
        ]
        | None
    ) = None
    removal_weight: Annotated[
        float, setting("Of the class's score without its components, beyond the paper's loss.", ge=0)
    ] = 3.0
    # Weight of the dictionary's L1 penalties.
    sparsity: Annotated[float, setting("Of the dictionary.", ge=0)] = 0.8
    spectra: Annotated[
        Literal["parts", "whole"],
        setting(
            "parts: half of the components are learnt from what lasts in the sounds, half from "
            "the rest; whole: all from the sounds as they are, as in the paper."
        ),
    ] = "parts"
    # The paper's tau.
    threshold: (
        Annotated[
            float,
            setting(
                "Components of more relevance are selected.", ge=0, lt=1, default="0.2; several labels: 0.3"
            ),
        ]
        | None
    ) = None
    # By design.
    mixup: Annotated[float, Meta(ge=0, le=10)] = 0.4
    label_smoothing: Annotated[float, Meta(ge=0, le=0.9)] = 0.05

    def __post_init__(self) -> None:
        """Raises RunError."""
        super().__post_init__()
        check_batch_norm(self)

    @property
    def answer_weight(self) -> float:
        """Weight of the cross-entropy with what theta is to answer."""
        usual = 5.0 if self.by_design else 1.0
        return usual if self.fidelity_weight is None else self.fidelity_weight
