"""A Cnn14 with L-MAC's reference decoder, seeded random weights: written as a recipe's output folder.

Random weights cost what trained ones cost. They are scaled so that logits are of order 1.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from earmark.export.models.cnn14 import Cnn14
from earmark.export.models.cnn14_decoder import Cnn14Decoder

SETTINGS = """\
sample_rate: 16000
n_mels: 80
out_n_neurons: 50
n_fft: 1024
spec_mag_power: 0.5
hop_length: 11.6099
win_length: 23.2199
signal_length_s: 5
"""


def write(folder: Path, seed: int = 0, *, decoder: bool = True) -> Path:
    """Write the folder that `earmark export` reads, with its decoder or without."""
    torch.manual_seed(seed)
    (folder / "save").mkdir(parents=True, exist_ok=True)
    (folder / "hyperparams.yaml").write_text(SETTINGS)
    lines = [f"'class {index}' => {index}" for index in range(50)]
    (folder / "save" / "label_encoder.txt").write_text("\n".join([*lines, "=" * 16, ""]))
    torch.save(Cnn14().state_dict(), folder / "save" / "embedding_model.ckpt")
    torch.save(nn.Linear(2048, 50).state_dict(), folder / "save" / "classifier.ckpt")
    if decoder:
        checkpoint = folder / "save" / "CKPT+2026-01-01+00-00-00+00"
        checkpoint.mkdir(exist_ok=True)
        torch.save(Cnn14Decoder().state_dict(), checkpoint / "psi_model.ckpt")
    return folder
