"""Hears training clips exactly as the runtime hears an input, down to the views' maps. Never torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from ..errors import DataError, PrototypeIndexError
from ..prototypes_index.views import FloatArray
from ..runtime.bundle import Bundle
from ..runtime.explainer import Explainer
from ..runtime.prototypes import grid_of
from ..runtime.sound import OpenSound, open_sound


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
    """Front end, classifier and embeddings graph of one bundle."""

    def __init__(self, bundle: Bundle, embeddings: Path, device: str = "cpu") -> None:
        """Hear with an open bundle; `embeddings` is the graph that makes the maps.

        Raises DeviceError, MissingDependencyError, and PrototypeIndexError where the
        bundle has no feature map.
        """
        self._explainer = Explainer(bundle, device)
        spec = self._explainer.manifest.feature_map
        if spec is None:
            raise PrototypeIndexError(
                f"{bundle.path}: this bundle has no feature map; export it again with one"
            )
        self._taps, self._grid, self._embeddings = spec.taps, grid_of(spec), embeddings
        self._rate = self._explainer.manifest.sample_rate

    def open(self, path: Path) -> OpenSound:
        """Open one file. Raises AudioError where it cannot be heard."""
        return open_sound(path, None, self._rate)

    def listen(self, opened: OpenSound) -> Iterator[HeardClip]:
        """Every window of the sound, in order, in bounded memory.

        Raises DataError where its feature map is not finite.
        """
        for heard in self._explainer.hear(opened):
            made = self._explainer.run_graph(self._embeddings, {tap: heard.taps[tap] for tap in self._taps})
            maps = {name: made[name][0] for name in ("square", "time", "frequency")}
            if not np.isfinite(maps["square"]).all():
                raise DataError(f"{opened.name}: its feature map holds numbers that are not finite; left out")
            samples = heard.waveform.shape[-1]
            real = min(samples, opened.samples - heard.offset)
            duration = real / self._rate
            frames = self._grid.frames_in(duration) if real < samples else None
            yield HeardClip(heard.offset / self._rate, duration, maps, frames)

    def keep_sound(self, opened: OpenSound, target: Path) -> None:
        """Write the sound, mono at the model's rate and at its own level, as 16-bit FLAC.

        Raises OSError where it cannot be written.
        """
        target.parent.mkdir(exist_ok=True)
        try:
            with soundfile.SoundFile(
                target, "w", samplerate=self._rate, channels=1, format="FLAC", subtype="PCM_16"
            ) as file:
                for block in opened.model_blocks():
                    file.write(block.mean(axis=0))
        except soundfile.LibsndfileError as error:
            raise OSError(f"{target}: could not be written ({error})") from error
