"""Writing a sound file so that whatever cannot be written is an error that names the file."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...prototypes_index.durability import naming
from ..values.arrays import FloatArray

# How sound is written: FLAC and WAV of 16 bits, or WAV of 32-bit floats, which loses nothing.
SoundFormat = Literal["flac", "wav16", "wav"]
# Ending, container and encoding as libsndfile names them.
_CODINGS: dict[SoundFormat, tuple[str, str, str]] = {
    "flac": (".flac", "FLAC", "PCM_16"),
    "wav16": (".wav", "WAV", "PCM_16"),
    "wav": (".wav", "WAV", "FLOAT"),
}
# FLAC has no more.
_FLAC_CHANNELS = 8
_FLAC_RATE = 655_350
# What 16 bits hold: full scale but for rounding, and no less than 16 steps of them.
_LOUDEST, _FAINTEST = 1.0 + 2.0**-15, 2.0**-11
# libsndfile's SFC_SET_ADD_PEAK_CHUNK.
_ADD_PEAK_CHUNK = 0x1050


def coding_of(kind: SoundFormat, channels: int, rate: int) -> tuple[str, str, str]:
    """Ending, container and encoding; what FLAC cannot hold is WAV of 16 bits."""
    if kind == "flac" and (channels > _FLAC_CHANNELS or rate > _FLAC_RATE):
        kind = "wav16"
    return _CODINGS[kind]


def fitting(kind: SoundFormat, sounds: Iterable[FloatArray]) -> SoundFormat:
    """`kind`, or 32-bit floats for sound that 16 bits would clip or leave next to nothing of.

    sounds: all that is to have one format, or its blocks
    """
    if kind == "wav":
        return kind
    peak = max((float(np.abs(sound).max(initial=0.0)) for sound in sounds), default=0.0)
    return kind if peak == 0.0 or _FAINTEST <= peak <= _LOUDEST else "wav"


@contextmanager
def open_sound_file(path: Path, rate: int, channels: int, kind: str, subtype: str) -> Iterator[Any]:
    """An open `soundfile.SoundFile` to write to. Raises WriteError where `path` cannot be written.

    kind, subtype: container and encoding as libsndfile names them, "WAV", "FLOAT"
    """
    import soundfile

    # Names need not be UTF-8.
    name = os.fsencode(path) if os.name == "posix" else str(path)
    with naming(path):
        try:
            # libsndfile writes by itself: an error in a Python file's write would not come through it.
            with soundfile.SoundFile(
                name, "w", samplerate=rate, channels=channels, format=kind, subtype=subtype
            ) as file:
                if kind == "WAV":
                    _leave_out_time(file)
                yield file
        except (soundfile.LibsndfileError, AssertionError) as error:
            # soundfile asserts that everything was written.
            _raise_reason(path)
            raise OSError(errno.EIO, str(getattr(error, "error_string", "not all was written"))) from error


def _leave_out_time(file: Any) -> None:
    """Write no PEAK chunk: it holds the time of day, and the same sound is to be the same bytes."""
    import soundfile

    # soundfile has no call of its own for this.
    soundfile._snd.sf_command(file._file, _ADD_PEAK_CHUNK, soundfile._ffi.NULL, 0)


def _raise_reason(path: Path) -> None:
    """Raise the system's own error where the file takes no more: libsndfile keeps it to itself."""
    with path.open("ab") as file:
        file.write(bytes(1 << 16))


def write_sound(path: Path, waveform: FloatArray, rate: int, kind: str, subtype: str) -> None:
    """Write `waveform` [samples] or [channels, samples]. Raises WriteError."""
    channels = 1 if waveform.ndim == 1 else len(waveform)
    with open_sound_file(path, rate, channels, kind, subtype) as file:
        file.write(waveform.T)
