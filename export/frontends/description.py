"""What a classifier's features are: one typed description, field by field.

The steps have one order: level, scale, samples, pre-emphasis, STFT, magnitude or power, mel, logarithm, MFCC,
normalisation, frames, patches, layout, type. Those left out do nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ...errors import SourceError
from ...runtime.bundle.manifest import AnalysisSpec


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of a description's parts: immutable; a field that does not exist is an error."""


class Samples(Part, frozen=True, kw_only=True):
    """A fixed number of samples; longer sound is cut."""

    count: Annotated[int, Meta(ge=1, le=2**27, description="Samples of the padded or cut sound.")]
    pad: Annotated[
        Literal["zeros", "repeat", "repeat_whole"],
        Meta(
            description="Shorter sound is padded with zeros behind, repeated to the end, or repeated as "
            "often as it fits whole and then padded with zeros (CLAP's repeatpad)."
        ),
    ] = "zeros"


class Stft(Part, frozen=True, kw_only=True):
    """Frames of the sound and their one-sided spectrum; the window is zero-padded to `n_fft`."""

    n_fft: Annotated[int, Meta(ge=16, le=8192, description="Length of the transform in samples, 16 to 8192.")]
    hop: Annotated[int, Meta(ge=1, le=65536, description="From one frame to the next in samples.")]
    window_length: Annotated[
        int | None, Meta(description="Of the window in samples, at most `n_fft`; left out: `n_fft`.")
    ] = None
    window: Annotated[
        Literal["hann", "hamming", "povey", "rectangular"],
        Meta(description="Shape of the window; povey is a symmetric Hann window to the power 0.85."),
    ] = "hann"
    periodic: Annotated[bool, Meta(description="Periodic window; false: symmetric.")] = True
    centring: Annotated[
        Literal["reflect", "zeros", "none"],
        Meta(
            description="The sound's ends are padded by half of `n_fft`, reflected or with zeros, so that "
            "frame t has its middle at t hops; none: whole frames only."
        ),
    ] = "reflect"
    frame: Annotated[
        Literal["window", "n_fft"],
        Meta(
            description="What has to fit into the sound where centring is none: the window (Kaldi, "
            "TensorFlow) or `n_fft` samples with the window in their middle (PyTorch, librosa)."
        ),
    ] = "window"
    remove_dc: Annotated[bool, Meta(description="Subtract each frame's mean (Kaldi).")] = False
    preemphasis: Annotated[
        float,
        Meta(
            ge=0.0,
            lt=1.0,
            description="c of y[n] = x[n] - c x[n - 1] within each frame, x[-1] = x[0] (Kaldi).",
        ),
    ] = 0.0
    spectrum: Annotated[Literal["power", "magnitude"], Meta(description="|X|^2 or |X|.")] = "power"
    bins: Annotated[int | None, Meta(description="Bins kept, from 0 Hz up; left out: all n_fft / 2 + 1.")] = (
        None
    )

    @property
    def width(self) -> int:
        """Samples of the window."""
        return self.window_length or self.n_fft

    @property
    def bin_count(self) -> int:
        """Bins that the features are made of."""
        return self.bins or self.n_fft // 2 + 1

    @property
    def span(self) -> int:
        """Samples that a frame needs where nothing is padded."""
        return self.width if self.frame == "window" else self.n_fft


