"""Embeds training clips exactly as the runtime embeds an input, down to the views' maps. Never torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, PrototypeIndexError
from ...prototypes_index.acoustics import Statistics
from ...prototypes_index.familiarity import Queries
from ...prototypes_index.views import FloatArray, View
from ...runtime.audio.sound import OpenSound, open_sound
from ...runtime.audio.writing import open_sound_file
from ...runtime.bundle.open import Bundle
from ...runtime.engine import Engine
from ...runtime.methods.prototypes.acoustics import statistics_of
from ...runtime.methods.prototypes.looking import Looker
from ...runtime.methods.prototypes.passages import Passages
from .generation_writer import views_in


@dataclass(frozen=True, slots=True)
class EmbeddedWindow:
    """One window of a clip: where it starts, how much real sound is in it, and its maps.

    maps: square [T, F, C], time [T, C], frequency [F, C]
    queries: by view the places that an explanation of it, for what is predicted, would look up
    frames: leading frames that hold real sound; None where all do
    passages: around each frame of the maps; None where every sample is zero, hence there are no maps
    statistics: what it is like; None with the passages
    """

    offset_s: float
    duration_s: float
    maps: dict[str, FloatArray]
    queries: dict[View, Queries]
    frames: int | None
    passages: Passages | None
    statistics: Statistics | None


class UnfitError(DataError):
    """A sound that can be read, and yet is nothing that another could resemble."""


class ClipEmbedder:
    """Front end, classifier and embeddings graph of one bundle."""

    def __init__(self, bundle: Bundle, embeddings: Path, device: str = "cpu") -> None:
        """Hear with an open bundle; `embeddings` is the graph that makes the maps.

        Raises DeviceError, MissingDependencyError, and PrototypeIndexError where the
        bundle has no feature map.
        """
        self._engine = Engine(bundle, device)
        manifest = self._engine.manifest
        spec = manifest.feature_map
        if spec is None:
            raise PrototypeIndexError(
                f"{bundle.path}: this bundle has no feature map; export it again with one"
            )
        self._taps, self._views = spec.taps, views_in(spec, manifest)
        self._looker = Looker(manifest, self._embed)
        self._embeddings, self._rate = embeddings, manifest.sample_rate
        self._hop = manifest.analysis.hop
        self._frame_s = manifest.analysis.window_length / self._rate

    def open(self, path: Path) -> OpenSound:
        """Open one file. Raises AudioError where it cannot be read, UnfitError for silence and clicks.

        A click is shorter than a frame of the analysis.
        """
        opened = open_sound(path, None, self._rate)
        if opened.silent:
            raise UnfitError(f"{path}: is silent, and silence is no prototype")
        if opened.seconds < self._frame_s:
            raise UnfitError(
                f"{path}: is {opened.input_samples} samples long, less than the "
                f"{1000 * self._frame_s:.0f} ms of the model's analysis, and so is no prototype"
            )
        return opened

    def listen(self, opened: OpenSound) -> Iterator[EmbeddedWindow]:
        """Every window of the sound, in order, in bounded memory.

        Raises DataError where its feature map is not finite.
        """
        for window in self._engine.windows(opened):
            samples = window.waveform.shape[-1]
            real = min(samples, opened.samples - window.offset)
            offset, duration = window.offset / self._rate, real / self._rate
            if not window.waveform.any():
                yield EmbeddedWindow(offset, duration, {}, {}, None, None, None)
                continue
            # Before the graph, whose answers would blame the bundle.
            if not all(np.isfinite(window.taps[tap]).all() for tap in self._taps):
                raise DataError(f"{opened.name}: its feature map holds numbers that are not finite; left out")
            label = int(window.logits.argmax())
            looked = self._looker.look(window, opened.samples, label, self._views)
            maps = {name: looked.outputs[name][0] for name in ("square", "time", "frequency")}
            frames = self._looker.grid.frames_in(duration) if real < samples else None
            amplitude = np.hypot(window.stft[..., 0], window.stft[..., 1])
            passages = Passages(amplitude, self._rate, self._hop, self._looker.grid, duration)
            statistics = statistics_of(window, real, self._engine.manifest)
            queries = looked.queries(self._views)
            yield EmbeddedWindow(offset, duration, maps, queries, frames, passages, statistics)

    def _embed(self, *given: FloatArray) -> Any:
        """The embeddings graph: its taps -> its outputs."""
        return self._engine.sessions.run_graph(self._embeddings, dict(zip(self._taps, given, strict=True)))

    def keep_sound(self, opened: OpenSound, target: Path) -> float:
        """Write the sound, mono at the model's rate, as 24-bit FLAC; returns the gain that gives its level.

        The gain is a power of two with which the peak lies within 0.5..1, so that loud sound is not clipped
        and quiet sound keeps its shape. Raises WriteError where it cannot be written.
        """
        peak = max(float(np.abs(block).max()) for block in self._mono(opened))
        gain = 2.0 ** math.frexp(peak)[1]
        target.parent.mkdir(exist_ok=True)
        with open_sound_file(target, self._rate, 1, "FLAC", "PCM_24") as file:
            for block in self._mono(opened):
                scaled = np.rint(block.astype(np.float64) / gain * 2.0**23)
                # Integers are taken as they are; libsndfile drops the lowest 8 of 32 bits.
                file.write(np.clip(scaled, -(2**23), 2**23 - 1).astype(np.int32) << 8)
        return gain

    @staticmethod
    def _mono(opened: OpenSound) -> Iterator[FloatArray]:
        """The sound as the model gets it, at its own level: blocks [n] that are not empty."""
        for block in opened.model_blocks():
            if block.shape[1]:
                yield block.mean(axis=0, dtype=np.float32)
