"""What a training is told: plain, immutable, written to the run's config as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from ...errors import RunError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PATIENCE = "Epochs without a better one before the end; 0: all."
_N, _X, _LIST = {"metavar": "N"}, {"metavar": "X"}, {"metavar": "LIST"}


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """Which clips are trained on and which are held out, and the seed of all that is drawn."""

    seed: Annotated[int, Meta(ge=0, description="Same seed, same weights.")] = 0
    val_fold: Annotated[int | None, Meta(description="Validate on the ESC fold N.", extra=_N)] = None
    val_fraction: (
        Annotated[
            float,
            Meta(gt=0, lt=1, description="Validate on this part of the source recordings.", extra=_X),
        ]
        | None
    ) = None
    train_folds: Annotated[
        tuple[int, ...] | None, Meta(description="Train on these folds only, e.g. 1-3.", extra=_LIST)
    ] = None

    @property
    def names_split(self) -> bool:
        """Whether a split is named at all."""
        return self.val_fold is not None or self.val_fraction is not None or bool(self.train_folds)


@dataclass(frozen=True, kw_only=True)
class EpochSettings(SplitSettings):
    """How to train by epochs, with Adam and averaged weights."""

    epochs: Annotated[int, Meta(ge=1, description="Passes over the data.")] = 40
    batch_size: Annotated[int, Meta(ge=1, description="Clips a step.")] = 16
    lr: Annotated[float, Meta(gt=0, description="Peak learning rate.")] = 3e-3
    # None: as many as the cost of what is trained allows.
    width: Annotated[int, Meta(ge=1, description="Channels; cost grows with the square.")] | None = None
    weight_decay: float = 1e-4
    # Train so that every processor arrives at the same weights (see `loop.fit`); about three times slower.
    exact: bool = False
    ema_decay: float = 0.99


@dataclass(frozen=True, kw_only=True)
class ExplainerSettings(EpochSettings):
    """How to train what explains a frozen classifier."""

    # Part of the clips that noise or another clip is mixed into.
    mixtures: float = 0.5
    # Part of the training recordings that the best epoch is chosen by.
    stop_fraction: float = 0.1
    patience: Annotated[int, Meta(ge=0, description=PATIENCE)] = 0


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings(EpochSettings):
    """How to train a classifier. Seconds, Hz; the defaults reach 90 % and more on ESC-10."""

    # Length of sound the model takes at once; shorter sound is zero-padded at its end.
    window: Annotated[float, Meta(gt=0, description="", extra={"metavar": "SECONDS"})] = 5.0
    sample_rate: Annotated[int, Meta(ge=1000, description="", extra={"metavar": "HZ"})] = 16000
    level: Annotated[
        Literal["none", "peak"], Meta(description="Gain before the model: none, or to peak 1.")
    ] = "peak"
    multi_label: Annotated[
        bool | None,
        Meta(
            description="Several labels may hold at once.",
            extra={"off": "--single-label", "default": "where DATA has a labels.csv"},
        ),
    ] = None
    # Mixing is wrong where a label counts events.
    mixup: Annotated[float, Meta(ge=0, description="Mixup's alpha; 0: none.")] = 0.4
    shift: Annotated[float, Meta(ge=0, le=1, description="Part of a sound pushed over an edge.")] = 0.25
    # SpecAugment; each at most so many a sound.
    stretches: Annotated[int, Meta(ge=0, description="Stretches of time and bands silenced.")] = 2
    label_smoothing: Annotated[float, Meta(ge=0, le=1, description="")] = 0.05
    epochs: Annotated[int, Meta(ge=1, description="Passes over the data.")] = 100
    weight_decay: float = 0.02
    # Channels of the first of four scales; weights and cost grow with its square.
    width: Annotated[int, Meta(ge=1, description="Channels; cost grows with the square.")] = 24
    mels: int = 64
    # Hop of the STFT; the window is twice as long.
    hop_seconds: float = 0.02
    ema_decay: float = 0.995


@dataclass(frozen=True, kw_only=True)
class LmacSettings(ExplainerSettings):
    """How to train an L-MAC decoder over a frozen classifier (arXiv 2403.13086)."""

    decoder: Annotated[
        Literal["compact", "reference"],
        Meta(
            description="compact: at most a tenth of the classifier's multiply-adds; reference: L-MAC's "
            "shape, nine times them."
        ),
    ] = "compact"
    targets: Annotated[
        Literal["predicted", "any"] | None,
        Meta(
            description="Whom the mask speaks for: the predicted class, or any that is asked for.",
            extra={"default": "any; predicted of a reference decoder"},
        ),
    ] = None
    # How a mask changes magnitudes: as a gain on the linear one, or on its logarithm as in the paper.
    mask_gain: Literal["linear", "log"] = "linear"
    # Whether the loss judges the masked sound fed back as a waveform, or its masked spectrogram.
    listened: bool = True
    # Weight of the mean absolute difference between cells that are neighbours in time or frequency.
    smooth_weight: float = 0.0
    # Weights of the loss, see `lmac.loss`. The paper's code: 4, 0, 0.2, 0, 6.4.
    in_weight: float = 1.0
    gain_weight: float = 3.0
    out_weight: float = 0.0
    out_score_weight: float = 10.0
    area_weight: Annotated[float, Meta(ge=0, description="Higher: smaller masks.")] = 15.0
    # The area's weight rises from a tenth over this part of the training.
    area_ramp: float = 0.7
    # Part of the sounds masked with a sharpened sigmoid, so that masks survive thresholding.
    sharpened: float = 0.6
    sharpness: float = 8.0
    # Once the area has its full weight.
    guided: Annotated[bool, Meta(description="The paper's guided fine-tuning.")] = False
    guided_weight: float = 4.0
    epochs: Annotated[int, Meta(ge=1, description="Passes over the data.")] = 80
    patience: Annotated[int, Meta(ge=0, description=PATIENCE)] = 20

    @property
    def explained(self) -> Literal["predicted", "any"]:
        """Whom the mask speaks for."""
        return self.targets or ("any" if self.decoder == "compact" else "predicted")


# Any of the settings, also those of recipes in files of their own.
Settings = TypeVar("Settings", bound="DataclassInstance")


def to_record(settings: DataclassInstance) -> dict[str, object]:
    """The settings as JSON-ready values."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()}


