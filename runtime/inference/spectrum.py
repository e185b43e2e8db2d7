"""What is no graph of the bundle: the listenable STFT by FFT on the CPU, masked sound on other devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..audio.lengths import samples_at_least, samples_of
from ..audio.stft import as_pairs, forward
from ..values.arrays import FloatArray
from .tensors import Feeds, Tensor, on_host

if TYPE_CHECKING:
    from ..bundle.manifest import Manifest
    from .session import Sessions

# Largest difference from the graph, as a share of the largest value that a sound of peak 1 can have.
_LIMIT = 1e-6
# Frames of the sound on which both are compared.
_FRAMES = 9


class FourierStages:
    """Runs stages as `Sessions` does, but the front end by FFT where that gives what the graph gives.

    It does on the CPU, for models that take the listenable STFT. Both are compared once, on a short sound.
    Of the decoder two more outputs may be asked for, and "stft" is fed for them: `kept` [B, T hop], the
    sound at the model's level that the mask keeps, and `energies` [B, 3], see `masked_sound`.
    """

    def __init__(self, sessions: Sessions, manifest: Manifest) -> None:
        self._sessions, self._manifest = sessions, manifest
        self._agrees: bool | None = None

    def run(self, stage: str, feeds: Feeds, outputs: Sequence[str] | None = None) -> dict[str, FloatArray]:
        """See `Sessions.run`."""
        return {name: on_host(tensor) for name, tensor in self.keep(stage, feeds, outputs).items()}

    def keep(self, stage: str, feeds: Feeds, outputs: Sequence[str] | None = None) -> Mapping[str, Tensor]:
        """See `Sessions.keep`."""
        if stage == "frontend" and self._by_fft():
            return {"stft": as_pairs(forward(on_host(feeds["waveform"]), self._manifest.analysis))}
        if stage == "decoder" and outputs is not None and "kept" in outputs:
            return self._with_sound(feeds)
        return self._sessions.keep(stage, feeds, outputs)

    def makes_sound(self) -> bool:
        """Whether the sound of masks is made where the decoder runs: on every provider but the CPU's."""
        return self._manifest.stage("decoder") is not None and not self._sessions.on_cpu("decoder")

    def _with_sound(self, feeds: Feeds) -> Mapping[str, Tensor]:
        """The decoder's mask and the sound that it keeps."""
        manifest, decoder = self._manifest, self._manifest.stage("decoder")
        taken = [] if decoder is None else [tensor.name for tensor in decoder.inputs]
        mask = self._sessions.keep("decoder", {name: feeds[name] for name in taken}, ["mask"])["mask"]

        def graph() -> bytes:
            # Takes the package onnx, which the CPU does without.
            from .masked_sound import masked_sound

            return masked_sound(manifest.analysis, manifest.mask_gain)

        sound = self._sessions.keep_made("masked sound", graph, {"stft": feeds["stft"], "mask": mask})
        return {"mask": mask, **sound}

    def _by_fft(self) -> bool:
        if self._agrees is None:
            spectral = self._manifest.rescore == "spectrogram"
            self._agrees = spectral and self._sessions.on_cpu("frontend") and self._compare()
        return self._agrees

    def _compare(self) -> bool:
        """Whether the graph gives the STFT of a sound that a gain or a shift of the level would change."""
        manifest, spec = self._manifest, self._manifest.analysis
        window, rate = manifest.window, manifest.sample_rate
        shortest = samples_at_least(window.minimum_seconds, rate)
        longest = max(samples_of(window.seconds, rate), shortest)
        length = min(longest, max(shortest, spec.n_fft + _FRAMES * spec.hop + 1))
        time = np.arange(length, dtype=np.float64) / length
        # Through all frequencies, below full scale and with an offset.
        sound = (0.3 * np.sin(0.5 * np.pi * length * time**2) + 0.05).astype(np.float32)[None]
        graph = self._sessions.run("frontend", {"waveform": sound})["stft"]
        fft = as_pairs(forward(sound, spec))
        return graph.shape == fft.shape and bool(np.abs(graph - fft).max() <= _LIMIT * spec.window_length)
