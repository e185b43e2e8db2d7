"""A sound, checked once and cut into windows at the model's rate; and the way back.

Short sound is decoded and resampled once and kept. Long sound is read again on every pass and what
is made of it lies in temporary files, so that memory does not grow with the sound.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import soxr

from ...errors import AudioError
from ..values.arrays import FloatArray
from .decoding import find_source
from .lengths import samples_at_least
from .scratch import releaser, scratch
from .single_pass import SinglePassSound
from .source import SoundSource, Stop, block_samples

# Values (samples times channels, at the higher of the two rates) that are kept in memory: 64 MB.
MEMORY_VALUES = 16_000_000
_QUALITY = "HQ"


def open_sound(sound: Any, sample_rate: int | None, model_rate: int, stop: Stop | None = None) -> OpenSound:
    """Open and check a path, a seekable binary file, an array, or a pair (array, rate).

    sound: arrays are [N] or [channels, N]; they need `sample_rate` in Hz, which is None for files
    model_rate: that windows are to have, in Hz
    stop: ends reading; what was read until then is the sound
    Raises AudioError where the sound is missing, empty, not sound, or not finite.
    """
    return OpenSound(find_source(sound, sample_rate, stop), model_rate, stop)


def open_once(
    sound: Any, sample_rate: int | None, model_rate: int, stop: Stop | None = None
) -> SinglePassSound:
    """As `open_sound`, for a sound that is read once and checked meanwhile: reading it tells what is wrong.

    stop: ends looking through a file, before any of it is decoded
    """
    return SinglePassSound(find_source(sound, sample_rate, stop), model_rate)


def read_mono(
    path: str | os.PathLike[str],
    rate: int,
    *,
    most_s: float = math.inf,
    tell: Callable[[str], None] | None = None,
) -> FloatArray:
    """The mean of a file's channels at `rate` Hz, [samples]; the first `most_s` seconds of it.

    tell: takes what is wrong with the sound, line by line, where all of it is read
    Raises AudioError as `open_sound`.
    """
    if math.isinf(most_s):
        opened = open_sound(path, None, rate)
        if tell is not None:
            for line in opened.warnings:
                tell(line)
        return _mono(opened)
    source = find_source(path, None)
    left = samples_at_least(most_s, source.rate)
    parts: list[FloatArray] = []
    with closing(source.blocks()) as blocks:
        while left > 0 and (block := next(blocks, None)) is not None:
            parts.append(block[:, :left])
            left -= block.shape[1]
    if not parts:
        raise AudioError(f"{source.name} has no samples: give a sound that is not empty")
    opened = open_sound((np.concatenate(parts, axis=1), source.rate), None, rate)
    return _mono(opened)


def seconds_of(path: str | os.PathLike[str]) -> float:
    """How long a file is, all of it decoded. Raises AudioError where it cannot be read."""
    source = find_source(path, None)
    samples: int = sum(block.shape[1] for block in source.blocks())
    return float(samples / source.rate)


def _mono(opened: OpenSound) -> FloatArray:
    """The mean of all channels at the model's rate, [samples]."""
    parts: list[FloatArray] = [block.mean(axis=0, dtype=np.float32) for block in opened.model_blocks()]
    return np.concatenate(parts)


