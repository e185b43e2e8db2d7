"""New files of a result: pictures and tables by `write_new`, sound by `write_audio`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from ...prototypes_index.durability import naming
from ..audio.lengths import samples_of
from ..audio.scratch import releaser
from ..audio.writing import SoundFormat, coding_of, fitting, open_sound_file
from ..values.arrays import FloatArray

# Samples a block when sound is written.
_BLOCK = 1 << 16
_MOST_WAV_BYTES = 4_000_000_000
# Of one sound.
_MOST_CLIPS = 100


def write_new(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write the new file `path` by `fill`. Raises WriteError."""
    with naming(path), path.open("xb") as file:
        fill(file)


def write_audio(stem: Path, sound: FloatArray, sample_rate: int, kind: SoundFormat) -> None:
    """Write `sound` [samples] or [channels, samples] block by block; RF64 past WAV's 4 GiB.

    stem: the file without its ending
    sound: such that `kind` holds it, see `fitting`
    Raises WriteError.
    """
    write_blocks(stem, blocks_of(sound), sound.shape, sample_rate, kind)


def blocks_of(sound: FloatArray) -> Iterator[FloatArray]:
    """Sound [samples] or [channels, samples] in blocks; what lies in a file is not held."""
    release = releaser(sound)
    for start in range(0, sound.shape[-1], _BLOCK):
        block = sound[..., start : start + _BLOCK]
        yield block
        release(block.nbytes)


def write_blocks(
    stem: Path, blocks: Iterable[FloatArray], shape: tuple[int, ...], sample_rate: int, kind: SoundFormat
) -> None:
    """Write sound that comes in blocks [n] or [channels, n], as `write_audio` does.

    shape: of the whole: (samples,) or (channels, samples)
    """
    channels = 1 if len(shape) == 1 else shape[0]
    ending, container, coding = coding_of(kind, channels, sample_rate)
    if container == "WAV" and 4 * channels * shape[-1] > _MOST_WAV_BYTES:
        container = "RF64"
    path = stem.with_name(f"{stem.name}{ending}")
    with open_sound_file(path, sample_rate, channels, container, coding) as file:
        for block in blocks:
            file.write(block.T)


def write_clips(
    stem: Path,
    sound: FloatArray,
    spans: Sequence[tuple[float, float]],
    sample_rate: int,
    kind: SoundFormat,
) -> None:
    """Write the spans (start_s, end_s) of a sound as `stem`_01, `stem`_02 and so on, up to 100 of them."""
    for number, (start_s, end_s) in enumerate(spans[:_MOST_CLIPS], 1):
        first, last = samples_of(start_s, sample_rate), samples_of(end_s, sample_rate)
        clip = sound[..., first : max(last, first + 1)]
        write_audio(stem.with_name(f"{stem.name}_{number:02d}"), clip, sample_rate, fitting(kind, [clip]))
