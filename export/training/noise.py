"""Noise that training adds to clips, or gives as evidence for nothing: recordings, or synthesised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import DataError
from ...evaluation.data.folder import load_sound
from ...runtime.audio.listing import list_sound_files
from ...runtime.values.arrays import FloatArray
from .augmentation import noise


@dataclass(frozen=True)
class Noise:
    """Recordings [N] at the model's rate, and their hash; none and "": noise is synthesised."""

    recordings: tuple[FloatArray, ...] = ()
    sha256: str = ""

    @classmethod
    def read(cls, folder: str | Path | None, sample_rate: int) -> Noise:
        """The sounds of a folder. Raises DataError where there is none."""
        if folder is None:
            return cls()
        sounds = [load_sound(path, sample_rate) for path in list_sound_files(Path(folder)).files]
        sounds = [sound for sound in sounds if len(sound) and float(np.abs(sound).max()) > 0.0]
        if not sounds:
            raise DataError(f"{folder}: no recordings of noise in it; name a folder of sound files")
        digest = hashlib.sha256()
        for sound in sounds:
            digest.update(sound.tobytes())
        return cls(tuple(sounds), digest.hexdigest())

    def draw(self, count: int, samples: int, random: np.random.Generator) -> FloatArray:
        """[count, samples] of root mean square 1."""
        if not self.recordings:
            return noise(count, samples, random)
        rows = []
        for _ in range(count):
            recording = self.recordings[int(random.integers(len(self.recordings)))]
            # Short recordings are repeated: noise has no beginning and no end.
            start = int(random.integers(len(recording)))
            rows.append(np.take(recording, np.arange(start, start + samples), mode="wrap"))
        drawn = np.stack(rows).astype(np.float32)
        scaled: FloatArray = drawn / (np.sqrt(np.mean(drawn**2, axis=1, keepdims=True)) + 1e-6)
        return scaled
