"""The PyTorch side: the recipe's computation, stage by stage, as fast as PyTorch makes it.

Run as a script it is the cold start: `python pytorch_side.py FOLDER` loads the recipe's output
folder, explains one clip and ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from earmark.export.models.cnn14 import Cnn14
from earmark.export.models.cnn14_decoder import Cnn14Decoder

N_FFT, WINDOW, HOP, MELS, RATE = 1024, 372, 186, 80, 16000


def filterbank() -> torch.Tensor:
    """SpeechBrain's triangular filterbank [513, 80]."""
    mel = torch.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), MELS + 2)
    hz = 700 * (10 ** (mel / 2595) - 1)
    band, centre = (hz[1:] - hz[:-1])[:-1], hz[1:-1]
    slope = (torch.linspace(0, RATE // 2, N_FFT // 2 + 1)[:, None] - centre) / band
    return torch.clamp(torch.minimum(slope + 1, 1 - slope), min=0)


class PyTorchSide:
    """Four stages: front end, classifier, decoder, mask to audio."""

    def __init__(
        self, body: nn.Module, head: nn.Module, decoder: nn.Module, *, channels_last: bool = False
    ) -> None:
        form = torch.channels_last if channels_last else torch.contiguous_format
        self.body, self.head, self.decoder = body.to(memory_format=form), head, decoder.to(memory_format=form)
        self.window, self.bank = torch.hamming_window(WINDOW), filterbank()

    def front_end(self, wave: torch.Tensor) -> torch.Tensor:
        """Waveform [1, N] -> STFT [1, T, F, 2]."""
        stft = torch.stft(wave, N_FFT, HOP, WINDOW, self.window, pad_mode="constant", return_complex=True)
        return torch.view_as_real(stft.transpose(1, 2))

    def classify(self, stft: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """STFT -> logits and taps."""
        amplitude = torch.sqrt(stft.pow(2).sum(-1) + 1e-14)
        embedding, taps = self.body(torch.log1p(amplitude @ self.bank))
        return self.head(embedding), taps

    def mask(self, taps: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Taps -> mask [1, T', F]."""
        made: torch.Tensor = self.decoder(*taps).flatten(0, -3)
        return made

    def audio(self, stft: torch.Tensor, mask: torch.Tensor, samples: int) -> torch.Tensor:
        """Mask and STFT -> kept audio [1, N], as the recipe does it."""
        stft, mask = stft[:, : mask.shape[1]], mask[:, : stft.shape[1]]
        amplitude = torch.sqrt(stft.pow(2).sum(-1) + 1e-14)
        loudness = torch.expm1(mask * torch.log1p(amplitude))
        phase = torch.atan2(stft[..., 1], stft[..., 0])
        spectrum = torch.polar(loudness, phase).transpose(1, 2)
        kept = torch.istft(spectrum, N_FFT, HOP, WINDOW, self.window)
        return torch.nn.functional.pad(kept, (0, samples - kept.shape[1]))

    @torch.inference_mode()
    def explain(self, wave: torch.Tensor) -> dict[str, float]:
        """All four stages; milliseconds of each and their sum."""
        taken: dict[str, float] = {}

        def timed(name: str, call: Callable[[], object]) -> object:
            start = time.perf_counter()
            made = call()
            taken[name] = (time.perf_counter() - start) * 1e3
            return made

        stft = timed("front end", lambda: self.front_end(wave))
        _, taps = timed("classifier", lambda: self.classify(stft))  # type: ignore[misc,arg-type]
        mask = timed("decoder", lambda: self.mask(taps))
        timed("mask to audio", lambda: self.audio(stft, mask, wave.shape[1]))  # type: ignore[arg-type]
        taken["end to end"] = sum(taken.values())
        return taken


def load(folder: Path) -> PyTorchSide:
    """Read the checkpoints as the recipe's evaluation does."""
    body, head, decoder = Cnn14(), nn.Linear(2048, 50), Cnn14Decoder()
    for module, path in (
        (body, folder / "save" / "embedding_model.ckpt"),
        (head, folder / "save" / "classifier.ckpt"),
        (decoder, next((folder / "save").glob("CKPT+*")) / "psi_model.ckpt"),
    ):
        module.load_state_dict(torch.load(path, weights_only=True))
        module.eval()
    return PyTorchSide(body, head, decoder)


if __name__ == "__main__":
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 5 * RATE)).astype(np.float32) * 0.1)
    load(Path(sys.argv[1])).explain(noise)
