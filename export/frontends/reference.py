"""A description's features in NumPy, float64, step by step: what the graphs are measured against."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...errors import SourceError
from ...runtime.values.arrays import Array, Values
from .description import Description, Frames, Log, Normalise, Output, Patches, Samples, Stft
from .matrices import Numbers, numbers_of, window_of


def features_of(description: Description, sound: npt.ArrayLike, most_frames: int | None = None) -> Array:
    """What the classifier takes for one sound [N] at its level: [1, ...], or a row a patch [P, ...]."""
    return steps_of(description, sound, most_frames)["output"]


def steps_of(
    description: Description, sound: npt.ArrayLike, most_frames: int | None = None
) -> dict[str, Array]:
    """The result of every step that the description has, by name, for one sound [N] at its level.

    most_frames: of the STFT; further ones are left out

    [T, F] (complex after "stft"), [P, L, F] after "patches", what the classifier takes after "output".
    Raises SourceError for a sound that is too short.
    """
    wave = waveform_of(description, np.asarray(sound, np.float64))
    built: dict[str, Array] = {"waveform": wave}
    stft = description.stft
    if stft is None:
        built["output"] = laid_out(wave[None], description.output)
        return built
    spectrum = transformed(wave, stft)[:most_frames]
    if description.frames is not None:
        spectrum = spectrum[: description.frames.count]
    built["stft"] = spectrum
    magnitude = np.abs(spectrum[:, : stft.bin_count])
    built["spectrum"] = x = magnitude**2 if stft.spectrum == "power" else magnitude
    numbers = numbers_of(description, stft)
    if numbers.bank is not None:
        built["mel"] = x = x @ numbers.bank
    if description.log is not None:
        built["log"] = x = logarithm(x, description.log, numbers.log)
    if numbers.cosines is not None:
        built["mfcc"] = x = x @ numbers.cosines
    if description.normalise is not None:
        built["normalise"] = x = normalised(x, description.normalise, numbers)
    if description.frames is not None:
        built["frames"] = x = to_count(x, description.frames)
    rows = x[None]
    if description.patches is not None:
        built["patches"] = rows = patched(x, description.patches)
    built["output"] = laid_out(rows, description.output)
    return built


def waveform_of(description: Description, sound: Values) -> Values:
    """The sound as the STFT, or the classifier, gets it; its level's division is the runtime's."""
    built = sound - sound.mean() if description.level == "unit_variance" else sound
    built = built * description.scale
    if description.samples is not None:
        built = _sized(built, description.samples)
    if description.preemphasis:
        built = built - description.preemphasis * np.concatenate([[0.0], built[:-1]])
    if description.patches is not None and description.patches.end == "pad" and description.stft is not None:
        built = np.pad(built, (0, max(0, patched_samples(description, len(built)) - len(built))))
    return built


def patched_samples(description: Description, samples: int) -> int:
    """Samples that whole patches need, the last one of which holds the sound's last sample."""
    stft, patches = description.stft, description.patches
    if stft is None or patches is None:
        return samples
    edge = stft.span if stft.centring == "none" else 0
    one, hop = (patches.length - 1) * stft.hop + edge, patches.hop * stft.hop
    return one + max(0, -(-(samples - one) // hop)) * hop


def _sized(sound: Values, samples: Samples) -> Values:
    count, length = samples.count, len(sound)
    if samples.pad != "zeros" and 0 < length < count:
        whole = count // length
        sound = np.tile(sound, whole if samples.pad == "repeat_whole" else whole + 1)
    return np.pad(sound[:count], (0, max(0, count - len(sound))))


def transformed(wave: Values, stft: Stft) -> npt.NDArray[np.complex128]:
    """[N] -> complex [T, n_fft / 2 + 1]. Raises SourceError for less sound than a frame needs."""
    n_fft, width = stft.n_fft, stft.width
    left = (n_fft - width) // 2
    if stft.centring == "none":
        if len(wave) < stft.span:
            raise SourceError(f"{len(wave)} samples are fewer than a frame's {stft.span}")
        left = left if stft.frame == "n_fft" else 0
        padded, count = wave, 1 + (len(wave) - stft.span) // stft.hop
    else:
        if len(wave) <= (n_fft // 2 if stft.centring == "reflect" else n_fft % 2):
            raise SourceError(f"{len(wave)} samples are too few to be reflected by {n_fft // 2}")
        mode = "reflect" if stft.centring == "reflect" else "constant"
        padded = np.pad(wave, n_fft // 2, mode=mode)  # type: ignore[call-overload]
        count = 1 + (len(padded) - n_fft) // stft.hop
    starts = left + stft.hop * np.arange(count)
    frames = padded[starts[:, None] + np.arange(width)]
    if stft.remove_dc:
        frames = frames - frames.mean(axis=1, keepdims=True)
    if stft.preemphasis:
        frames = frames - stft.preemphasis * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    shift = left if stft.centring != "none" or stft.frame == "n_fft" else 0
    buffer = np.zeros((count, n_fft))
    buffer[:, shift : shift + width] = frames * window_of(stft)
    return np.fft.rfft(buffer, axis=1)


def logarithm(x: Values, log: Log, factor: float) -> Values:
    """[T, F] >= 0 -> its logarithm."""
    gained = x * log.gain
    built = _log(gained, log, factor)
    if log.reference == "max":
        built = built - built.max()
    elif log.reference != 1.0:
        built = built - _log(np.asarray(log.reference), log, factor)
    return built if log.range is None else np.maximum(built, built.max() - log.range)


def _log(x: Values, log: Log, factor: float) -> Values:
    if log.kind == "log1p":
        return np.log1p(x)
    floored = np.maximum(x, log.floor) if log.floor_by == "clip" else x + log.floor
    return np.asarray(np.log(floored) * factor)


def normalised(x: Values, how: Normalise, numbers: Numbers) -> Values:
    """[T, F] less its mean, by its deviation."""
    if numbers.mean is not None and numbers.deviation is not None:
        return (x - numbers.mean) / numbers.deviation
    axis = 0 if how.over == "bin" else None
    mean = x.mean(axis=axis, keepdims=True)
    count = x.shape[0] if how.over == "bin" else x.size
    variance = ((x - mean) ** 2).sum(axis=axis, keepdims=True) / max(1, count - how.correction)
    return np.asarray((x - mean) / np.sqrt(variance + how.epsilon))


def to_count(x: Values, frames: Frames) -> Values:
    """[T, F] -> [count, F]; it has no more frames than that."""
    if frames.pad == "repeat":
        return x[np.arange(frames.count) % len(x)]
    missing = frames.count - len(x)
    return np.pad(x, ((0, missing), (0, 0)), constant_values=frames.value)


def patched(x: Values, patches: Patches) -> Values:
    """[T, F] -> [P, L, F]. Raises SourceError where there is not one."""
    if len(x) < patches.length:
        raise SourceError(f"{len(x)} frames are fewer than a patch's {patches.length}")
    count = 1 + (len(x) - patches.length) // patches.hop
    windows = np.lib.stride_tricks.sliding_window_view(x, patches.length, axis=0)
    return np.ascontiguousarray(windows[:: patches.hop][:count].transpose(0, 2, 1))


def laid_out(rows: Values, output: Output) -> Array:
    """[P, L, F], or [1, N], as the classifier takes it."""
    axes = output.layout
    if output.stack > 1:
        whole = rows.shape[1] // output.stack * output.stack
        rows = rows[:, :whole].reshape(1, whole // output.stack, -1)
    if "F" in axes and axes.index("F") < axes.index("T"):
        rows = rows.transpose(0, 2, 1)
    if "1" in axes:
        rows = np.repeat(np.expand_dims(rows, axes.index("1")), output.channels, axis=axes.index("1"))
    if output.dtype.startswith("float"):
        return np.asarray(rows, output.dtype)
    kind = np.iinfo(output.dtype)
    whole = np.rint(rows / output.scale) + output.zero_point
    return np.asarray(np.clip(whole, kind.min, kind.max), output.dtype)