class Mel(Part, frozen=True, kw_only=True):
    """Bands of frequency: triangles on a mel scale, or a matrix from a file."""

    bins: Annotated[int, Meta(ge=1, le=4096, description="Bands.")] = 64
    low_hz: Annotated[float, Meta(ge=0.0, description="Lower edge of the lowest band in Hz.")] = 0.0
    high_hz: Annotated[
        float | None,
        Meta(description="Upper edge of the highest band in Hz; left out: half the sample rate."),
    ] = None
    scale: Annotated[
        Literal["htk", "slaney", "kaldi"],
        Meta(
            description="htk: 2595 log10(1 + f / 700); slaney: linear up to 1000 Hz (librosa's own); kaldi: "
            "1127 ln(1 + f / 700)."
        ),
    ] = "htk"
    triangles: Annotated[
        Literal["hertz", "mel"],
        Meta(
            description="Whether the triangles are straight in Hz (librosa, torchaudio) or in mel (Kaldi, "
            "TensorFlow)."
        ),
    ] = "hertz"
    norm: Annotated[
        Literal["none", "slaney"], Meta(description="slaney: each triangle is divided by half its width.")
    ] = "none"
    file: Annotated[
        str | None,
        Meta(
            description="A .npy file with the matrix, [bins, bands] or [bands, bins], in place of triangles."
        ),
    ] = None


class Log(Part, frozen=True, kw_only=True):
    """The logarithm of what came before."""

    kind: Annotated[
        Literal["ln", "log10", "db", "log1p"],
        Meta(description="db: 10 log10 of a power, 20 log10 of a magnitude; log1p: ln(1 + x)."),
    ] = "ln"
    gain: Annotated[float, Meta(gt=0.0, description="Factor before the logarithm.")] = 1.0
    floor: Annotated[float, Meta(ge=0.0, description="The smallest value, in the units before it.")] = 1e-10
    floor_by: Annotated[Literal["clip", "add"], Meta(description="max(x, floor), or x + floor.")] = "clip"
    reference: Annotated[
        float | Literal["max"],
        Meta(description="What counts as 0: a value in the units before it, or the sound's largest."),
    ] = 1.0
    range: Annotated[
        float | None,
        Meta(
            description="Values lower than the sound's largest by more than this are raised to that: top_db "
            "with db, 8 in Whisper with log10."
        ),
    ] = None


class Mfcc(Part, frozen=True, kw_only=True):
    """Cepstral coefficients of the logarithms."""

    count: Annotated[int, Meta(ge=1, le=4096, description="Coefficients kept, the mean's first.")] = 13
    dct: Annotated[Literal[2, 3], Meta(description="Type of the cosine transform.")] = 2
    norm: Annotated[Literal["ortho", "none"], Meta(description="Orthonormal, or SciPy's plain sums.")] = (
        "ortho"
    )
    lifter: Annotated[
        float, Meta(ge=0.0, description="L of 1 + (L / 2) sin(pi n / L) on coefficient n; 0: none.")
    ] = 0.0
    lifter_from: Annotated[
        Literal[0, 1], Meta(description="The number n of the first coefficient: 0 in Kaldi, 1 in librosa.")
    ] = 0


class Normalise(Part, frozen=True, kw_only=True):
    """(x - mean) / deviation."""

    over: Annotated[
        Literal["given", "bin", "clip"],
        Meta(
            description="given: by `mean` and `deviation`; bin: by each bin's own over the sound's frames; "
            "clip: by those of all values."
        ),
    ] = "given"
    mean: Annotated[float | list[float] | str, Meta(description="One value, one a bin, or a .npy file.")] = (
        0.0
    )
    deviation: Annotated[
        float | list[float] | str, Meta(description="One value, one a bin, or a .npy file; not 0.")
    ] = 1.0
    correction: Annotated[
        Literal[0, 1], Meta(description="1: the variance is divided by one less than the number of values.")
    ] = 0
    epsilon: Annotated[float, Meta(ge=0.0, description="Added to the sound's own variance.")] = 1e-7


class Frames(Part, frozen=True, kw_only=True):
    """A fixed number of frames; more are cut, before anything is computed over the whole sound."""

    count: Annotated[int, Meta(ge=1, le=2**20, description="Frames.")]
    pad: Annotated[
        Literal["value", "repeat"], Meta(description="Frames of one value behind, or the frames once more.")
    ] = "value"
    value: Annotated[float, Meta(description="That value, after normalisation.")] = 0.0


