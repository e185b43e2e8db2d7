"""Explain one sound: what the model predicts, where its evidence lies, and what that resembles."""

from pathlib import Path
from tempfile import mkdtemp

import numpy as np

import earmark

RATE = 16_000
time = np.arange(2 * RATE) / RATE
# A decaying hiss, half a second in: a snare, as far as the shipped model is concerned.
burst = np.random.default_rng(0).standard_normal(len(time)) * np.exp(-20 * (time - 0.5)) * (time > 0.5)
wave = (0.3 * burst).astype(np.float32)

with earmark.load() as explainer:
    result = explainer.explain((wave, RATE), rescore=True)

label, score = result.predictions[0]
print(f"{label} {score:.1%}")
for start_s, end_s in result.mask.spans:
    print(f"evidence {start_s:.2f}-{end_s:.2f} s, {result.mask.area:.0%} of the spectrogram")
print("what the model says of the kept and the removed sound:", dict(result.rescored))
for view, prototypes in result.prototypes.items():
    nearest = prototypes[0]
    print(f"{view}: {nearest.label} {nearest.similarity:.2f}, {nearest.clip} at {nearest.start_s:.2f} s")
for warning in result.warnings:
    print("warning:", warning)

# Pictures, sounds and result.json.
folder = Path(mkdtemp()) / "explained"
result.save(folder)
print(sorted(path.name for path in folder.iterdir()))
