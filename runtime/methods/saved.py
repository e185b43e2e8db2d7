"""What `Result.load` reads of a method's files: sound, when somebody listens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ...errors import AudioError, DataError, MethodError
from ..audio.stretch import read_stretch
from ..values.arrays import FloatArray

# The formats that `save` writes.
_ENDINGS = (".flac", ".wav")


class SavedSounds(msgspec.Struct, frozen=True):
    """The sound files of one saved result.

    Attributes:
        folder: Of the result.
        audio: What was saved: "none", "clips" or "full".
        channels: Of the input.
        samples: Of the input, per channel.
        sample_rate: Of the input, in Hz.
        flat: Whether sound is given without an axis for channels, as the input was.

    """

    folder: Path
    audio: str
    channels: int
    samples: int
    sample_rate: int
    flat: bool

    def read(self, name: str) -> FloatArray:
        """The sound of the input's length in the file `name`, which has no ending: [channels, samples].

        Raises MethodError where it was not saved, DataError where it is damaged or of another shape.
        """
        path = self.path(name) if self.audio == "full" else None
        if path is None:
            raise MethodError(
                f"{self.folder}: this result was saved with audio={self.audio!r}, without the sound {name}; "
                'explain again, or save with audio="full"'
            )
        sound, rate = read_saved(path, self.channels * self.samples)
        if sound.shape != (self.channels, self.samples) or rate != self.sample_rate:
            raise DataError(f"{path}: is not the sound of this result: {list(sound.shape)} at {rate} Hz")
        return sound

    def removed_blocks(self) -> Iterator[FloatArray]:
        """What is "removed". Raises as `read` does."""
        yield self.read("removed")

    def shaped(self, sound: FloatArray) -> FloatArray:
        """In the input's shape: [samples] where that had no axis for channels."""
        return sound[0] if self.flat else sound

    def path(self, name: str) -> Path | None:
        """The file `name`, whatever format it has; None where there is none."""
        paths = (self.folder / f"{name}{ending}" for ending in _ENDINGS)
        return next((path for path in paths if path.is_file() and not path.is_symlink()), None)


def read_saved(path: Path, most: int) -> tuple[FloatArray, int]:
    """A sound that earmark wrote: [channels, samples] and its rate in Hz.

    Raises DataError where it cannot be read, or holds more than `most` values.
    """
    try:
        sound, rate, _ = read_stretch(path, 0.0, math.inf, most)
    except AudioError as error:
        raise DataError(str(error)) from error
    return sound, rate