class Patches(Part, frozen=True, kw_only=True):
    """Stretches of frames that the model takes one by one."""

    length: Annotated[int, Meta(ge=1, le=2**20, description="Frames of a patch.")]
    hop: Annotated[int, Meta(ge=1, le=2**20, description="Frames from one patch to the next.")]
    end: Annotated[
        Literal["drop", "pad"],
        Meta(
            description="Frames behind the last whole patch are dropped, or the sound is padded with zeros."
        ),
    ] = "drop"
    join: Annotated[
        Literal["mean", "max"], Meta(description="How the scores of the patches become those of the sound.")
    ] = "mean"


Layout = Literal["BN", "B1N", "BTF", "BFT", "B1TF", "B1FT", "BTF1"]


class Output(Part, frozen=True, kw_only=True):
    """How the features lie in the tensor that the classifier takes."""

    layout: Annotated[
        Layout,
        Meta(description="Axes: B batch, T frames, F bins, 1 one channel; BN and B1N without an STFT."),
    ] = "BTF"
    stack: Annotated[
        int,
        Meta(
            ge=1, le=64, description="Frames that become one with as many times the bins; a rest is dropped."
        ),
    ] = 1
    channels: Annotated[
        int, Meta(ge=1, le=16, description="Copies of the features along the axis 1 (3 for image models).")
    ] = 1
    dtype: Annotated[
        Literal["float32", "float16", "float64", "int8", "uint8", "int16", "int32"],
        Meta(description="Of the tensor; whole numbers are round(x / scale) + zero_point."),
    ] = "float32"
    scale: Annotated[float, Meta(gt=0.0, description="Step of whole numbers.")] = 1.0
    zero_point: Annotated[int, Meta(description="The whole number that means 0.")] = 0


class Description(Part, frozen=True, kw_only=True):
    """The features of a classifier, from the waveform on."""

    sample_rate: Annotated[int, Meta(ge=1000, le=768000, description="Of the waveform in Hz.")]
    level: Annotated[
        Literal["none", "peak", "unit_variance"],
        Meta(
            description="What the pipeline does to a sound's level: nothing, divide by its largest absolute "
            "sample, or subtract its mean and divide by its standard deviation."
        ),
    ] = "none"
    scale: Annotated[
        float, Meta(gt=0.0, description="Factor on the waveform: 32768 where the model takes int16 values.")
    ] = 1.0
    preemphasis: Annotated[
        float,
        Meta(ge=0.0, lt=1.0, description="c of y[n] = x[n] - c x[n - 1] over the whole sound, x[-1] = 0."),
    ] = 0.0
    samples: Annotated[Samples | None, Meta(description="A fixed number of samples.")] = None
    stft: Annotated[Stft | None, Meta(description="Left out: the model takes the waveform.")] = None
    mel: Annotated[Mel | None, Meta(description="Left out: the bins of the STFT.")] = None
    log: Annotated[Log | None, Meta(description="Left out: no logarithm.")] = None
    mfcc: Annotated[Mfcc | None, Meta(description="Left out: no cepstrum.")] = None
    normalise: Annotated[Normalise | None, Meta(description="Left out: no normalisation.")] = None
    frames: Annotated[Frames | None, Meta(description="Left out: as many as the sound has.")] = None
    patches: Annotated[Patches | None, Meta(description="Left out: the model takes all frames at once.")] = (
        None
    )
    output: Annotated[Output, Meta(description="Layout and type.")] = Output()

    @property
    def bins(self) -> int:
        """F of the features, where the mel matrix is no file's."""
        if self.mfcc is not None:
            return self.mfcc.count
        if self.mel is not None:
            return self.mel.bins
        return self.stft.bin_count if self.stft is not None else 0

    @property
    def listenable(self) -> AnalysisSpec | None:
        """The STFT that the features begin with, where it is one that a masked sound can re-enter by.

        That is: centred, of an even length, with a periodic Hann or Hamming window, and with nothing but a
        factor before it.
        """
        stft = self.stft
        if (
            stft is None
            or stft.n_fft % 2
            or not stft.periodic
            or stft.window not in {"hann", "hamming"}
            or stft.centring == "none"
            or stft.remove_dc
            or stft.preemphasis
            or self.preemphasis
            or self.level == "unit_variance"
            or (self.samples is not None and self.samples.pad != "zeros")
            or (self.patches is not None and self.patches.end == "pad")
        ):
            return None
        return AnalysisSpec(
            n_fft=stft.n_fft,
            window_length=stft.width,
            hop=stft.hop,
            window="hamming" if stft.window == "hamming" else "hann",
            padding="zeros" if stft.centring == "zeros" else "reflect",
        )


