"""New files of a result: pictures and tables by `write_new`, sound by `write_wav`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ...prototypes_index.durability import naming
from ..arrays import FloatArray
from ..audio.scratch import releaser
from ..audio.writing import open_sound_file

# Samples a block when sound is written.
_BLOCK = 1 << 16
_MOST_WAV_BYTES = 4_000_000_000


def write_new(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write the new file `path` by `fill`.

    Raises:
        WriteError: `path` cannot be written.

    """
    with naming(path), path.open("xb") as file:
        fill(file)


def write_wav(path: Path, sound: FloatArray, sample_rate: int) -> None:
    """Write `sound` [samples] or [channels, samples] block by block; RF64 past WAV's 4 GiB.

    32-bit float, so that what is kept and what is removed add up to the input. Raises WriteError.
    """
    channels = 1 if sound.ndim == 1 else sound.shape[0]
    kind = "RF64" if sound.nbytes > _MOST_WAV_BYTES else "WAV"
    release = releaser(sound)
    with open_sound_file(path, sample_rate, channels, kind, "FLOAT") as wav:
        for start in range(0, sound.shape[-1], _BLOCK):
            block = sound[..., start : start + _BLOCK].T
            wav.write(block)
            release(block.nbytes)
