"""Settings of trainings: plain, immutable, written to the run's config as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from ...bounds import check_values, setting
from ...errors import RunError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PATIENCE = "Epochs without a better one before the end; 0: all."
_Weight = Annotated[float, Meta(ge=0)]


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """Which clips are trained on and which are held out, and the seed of all that is drawn."""

    seed: Annotated[int, setting("Same seed, same weights.", ge=0, lt=2**32)] = 0
    val_fold: Annotated[int | None, setting("Validate on the ESC fold N.", metavar="N")] = None
    val_fraction: (
        Annotated[
            float,
            setting("Validate on this part of the source recordings.", gt=0, lt=1, metavar="X"),
        ]
        | None
    ) = None
    train_folds: Annotated[
        tuple[int, ...] | None, setting("Train on these folds only, e.g. 1-3.", metavar="LIST")
    ] = None

    def __post_init__(self) -> None:
        """Raises RunError."""
        check_values(self, RunError)

    @property
    def names_split(self) -> bool:
        """Whether a split is named at all."""
        return self.val_fold is not None or self.val_fraction is not None or bool(self.train_folds)


@dataclass(frozen=True, kw_only=True)
class EpochSettings(SplitSettings):
    """How to train by epochs, with Adam and averaged weights."""

    epochs: Annotated[int, setting("Passes over the data.", ge=1)] = 40
    batch_size: Annotated[int, setting("Clips a step.", ge=1)] = 16
    lr: Annotated[float, setting("Peak learning rate.", gt=0, lt=10, default="0.003")] | None = None
    # None: as many as the cost of what is trained allows.
    width: Annotated[int, setting("Channels; cost grows with the square.", ge=1)] | None = None
    weight_decay: Annotated[float, Meta(ge=0)] = 1e-4
    # Train so that every processor arrives at the same weights (see `loop.fit`); about three times slower.
    exact: bool = False
    ema_decay: Annotated[float, Meta(ge=0, lt=1)] = 0.99

    @property
    def peak_rate(self) -> float:
        """The learning rate at its peak."""
        return 3e-3 if self.lr is None else self.lr


@dataclass(frozen=True, kw_only=True)
class ExplainerSettings(EpochSettings):
    """How to train what explains a frozen classifier."""

    # Part of the clips that noise or another clip is mixed into.
    mixtures: Annotated[float, Meta(ge=0, le=1)] = 0.5
    # Part of the training recordings that the best epoch is chosen by.
    stop_fraction: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    patience: Annotated[int, setting(PATIENCE, ge=0)] = 0


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings(EpochSettings):
    """How to train a classifier. Seconds, Hz; the defaults reach 90 % and more on ESC-10."""

    # Length of sound the model takes at once; shorter sound is zero-padded at its end.
    window: Annotated[float, setting("", gt=0, le=3600, metavar="SECONDS")] = 5.0
    sample_rate: Annotated[int, setting("", ge=1000, le=768000, metavar="HZ")] = 16000
    level: Annotated[Literal["none", "peak"], setting("Gain before the model: none, or to peak 1.")] = "peak"
    multi_label: Annotated[
        bool | None,
        setting(
            "Several labels may hold at once.", off="--single-label", default="where DATA has a labels.csv"
        ),
    ] = None
    # Mixing is wrong where a label counts events.
    mixup: Annotated[float, setting("Mixup's alpha; 0: none.", ge=0, le=10)] = 0.4
    shift: Annotated[float, setting("Part of a sound pushed over an edge.", ge=0, le=1)] = 0.25
    # SpecAugment; each at most so many a sound.
    stretches: Annotated[int, setting("Stretches of time and bands silenced.", ge=0, le=16)] = 2
    label_smoothing: Annotated[float, setting("", ge=0, le=0.9)] = 0.05
    # As many more sounds in every batch as this share of its clips.
    background: Annotated[
        float, setting("Silence and faint noise beside the clips, as evidence for no label.", ge=0, le=1)
    ] = 0.125
    epochs: Annotated[int, setting("Passes over the data.", ge=1)] = 100
    weight_decay: Annotated[float, Meta(ge=0)] = 0.02
    # Channels of the first of four scales; weights and cost grow with its square.
    width: Annotated[int, setting("Channels; cost grows with the square.", ge=1)] = 24
    mels: Annotated[int, Meta(ge=1)] = 64
    # Hop of the STFT; the window is twice as long.
    hop_seconds: Annotated[float, Meta(gt=0)] = 0.02
    ema_decay: Annotated[float, Meta(ge=0, lt=1)] = 0.995

    def __post_init__(self) -> None:
        """Raises RunError."""
        super().__post_init__()
        shortest = 16 * self.hop_seconds
        if self.window < shortest:
            raise RunError(f"window is {self.window:g}: give {shortest:g} s or more")
        check_batch_norm(self)


@dataclass(frozen=True, kw_only=True)
class LmacSettings(ExplainerSettings):
    """How to train an L-MAC decoder over a frozen classifier (arXiv 2403.13086)."""

    decoder: Annotated[
        Literal["compact", "reference"],
        setting(
            "compact: at most a tenth of the classifier's multiply-adds, a quarter where it "
            "takes sound, or 16 channels where these cost more; reference: L-MAC's shape, nine times them."
        ),
    ] = "compact"
    targets: Annotated[
        Literal["predicted", "any"] | None,
        setting(
            "Classes that masks are made for: the predicted one, or any.",
            default="any; predicted of a reference decoder",
        ),
    ] = None
    # How a mask changes magnitudes: as a gain on the linear one, or on its logarithm as in the paper.
    mask_gain: Literal["linear", "log"] = "linear"
    # Whether the loss judges the masked sound fed back as a waveform, or its masked spectrogram.
    listened: bool = True
    # Weight of the mean absolute difference between cells that are neighbours in time or frequency.
    smooth_weight: _Weight = 0.0
    # Weights of the loss, see `lmac.loss`. The paper's code: 4, 0, 0.2, 0, 6.4.
    in_weight: _Weight = 1.0
    gain_weight: _Weight = 3.0
    out_weight: _Weight = 0.0
    out_score_weight: _Weight = 10.0
    # That score counts as a share of the whole sound's, of no less than this; 1: as it is. None: see `loss`.
    out_score_least: Annotated[float, Meta(gt=0, le=1)] | None = None
    area_weight: (
        Annotated[float, setting("Higher: smaller masks.", ge=0, default="15; 10 over features")] | None
    ) = None
    # The area's weight rises from a tenth over this part of the training.
    area_ramp: Annotated[float, Meta(ge=0, le=1)] = 0.7
    # Part of the sounds masked with a sharpened sigmoid, so that masks survive thresholding.
    sharpened: Annotated[float, Meta(ge=0, le=1)] = 0.6
    sharpness: Annotated[float, Meta(gt=0)] = 8.0
    # Once the area has its full weight.
    guided: Annotated[bool, setting("The paper's guided fine-tuning.")] = False
    guided_weight: _Weight = 4.0
    epochs: Annotated[int, setting("Passes over the data.", ge=1)] = 80
    patience: Annotated[int, setting(PATIENCE, ge=0)] = 20
    # At higher rates the masks of a reference decoder become ones and stay so.
    lr: (
        Annotated[
            float,
            setting("Peak learning rate.", gt=0, lt=10, default="0.003; 0.0003 of a reference decoder"),
        ]
        | None
    ) = None

    def __post_init__(self) -> None:
        """Raises RunError."""
        super().__post_init__()
        if self.decoder == "reference" and self.targets == "any":
            raise RunError(
                "targets is any: a reference decoder masks the predicted class; train a compact one"
            )

    @property
    def explained(self) -> Literal["predicted", "any"]:
        """The classes that masks are made for."""
        return self.targets or ("any" if self.decoder == "compact" else "predicted")

    @property
    def peak_rate(self) -> float:
        """The learning rate at its peak."""
        return 3e-4 if self.lr is None and self.decoder == "reference" else super().peak_rate


# Any of the settings, also those of recipes in files of their own.
Settings = TypeVar("Settings", bound="DataclassInstance")


def to_record(settings: DataclassInstance) -> dict[str, object]:
    """The settings as JSON-ready values."""
    record: dict[str, object] = msgspec.to_builtins(settings)
    return record


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


def check_batch_norm(settings: EpochSettings) -> None:
    """Raise RunError where a batch has no deviation to normalise by."""
    if settings.batch_size < 2:
        raise RunError("batch_size is 1: batch norm needs 2 or more")