PARTS: tuple[tuple[str, type[Part]], ...] = (
    ("", Description),
    ("samples", Samples),
    ("stft", Stft),
    ("mel", Mel),
    ("log", Log),
    ("mfcc", Mfcc),
    ("normalise", Normalise),
    ("frames", Frames),
    ("patches", Patches),
    ("output", Output),
)


def described(fields: Mapping[str, object], where: str) -> Description:
    """The description that `fields` are. Raises SourceError, naming `where`, for what is not possible."""
    output = fields.get("output", {})
    if fields.get("stft") is None and isinstance(output, Mapping):
        # Samples have no other axes.
        fields = {**fields, "output": {"layout": "BN", **output}}
    try:
        built = msgspec.convert(fields, Description)
    except msgspec.ValidationError as error:
        raise SourceError(f"{where}: {error}; docs/frontends.md lists the fields of a front end") from error
    for wrong in _faults(built):
        raise SourceError(f"{where}: {wrong}")
    return built


def _faults(built: Description) -> list[str]:
    """What no field shows alone, first things first."""
    stft, mel, wave = built.stft, built.mel, built.output.layout in {"BN", "B1N"}
    faults = []
    if (stft is None) != wave:
        faults.append(
            f"output.layout {built.output.layout} does not fit: without [stft] it is BN or B1N, with it the "
            "frames and bins have axes"
        )
    if stft is None:
        given = [name for name in ("mel", "log", "mfcc", "frames", "patches") if getattr(built, name)]
        if given:
            faults.append(f"[{given[0]}] needs [stft], which is left out")
    else:
        if not 2 <= stft.width <= stft.n_fft:
            faults.append(f"stft.window_length {stft.width}: give 2 to stft.n_fft {stft.n_fft}")
        if not 1 <= stft.bin_count <= stft.n_fft // 2 + 1:
            faults.append(f"stft.bins {stft.bins}: give 1 to {stft.n_fft // 2 + 1}")
    if mel is not None and mel.file is None:
        high = mel.high_hz or built.sample_rate / 2
        if not mel.low_hz < high <= built.sample_rate / 2:
            faults.append(
                f"mel.low_hz {mel.low_hz:g} and mel.high_hz {high:g}: give them in order, up to "
                f"{built.sample_rate / 2:g} Hz, half of sample_rate"
            )
    if built.mfcc is not None and mel is not None and mel.file is None and built.mfcc.count > mel.bins:
        faults.append(f"mfcc.count {built.mfcc.count} is above mel.bins {mel.bins}")
    faults += _log_faults(built.log)
    if built.output.stack > 1 and (wave or built.patches is not None):
        faults.append(f"output.stack {built.output.stack}: only whole sound's frames are stacked")
    if "1" not in built.output.layout and built.output.channels > 1:
        faults.append(
            f"output.channels {built.output.channels}: the layout {built.output.layout} has no axis 1"
        )
    return faults


def _log_faults(log: Log | None) -> list[str]:
    if log is None:
        return []
    faults = []
    if log.kind != "log1p" and not log.floor:
        faults.append("log.floor 0: silence has no logarithm; give the floor that the pipeline has")
    if isinstance(log.reference, float) and not log.reference > 0:
        faults.append(f"log.reference {log.reference:g}: give a value above 0")
    if log.range is not None and not log.range > 0:
        faults.append(f"log.range {log.range:g}: give a value above 0")
    return faults