class OpenSound:
    """A checked sound. All of it has been decoded once when this exists.

    name; input_rate [Hz], input_channels, input_samples as given; samples at the model's rate,
    ceil(input_samples * model_rate / input_rate); peak: largest absolute value; silent: peak is 0;

    Attributes:
        long: Read again on every pass.
        complete: Whether all of it was read; False where it was stopped.
        warnings: One line each.
        damage: Those of them about the file itself.

    """

    def __init__(self, source: SoundSource, model_rate: int, stop: Stop | None = None) -> None:
        self._source = source
        self.name = source.name
        self.model_rate = model_rate
        self.input_rate = source.rate
        self.input_channels = source.channels
        # A waveform that came without an axis for channels goes back without one.
        self.flat = source.flat
        self.long = False
        self._at_model_rate: FloatArray | None = None
        read = SinglePassSound(source, model_rate, stop)
        self._kept = self._keep(read)
        self.complete = read.complete
        self.input_samples, self.peak = read.input_samples, read.peak
        self.samples = model_samples(self.input_samples, self.input_rate, model_rate)
        self.silent = self.peak == 0.0
        self.warnings, self.damage = read.warnings, read.damage

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: short sound takes its samples along and leaves its file here."""
        state = self.__dict__.copy()
        if self._kept is not None:
            state["_source"] = None
        return state

    @property
    def expected_samples(self) -> int:
        """Samples per channel: all of it has been read."""
        return self.input_samples

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.input_samples / self.input_rate

    def _keep(self, read: SinglePassSound) -> FloatArray | None:
        """Decode everything once; all of a short sound."""
        parts: list[FloatArray] = []
        for block in read.input_blocks():
            count = read.input_samples
            most = max(count, model_samples(count, self.input_rate, self.model_rate))
            if most * self.input_channels > MEMORY_VALUES:
                self.long = True
                parts.clear()
            if not self.long:
                parts.append(block)
        if self.long:
            return None
        return _frozen(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1))

    def input_blocks(self) -> Iterator[FloatArray]:
        """The sound at its own rate, blocks [channels, n] in order."""
        if self._kept is not None:
            yield self._kept
            return
        count = 0
        for block in self._source.blocks():
            part = block[:, : self.input_samples - count]
            count += part.shape[1]
            if part.shape[1]:
                yield part
        if count < self.input_samples:
            raise AudioError(f"{self.name} changed while it was read: explain it again")

    def model_blocks(self) -> Generator[FloatArray, None, None]:
        """The sound at the model's rate, blocks [channels, n] in order, `samples` in total."""
        if self._kept is None:
            yield from self._resampled()
            return
        if self._at_model_rate is None:
            if self.input_rate == self.model_rate:
                self._at_model_rate = self._kept
            else:
                self._at_model_rate = _frozen(np.concatenate(list(self._resampled()), axis=1))
        yield self._at_model_rate

    def resample(self) -> None:
        """Resample a short sound now: its windows then need no more than memory."""
        if self._kept is not None:
            next(self.model_blocks())

    def _resampled(self) -> Iterator[FloatArray]:
        convert = Resampler(self.input_rate, self.model_rate, self.input_channels, self.samples)
        size = block_samples(self.input_channels)
        for block in self.input_blocks():
            # Pieces of bounded size, also where all of a short sound comes as one block.
            for start in range(0, block.shape[1], size):
                part = convert.push(block[:, start : start + size])
                if part.shape[1]:
                    yield part
        rest = convert.finish()
        if rest.shape[1]:
            yield rest

    def offsets(self, length: int, hop: int, *, whole: bool = True) -> Iterator[int]:
        """First samples of the windows at the model's rate; the last window ends with the sound.

        whole: False: no window is moved for that, so the last one may be shorter
        """
        if length < 1 or hop < 1:
            raise ValueError(f"windows of {length} samples every {hop} do not exist")
        if not whole:
            yield from range(0, max(1, self.samples), hop)
            return
        last = max(0, self.samples - length)
        yield from range(0, last, hop)
        yield last

    def window_count(self, length: int, hop: int, *, whole: bool = True) -> int:
        """How many windows `windows` gives."""
        return count_windows(self.samples, length, hop) if whole else max(1, -(-self.samples // hop))

    def windows(self, length: int, hop: int, *, whole: bool = True) -> Iterator[tuple[int, FloatArray]]:
        """Give (offset, channels [C, n]) at the model's rate; may be called again and again.

        All of a sound up to `length` samples, else windows of exactly `length` every `hop`, the
        last one aligned to the end unless `whole` is False. The arrays may be read-only views.
        """
        with closing(self.model_blocks()) as blocks:
            begin = 0
            held: FloatArray = np.zeros((self.input_channels, 0), np.float32)
            for offset in self.offsets(length, hop, whole=whole):
                end = min(offset + length, self.samples)
                parts = [held[:, offset - begin :]] if offset < begin + held.shape[1] else []
                reached = begin + held.shape[1]
                while reached < end:
                    block = next(blocks)
                    if reached + block.shape[1] > offset:
                        parts.append(block[:, max(0, offset - reached) :])
                    reached += block.shape[1]
                held = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
                begin = offset
                yield offset, held[:, : end - offset]


class Resampler:
    """Blocks [channels, n] from one rate to another, cropped or padded to `length` in total.

    Attributes:
        length: None where it is known only at the end.

    """

    def __init__(self, rate_in: int, rate_out: int, channels: int, length: int | None = None) -> None:
        self._stream = (
            None
            if rate_in == rate_out
            else soxr.ResampleStream(rate_in, rate_out, channels, dtype="float32", quality=_QUALITY)
        )
        self._channels = channels
        self._length = length
        self._given = 0

    def push(self, block: FloatArray) -> FloatArray:
        """What comes out after `block`: [channels, m], m may be 0."""
        if self._stream is None:
            return self._crop(block)
        return self._crop(self._stream.resample_chunk(np.ascontiguousarray(block.T, np.float32)).T)

    def finish(self, length: int | None = None) -> FloatArray:
        """The rest, up to the length in total, which may be given now; zeros where it falls short."""
        self._length = self._length if length is None else length
        rest: FloatArray = np.zeros((self._channels, 0), np.float32)
        if self._stream is not None:
            nothing = np.zeros((0, self._channels), np.float32)
            rest = self._crop(self._stream.resample_chunk(nothing, last=True).T)
        missing = max(0, (self._length or 0) - self._given)
        self._given += missing
        return np.concatenate([rest, np.zeros((self._channels, missing), np.float32)], axis=1)

    def _crop(self, block: FloatArray) -> FloatArray:
        out = block if self._length is None else block[:, : max(0, self._length - self._given)]
        self._given += out.shape[1]
        return out


class Restored:
    """Collects sound at the model's rate, block by block, and gives it back as the input was.

    Attributes:
        opened: The sound whose rate, channels and length count; its `long` says where the result lies.

    """

    def __init__(self, opened: OpenSound) -> None:
        self._convert = Resampler(
            opened.model_rate, opened.input_rate, opened.input_channels, opened.input_samples
        )
        self._out = scratch((opened.input_channels, opened.input_samples), np.float32, long=opened.long)
        self._written = 0
        self._release = releaser(self._out)

    def push(self, block: FloatArray) -> None:
        """The next block [channels, n] at the model's rate."""
        size = block_samples(len(block))
        for start in range(0, block.shape[1], size):
            self._write(self._convert.push(block[:, start : start + size]))

    def finish(self) -> FloatArray:
        """[channels, input_samples] at the input's rate."""
        self._write(self._convert.finish())
        return self._out

    def _write(self, part: FloatArray) -> None:
        self._out[:, self._written : self._written + part.shape[1]] = part
        self._written += part.shape[1]
        self._release(part.nbytes)


def residual(opened: OpenSound, kept: FloatArray) -> FloatArray:
    """Input minus `kept` [channels, input_samples], stored as `kept` is."""
    out = scratch(kept.shape, np.float32, long=opened.long)
    release = releaser(out)
    start = 0
    for block in residual_blocks(opened, kept):
        stop = start + block.shape[1]
        out[:, start:stop] = block
        release(block.nbytes)
        start = stop
    return out


def residual_blocks(opened: OpenSound, kept: FloatArray) -> Iterator[FloatArray]:
    """Input minus `kept` [channels, input_samples], block by block [channels, n], stored nowhere."""
    release = releaser(kept)
    start = 0
    for block in opened.input_blocks():
        stop = start + block.shape[1]
        yield np.subtract(block, kept[:, start:stop])
        release(block.nbytes)
        start = stop


def model_samples(samples: int, rate: int, model_rate: int) -> int:
    """How many samples at the model's rate come of so many at another."""
    return -(-samples * model_rate // rate)


def count_windows(samples: int, length: int, hop: int) -> int:
    """How many windows of `length` samples, one every `hop`, there are in so many."""
    return 1 + -(-max(0, samples - length) // hop)


def _frozen(array: FloatArray) -> FloatArray:
    """A view that nobody writes to by accident: windows are views of it."""
    view = array.view()
    view.flags.writeable = False
    return view
