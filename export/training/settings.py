"""What a training is told: plain, immutable, written to the run's config as it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from ...errors import RunError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings:
    """How to train a classifier. Seconds, Hz; the defaults reach 90 % and more on ESC-10."""

    epochs: int = 100
    batch_size: int = 16
    lr: float = 3e-3
    weight_decay: float = 0.02
    seed: int = 0
    # Length of sound the model hears at once; shorter sound is zero-padded at its end.
    window: float = 5.0
    sample_rate: int = 16000
    # Channels of the first of four scales; weights and cost grow with its square.
    width: int = 24
    mels: int = 64
    # Hop of the STFT; the window is twice as long.
    hop_seconds: float = 0.02
    level: Literal["none", "peak"] = "peak"
    # Several labels may hold at once, or none. None: where the folder has a table of labels.
    multi_label: bool | None = None
    # Mixup's alpha; 0: sounds are not mixed. Mixing is wrong where a label counts what is heard.
    mixup: float = 0.4
    # How far sound may be pushed over the window's edge, in parts of it.
    shift: float = 0.25
    # Stretches of time and of bands that are silenced (SpecAugment), each at most so many a sound.
    stretches: int = 2
    # Train so that every processor arrives at the same weights (see `loop.fit`); about three times slower.
    exact: bool = False
    label_smoothing: float = 0.05
    ema_decay: float = 0.995
    val_fold: int | None = None
    val_fraction: float | None = None
    train_folds: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class LmacSettings:
    """How to train an L-MAC decoder over a frozen classifier (arXiv 2403.13086)."""

    epochs: int = 40
    batch_size: int = 16
    lr: float = 3e-3
    weight_decay: float = 1e-4
    seed: int = 0
    # compact: at most a tenth of the classifier's multiply-adds; reference: L-MAC's own shape, nine times.
    decoder: Literal["compact", "reference"] = "compact"
    # Channels of the decoder; None: as many as its cost allows.
    width: int | None = None
    # Whom the mask speaks for: the predicted class, as in the paper, or any class that is asked for.
    targets: Literal["predicted", "any"] = "predicted"
    # Weights of the loss, see `masking_loss`. The paper's code: 4, 0, 0.2, 0, 6.4.
    in_weight: float = 1.0
    gain_weight: float = 3.0
    out_weight: float = 0.0
    out_score_weight: float = 6.5
    area_weight: float = 15.0
    # The area's weight rises from a tenth over this part of the training.
    area_ramp: float = 0.7
    # Part of the sounds masked with a sharpened sigmoid, so that masks survive thresholding.
    sharpened: float = 0.6
    sharpness: float = 8.0
    # Part of the clips heard with noise or another clip mixed in.
    mixtures: float = 0.5
    # The paper's guided fine-tuning, once the area has its full weight.
    guided: bool = False
    guided_weight: float = 4.0
    # Part of the training recordings that the best epoch is chosen by, and epochs without a better one
    # after which training ends (0: never early).
    stop_fraction: float = 0.1
    patience: int = 20
    # As in ClassifierSettings.
    exact: bool = False
    ema_decay: float = 0.99
    val_fold: int | None = None
    val_fraction: float | None = None
    train_folds: tuple[int, ...] | None = None


# Any of the settings, also those of recipes in files of their own.
Settings = TypeVar("Settings", bound="DataclassInstance")


def to_record(settings: DataclassInstance) -> dict[str, Any]:
    """The settings as JSON-ready values."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(settings).items()}


def from_record(kind: type[Settings], record: dict[str, Any]) -> Settings:
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
