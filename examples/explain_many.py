"""Explain a batch in bounded memory: an input that fails is a value, and the rest is done."""

from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import soundfile

import earmark

RATE = 16_000
folder = Path(mkdtemp())
noise = np.random.default_rng(0)
for number in range(3):
    soundfile.write(folder / f"clip_{number}.wav", 0.1 * noise.standard_normal(RATE), RATE)
(folder / "clip_3.wav").write_text("this is no sound")

explainer = earmark.load(device="cpu")
for path, item in zip(
    sorted(folder.iterdir()),
    explainer.explain_many(sorted(folder.iterdir()), batch_size=8, methods=["mask"]),
    strict=True,
):
    if item.ok:
        print(f"{path.name}: {item.predictions[0][0]}, evidence in {item.mask.area:.0%} of the spectrogram")
    else:
        print(f"{path.name}: {item.error}")
