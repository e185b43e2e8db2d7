"""Hears training clips exactly as the runtime hears an input, down to the views' maps. Never torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile

from ..prototypes_index.views import FloatArray
from ..runtime.manifest import Manifest
from ..runtime.prototypes import grid_of
from .sound_folders import level_gain, load_sound


@dataclass(frozen=True, slots=True)
class HeardClip:
    """One window of a clip: where it starts, how much real sound is in it, and its maps.

    maps: square [T, F, C], time [T, C], frequency [F, C]
    frames: leading frames that hold real sound; None where all do
    """

    offset_s: float
    duration_s: float
    maps: dict[str, FloatArray]
    frames: int | None


class ClipListener:
    """Front end, classifier and embeddings of one bundle."""

    def __init__(self, folder: Path, manifest: Manifest, embeddings: Path) -> None:
        assert manifest.feature_map is not None
        self.manifest = manifest
        self.tap = manifest.feature_map.tap
        self.grid = grid_of(manifest.feature_map)
        self.frontend = onnxruntime.InferenceSession(str(folder / manifest.stage("frontend").file))
        self.classifier = onnxruntime.InferenceSession(str(folder / manifest.stage("classifier").file))
        self.embeddings = onnxruntime.InferenceSession(str(embeddings))

    def listen(self, path: Path) -> Iterator[HeardClip]:
        """Every window of the sound file."""
        rate, window = self.manifest.sample_rate, self.manifest.window
        wave = load_sound(path, rate)
        wave = wave * level_gain(wave, self.manifest.level)
        length, hop = round(window.seconds * rate), round(window.hop_seconds * rate)
        starts = [0]
        if len(wave) > length:
            starts = [*range(0, len(wave) - length, hop), len(wave) - length]
        for start in starts:
            piece = wave[start : start + length]
            real = len(piece)
            least = round(window.minimum_seconds * rate)
            if real < least:
                piece = np.pad(piece, (0, least - real))
            (stft,) = self.frontend.run(None, {"waveform": piece[None]})
            (z,) = self.classifier.run([self.tap], {self.classifier.get_inputs()[0].name: stft})
            names = ["square", "time", "frequency"]
            maps = dict(zip(names, (a[0] for a in self.embeddings.run(names, {self.tap: z})), strict=True))
            frames = self.grid.frames_in(real / rate) if real < len(piece) else None
            yield HeardClip(start / rate, real / rate, maps, frames)

    def keep_sound(self, path: Path, target: Path) -> None:
        """Write the sound, mono at the model's rate and its own level, as FLAC."""
        target.parent.mkdir(exist_ok=True)
        wave = load_sound(path, self.manifest.sample_rate)
        try:
            soundfile.write(target, wave, self.manifest.sample_rate, format="FLAC", subtype="PCM_16")
        except soundfile.LibsndfileError as error:
            raise OSError(f"{target}: could not be written ({error})") from error
