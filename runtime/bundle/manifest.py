"""`bundle.json`: what a bundle says about itself, as types. Reading validates against them.

Schema rule: a reader accepts its own `SCHEMA_VERSION` and every older one, ignores fields it
does not know (a writer may add fields without a new version), and refuses a newer version by
name. The version rises when an old reader would misunderstand a bundle, never otherwise.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from ...prototypes_index.spec import PrototypesSpec
from .parity import Parity

SCHEMA_VERSION = 4

Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0.0, le=3600.0)]
Hertz = Annotated[float, msgspec.Meta(ge=0.0, le=384000.0)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


# What a recurrent classifier takes and gives beside the rest, [B, S]: its state, zeros at the beginning of a
# recording, and what it hands to the next window.
STATE, NEXT_STATE = "state", "next_state"


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A named tensor of a stage; `dims` holds integers and symbolic names such as "batch"."""

    name: Name
    dtype: Literal["float32", "int64"]
    dims: Annotated[list[Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | str], msgspec.Meta(max_length=16)]


class StageSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One ONNX graph of the chain.

    "classifier_int8" takes what "classifier" takes and gives its logits alone, from 8-bit weights and
    activations: for methods that ask for very many scores. "interpreter" takes taps (and `stft`) and gives
    `activations` [B, K, T] >= 0 over the listenable STFT's frames, `pooled` [B, K] and `logits` [B, C].
    """

    name: Literal["frontend", "classifier", "classifier_int8", "decoder", "embeddings", "interpreter"]
    file: Name
    # External weights beside the graph; they are listed in `files` too.
    data: list[str] = []
    opset: Positive
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]


class FileSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Hash and size of one file of the bundle, by its path with forward slashes."""

    sha256: Sha256
    size: Annotated[int, msgspec.Meta(ge=0)]


class AnalysisSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The listenable STFT: centred, one-sided, unnormalised, window zero-padded to `n_fft`.

    A waveform of N samples has T = 1 + N // hop frames and F = n_fft // 2 + 1 bins.

    Attributes:
        n_fft: Length of the transform in samples, 16..65536.
        window_length: Of the window in samples, 2..65536, at most `n_fft`.
        hop: From one frame to the next in samples, 1..65536.
        window: "hann" or "hamming", periodic.
        padding: What the sound's ends are padded with: "zeros" or "reflect".

    Examples:
        >>> spec = AnalysisSpec(n_fft=512, window_length=400, hop=160, window="hann")

    """

    n_fft: Annotated[int, msgspec.Meta(ge=16, le=65536)]
    window_length: Annotated[int, msgspec.Meta(ge=2, le=65536)]
    hop: Annotated[int, msgspec.Meta(ge=1, le=65536)]
    window: Literal["hann", "hamming"]
    padding: Literal["zeros", "reflect"] = "zeros"


Aggregation = Literal["mean", "max", "lme"]
# "regression": logits are values, one a label, and so are what everything calls scores.
Task = Literal["single_label", "multi_label", "regression"]
Level = Literal["none", "peak", "signed_peak", "unit_variance"]
LevelOver = Literal["window", "recording", "none"]
MaskTargets = Literal["predicted", "any"]
# What a mask M in 0..1 multiplies: "linear" the magnitude |S|, "log" its logarithm log1p|S|; "floored" the
# magnitude, by no less than MASK_FLOOR of the window's largest M.
MaskGain = Literal["linear", "floored", "log"]
# -20 dB: what stays of the rest covers the peaks that come and go in it (musical noise; docs/results.md).
MASK_FLOOR = 0.1


class WindowSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to shorter and longer sound.

    Sound up to `minimum_seconds` is zero-padded at its end to that length; up to `seconds` it is
    classified as it is; longer sound is cut into windows of `seconds` every `hop_seconds`, the last one
    aligned to the end, and the scores of the windows are joined by `aggregate`: where several labels may
    hold, by "max", so that one clear call in ten minutes is not averaged away.
    "lme" lies between: log-mean-exp of the scores (`runtime/inference/scores.py`).
    """

    seconds: Seconds
    hop_seconds: Seconds
    minimum_seconds: Annotated[float, msgspec.Meta(ge=0.0, le=3600.0)]
    aggregate: Aggregation = "mean"
    # Over what `Manifest.level` is measured: each window, as training did to its clips, or the recording.
    level_over: LevelOver = "window"

    @classmethod
    def usual(
        cls, seconds: float, minimum_seconds: float, task: Task, hop_seconds: float | None = None
    ) -> WindowSpec:
        """Windows as a task has them unless somebody chose otherwise; they overlap by half."""
        return cls(
            seconds=seconds,
            hop_seconds=hop_seconds or seconds / 2,
            minimum_seconds=minimum_seconds,
            aggregate="max" if task == "multi_label" else "mean",
        )


class FeatureMapSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The feature map Z [B, C, T', F'] right before pooling, and where its cells lie (nominal).

    What `embeddings.onnx` gives as `contributions` [B, K, C] of a target's channels: where `additive`, they
    and the bias sum to the logit; where `gradient`, they are gradient x activation, which does not add up;
    with neither there are none, and channels are localisation only.
    """

    tap: Name
    channels: Positive
    # A cell t of the map spans [t, t + 1) * frame_seconds.
    frame_seconds: Seconds
    # One [low, high] pair in Hz per frequency row.
    bands_hz: list[tuple[float, float]]
    pooling: Literal["mean", "max_mean", "attention", "other"]
    # The tap with the weights of attention pooling, [B, T', F'] or [B, K, T', F'], which sum to 1: an input
    # of embeddings.onnx beside the feature map.
    attention: Name | None = None
    # True where channel contributions + bias = logit exactly.
    additive: bool
    gradient: bool = False

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps that embeddings.onnx takes."""
        return (self.tap,) if self.attention is None else (self.tap, self.attention)


class ComponentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is known from training of one component: one column of the dictionary.

    Attributes:
        peak_hz: Frequency of its largest weight.
        bandwidth_hz: Width of the band around it that holds most of the weight.
        bands_hz: (low, high) of where its energy lies, twice where that is two separate bands; none: not
            measured.
        label: For which it speaks most, "" for none.
        clip: The training clip that activates it most; "" where none does.
        start_s: When in that clip its activation begins, in seconds.
        end_s: When it ends.

    """

    peak_hz: Hertz
    bandwidth_hz: Hertz
    bands_hz: tuple[tuple[Hertz, Hertz], ...] = ()
    label: str = ""
    clip: str = ""
    start_s: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    end_s: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0


class ComponentsSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The dictionary beside the stage "interpreter", and what its components are.

    `file` is an .npz without pickle: `dictionary` [F, K] float32 >= 0 with columns of unit L2 norm, over
    log1p|STFT|, and `theta` [C, K] float32, by which the interpreter's logits are theta z.
    """

    count: Positive
    file: Name = "dictionary.npz"
    # What the dictionary was learnt on; it serves no other spectrogram.
    sample_rate: Positive
    analysis: AnalysisSpec
    # Components whose relevance exceeds this are selected (tau).
    threshold: Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]
    # p of the soft mask sum_L (W_k H_k)^p / sum_k (W_k H_k)^p; the paper's, and that of bundles of before: 1.
    mask_power: Annotated[float, msgspec.Meta(ge=1.0, le=4.0)] = 1.0
    # True where the classifier's logits are theta(psi(.)) themselves.
    by_design: bool = False
    # One a column, in the dictionary's order.
    components: list[ComponentSpec]


# A logarithm of odds that weighs something; beyond, a probability is 0 or 1 in float32.
LogOdds = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]


class TrustModel(msgspec.Struct, frozen=True, kw_only=True):
    """A probability out of what is known of a masked window: logistic(bias + weights . features).

    Attributes:
        bias: Log-odds where every feature is 0.
        weights: One a feature of `runtime/methods/mask/trust.py`, in its order.
        base: Share of the windows of which it holds, 0..1.
        error: Expected calibration error on recordings that it was not fitted to, 0..1.

    """

    bias: LogOdds
    weights: Annotated[list[LogOdds], msgspec.Meta(min_length=1, max_length=32)]
    base: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
    error: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class TrustSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How far masks are to be believed, as `earmark evaluate trust --store` measured it.

    Attributes:
        kept: Whether the kept sound alone is of the target.
        removed: Whether the removed sound is not.
        windows: It was measured on, of other recordings than were trained on.
        recordings: They are of.

    """

    kept: TrustModel
    removed: TrustModel
    windows: Positive
    recordings: Positive


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of `bundle.json`."""

    schema_version: Positive
    bundle_id: Name
    name: Name
    task: Task
    labels: Annotated[list[Name], msgspec.Meta(min_length=1)]
    sample_rate: Annotated[int, msgspec.Meta(ge=1000, le=768000)]
    window: WindowSpec
    # Gain of the model's own pipeline, applied once by the runtime, never to a masked sound:
    # "signed_peak" divides by the signed maximum (SpeechBrain's recipe), "peak" by the absolute one,
    # "unit_variance" by the standard deviation (the front end subtracts the mean).
    level: Level = "none"
    analysis: AnalysisSpec
    # Where a masked sound can re-enter. "spectrogram": the classifier eats the analysis STFT
    # [B, T, F, 2]; "waveform": the front end makes features of its own.
    rescore: Literal["spectrogram", "waveform"]
    # The classes that a decoder makes masks for; None without a decoder.
    mask_targets: MaskTargets | None = None
    mask_gain: MaskGain = "log"
    stages: list[StageSpec]
    explainers: list[str]
    feature_map: FeatureMapSpec | None = None
    prototypes: PrototypesSpec | None = None
    components: ComponentsSpec | None = None
    trust: TrustSpec | None = None
    files: dict[str, FileSpec]
    parity: Parity = Parity()
    evaluation: dict[str, Any] = {}
    versions: dict[str, str] = {}
    source: str = ""
    licence: str = ""
    attribution: str = ""

    def stage(self, name: str) -> StageSpec | None:
        """The stage of that name, or None where the bundle has none."""
        return next((stage for stage in self.stages if stage.name == name), None)

    @property
    def state_size(self) -> int:
        """Numbers of the state that the classifier hands from one window to the next; 0: it has none."""
        stage = self.stage("classifier")
        dims = [] if stage is None else [one.dims for one in stage.inputs if one.name == STATE]
        return int(dims[0][-1]) if dims and isinstance(dims[0][-1], int) else 0