def from_record(kind: type[Settings], record: Mapping[str, object]) -> Settings:
    """The settings that `to_record` wrote. Raises RunError for fields that are strange or damaged."""
    known = {field.name for field in fields(kind)}
    strange = sorted(set(record) - known)
    if strange:
        raise RunError(
            f"the run's config has training settings this earmark does not know: {', '.join(strange)}"
        )
    try:
        return msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        raise RunError(f"the run's config is damaged: training {error}") from error


def check(settings: ClassifierSettings | LmacSettings) -> None:
    """Raise RunError for settings that cannot work, naming the first."""
    for name in ("epochs", "batch_size", "width"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise RunError(f"{name} {value}: must be 1 or more")
    if not 0 < settings.lr < 10:
        raise RunError(f"lr {settings.lr:g}: must be above 0 (0.003 is usual)")
    if isinstance(settings, ClassifierSettings):
        if not 1000 <= settings.sample_rate <= 768000:
            raise RunError(f"sample rate {settings.sample_rate} Hz: give 1000 to 768000")
        shortest = 16 * settings.hop_seconds
        if not shortest <= settings.window <= 3600:
            raise RunError(f"window {settings.window:g} s: give {shortest:g} to 3600 seconds")
        if settings.batch_size < 2:
            raise RunError("batch size 1: batch norm needs 2 or more")
        for name, most in (("mixup", 10.0), ("shift", 1.0), ("label_smoothing", 0.9), ("stretches", 16)):
            if not 0 <= getattr(settings, name) <= most:
                raise RunError(f"{name} {getattr(settings, name):g}: give 0 to {most:g}")
    elif settings.decoder == "reference" and settings.targets == "any":
        raise RunError(
            "a reference decoder speaks for the predicted class; for any class train a compact one"
        )
