"""A stretch of a sound file that earmark wrote itself (FLAC of the prototypes), without what is before it.

Files of strangers are decoded from their beginning, with all that can be wrong with them (`decoding`).
"""

from __future__ import annotations

from pathlib import Path

from ...errors import AudioError
from ...printable import first_line
from ..values.arrays import FloatArray
from .lengths import samples_of


def read_stretch(path: Path, start_s: float, end_s: float, most: int) -> tuple[FloatArray, int, int]:
    """Read from `start_s` to `end_s` (seconds), as far as the file reaches, at least one sample.

    Gives the waveform [channels, n], the rate in Hz, and its first sample in the file. Raises AudioError
    where the file cannot be read, or the stretch has more than `most` values (samples times channels).
    """
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            rate, total = int(file.samplerate), int(file.frames)
            first, last = samples_between(start_s, end_s, rate, total)
            if (last - first) * int(file.channels) > most:
                raise AudioError(f"{path}: a stretch of {last - first} samples is longer than may be read")
            file.seek(first)
            wave: FloatArray = file.read(last - first, dtype="float32", always_2d=True).T
    except (OSError, RuntimeError) as error:
        raise AudioError(f"{path}: cannot be read ({first_line(error)})") from error
    return wave, rate, first


def samples_between(start_s: float, end_s: float, rate: int, total: int) -> tuple[int, int]:
    """First and last sample of a stretch within `total` samples at `rate` Hz; one sample at least."""
    first = min(max(0, samples_of(start_s, rate)), max(0, total - 1))
    return first, min(total, max(first + 1, samples_of(end_s, rate)))
