"""What a user can set for the method `segments`, checked once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from msgspec import Meta

from ....bounds import setting
from ....errors import MethodError, MissingDependencyError
from ..options import MethodOptions

if TYPE_CHECKING:
    from ...values.arrays import FloatArray
else:
    # NumPy takes its time to import, and the command line asks for these types alone.
    FloatArray = Any

# Called during the search: passes so far, and the most there will be.
Progress = Callable[[int, int], None]
Axis = Literal["time", "frequency", "both"]
Surrogate = Literal["smooth", "ridge", "least_squares", "kernel_shap", "forest"]
Fill = Literal["ambience", "noise", "zeros", "mean", "background"]
Precision = Literal["fp32", "int8"]
Prior = Literal["mask", "flat"]

Preset = Literal["bolanos2025"]

_Share = Annotated[float, Meta(gt=0.0, lt=1.0)]

# What a list may stand for.
_TUPLES = ("windows", "shares")
# What a preset does not go by.
_NOT_OF_PRESETS = ("calls", "windows", "shares", "fade_seconds", "active", "early_stop", "prior", "pairs")

# Below this a surrogate has nothing to be judged by.
FEWEST_CALLS = 16
# Calls of the reference's pooled setting, sampled directly: 9 combinations of 334 masks and the sound itself.
REFERENCE_CALLS = 3007


@dataclass(frozen=True)
class SegmentSettings(MethodOptions):
    """Settings of the method `segments`.

    Attributes:
        calls: Most sounds that the model is asked about for a window, 16..10,000,000; of a sound longer than
            a window see `fine_windows`.
        segment_seconds: Length of a segment in seconds, 0.001..3600; the last may be shorter.
        axis: What is masked: "time" (stretches of it), "frequency" (bands) or "both" (tiles).
        bands: Bands of equal width on the mel scale, 2..64; for the axes "frequency" and "both".
        surrogate: What is fitted to the answers: "smooth" (a Gaussian process over time), "ridge",
            "least_squares", "kernel_shap", or "forest" (scikit-learn; its importances have no sign of their
            own and take that of the segment's marginal effect).
        fill: What replaces a masked segment: "noise" (white, of the clip's mean and a share of its
            deviation), "ambience" (noise of the spectrum and level of the clip's quieter half), "zeros",
            "mean" (the clip's), or "background".
        background: With the fill "background" another clip [n], finite, repeated to length; else None.
        windows: Lengths, in segments, of the runs that are masked together, each 1..1000.
        shares: The masked share of a mask is drawn from this range within 0..1; its complement is asked for,
            too.
        fade_seconds: Raised-cosine fade at the border of a masked segment in seconds, 0..`segment_seconds`.
        active: Choose masks by what they would teach about the segments.
        early_stop: Stop before `calls` once the ranks of the segments are settled.
        prior: What the surrogate smooth starts from: "mask", the mask of the bundle's decoder, where it has
            one for the target, or "flat", nothing. It has no last word: what the model answers decides.
        pairs: Remove the stretches that were found one by one and together, with up to a sixth of the calls:
            does either suffice, are both needed? For the surrogate smooth, and at most 128 stretches of time.
        precision: Which classifier is asked: "fp32", or "int8" where the bundle has one.
        preset: "bolanos2025": the masks of the published method, its fills (noise or zeros) and surrogates
            (forest, which serves for smooth, too, least_squares, kernel_shap), with its defects, in 3007
            calls. What it does not go by is refused. None: this project's own.
        fine_windows: Of a sound longer than the model's window, for how many windows there are `calls`,
            1..1000; all windows with a noticeable share of the score share them, down to 16 calls each.
        batch: Sounds per call of the model, 1..65536; None: 8, or fewer where they are long. A GPU gains by
            more.

    Raises:
        MethodError: A value does not fit, with what may be given instead.

    Examples:
        >>> settings = earmark.SegmentSettings(calls=500, axis="both", bands=16)

    """

    calls: Annotated[
        int,
        setting(
            "Most passes of the model for a window (long sound: 4 times).",
            ge=FEWEST_CALLS,
            le=10_000_000,
            metavar="N",
        ),
    ] = 200
    segment_seconds: Annotated[
        float, setting("Length of a segment.", ge=0.001, le=3600.0, option="--segment", metavar="SECONDS")
    ] = 0.1
    axis: Annotated[Axis, setting("What is masked.")] = "time"
    bands: Annotated[int, setting("Frequency bands.", ge=2, le=64, metavar="N")] = 8
    surrogate: Annotated[Surrogate, setting("What is fitted to the answers.")] = "smooth"
    fill: Annotated[
        Fill, setting("What replaces a masked segment.", choices=("ambience", "noise", "zeros", "mean"))
    ] = "noise"
    background: FloatArray | None = None
    windows: tuple[Annotated[int, Meta(ge=1, le=1000)], ...] = (1, 3, 5)
    shares: tuple[_Share, _Share] = (0.1, 0.9)
    fade_seconds: Annotated[float, Meta(ge=0.0)] = 0.005
    active: bool = True
    early_stop: bool = True
    prior: Annotated[Prior, setting("Start from the bundle's mask, where it has one, or from nothing.")] = (
        "mask"
    )
    pairs: Annotated[bool, setting("Ask whether one stretch can stand in for another.", off="--no-pairs")] = (
        True
    )
    precision: Annotated[Precision, setting("Which classifier is asked.")] = "fp32"
    preset: Annotated[Preset, setting("The published method, 3007 passes.")] | None = None
    fine_windows: Annotated[int, Meta(ge=1, le=1000)] = 4
    batch: Annotated[int, Meta(ge=1, le=65536)] | None = None

    def __post_init__(self) -> None:
        """Raises MethodError."""
        super().__post_init__()
        if self.preset is not None:
            _check_preset(self)
        if self.axis == "time" and self.bands != _default("bands"):
            raise MethodError("bands divide frequency: choose the axis frequency or both, or leave bands")
        if self.fade_seconds > self.segment_seconds:
            raise MethodError(
                f"fade_seconds is {self.fade_seconds:g}: give at most a segment, {self.segment_seconds:g}"
            )
        if not self.windows:
            raise MethodError("windows holds no run length: give whole numbers such as 1, 3, 5")
        low, high = self.shares
        if low > high:
            raise MethodError(f"shares are {low} to {high}: give the smaller first, as 0.1, 0.9")
        if (self.fill == "background") != (self.background is not None):
            raise MethodError("the fill background and a background sound go together: give both or neither")
        if self.background is not None:
            import numpy as np

            sound = np.asarray(self.background)
            if sound.ndim != 1 or not sound.size or not np.isfinite(sound).all():
                raise MethodError("background is no finite sound [n] of at least one sample")

    @classmethod
    def of(cls, given: Mapping[str, Any], method: str = "segments") -> Self:
        """Check values by name.

        Args:
            given: Field -> value; lists may stand for tuples.
            method: Name of the method, for error texts.

        Returns:
            The settings.

        Raises:
            MethodError: A name does not exist, or a value does not fit.

        """
        return super().of({k: tuple(v) if k in _TUPLES else v for k, v in given.items()}, method)

    @property
    def forest(self) -> bool:
        """Whether a random forest is fitted, by choice or because the preset's default is one."""
        return self.surrogate == "forest" or (self.preset is not None and self.surrogate == "smooth")

    @property
    def starts_from_mask(self) -> bool:
        """Whether the surrogate has a use for a mask, and may have it."""
        return self.prior == "mask" and self.surrogate == "smooth" and self.preset is None

    @property
    def budget(self) -> int:
        """Most calls for one clip."""
        return REFERENCE_CALLS if self.preset else self.calls

    def require(self) -> None:
        """Raise MissingDependencyError where the surrogate's package is missing."""
        if self.forest:
            try:
                import sklearn.ensemble  # noqa: F401
            except ImportError as error:
                raise MissingDependencyError(
                    f'the surrogate forest needs scikit-learn ({error}): pip install "earmark[evaluation]"'
                ) from error


@dataclass(frozen=True)
class SegmentOptions(SegmentSettings):
    """Settings of `segments` for one explanation.

    Attributes:
        progress: Called with (done, budget) after every batch of calls.

    """

    progress: Progress | None = None


def _check_preset(settings: SegmentSettings) -> None:
    """The reference masks time, with zeros or noise, knows three surrogates, and draws masks its own way."""
    if settings.axis != "time":
        raise MethodError(f"the preset {settings.preset} masks time: leave axis away")
    if settings.fill not in {"noise", "zeros"}:
        raise MethodError(f"the preset {settings.preset} fills with noise or zeros")
    if settings.surrogate not in {"smooth", "forest", "least_squares", "kernel_shap"}:
        raise MethodError(
            f"the preset {settings.preset} has the surrogates forest, least_squares, kernel_shap"
        )
    for name in _NOT_OF_PRESETS:
        if getattr(settings, name) != _default(name):
            raise MethodError(f"the preset {settings.preset} has its own {name}: leave it away")


def _default(name: str) -> object:
    """What a setting is where nobody sets it."""
    return next(field.default for field in fields(SegmentSettings) if field.name == name)
