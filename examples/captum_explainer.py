"""A method of captum in earmark's tables: which bands of the STFT the logit loses most without.

pip install "earmark[cpu]" captum
earmark evaluate masks BUNDLE DATA -m captum_explainer:ablated_bands -m mask -m energy
"""

import tempfile

import numpy as np
import torch
from captum.attr import FeatureAblation

import earmark
from earmark.evaluation import Question, evaluate
from earmark.evaluation.synthesis.clips import write_folder

BANDS, STRETCHES = 8, 6


def ablated_bands(question: Question) -> np.ndarray:
    """FeatureAblation over 8 bands by 6 stretches of the STFT: a ranking [T, F], no gradient needed."""
    spectrum = torch.from_numpy(np.stack([question.stft.real, question.stft.imag], axis=-1))

    def logits(spectra: torch.Tensor) -> torch.Tensor:
        parts = spectra.numpy()
        return torch.from_numpy(question.logits_of_stft(parts[..., 0] + 1j * parts[..., 1]))

    frames, bins = question.stft.shape
    # Bands of equal width in the logarithm of the bin, from the third bin on.
    band = np.clip(BANDS * np.log2(np.maximum(1.0, np.arange(bins) / 4)) / np.log2(bins / 4), 0, BANDS - 1)
    stretch = np.arange(frames) * STRETCHES // frames
    tiles = torch.from_numpy(stretch[:, None] * BANDS + band.astype(np.int64)[None])
    found = FeatureAblation(logits).attribute(
        spectrum[None],
        target=question.target,
        feature_mask=tiles[None, :, :, None].expand(1, -1, -1, 2),
        perturbations_per_eval=8,
    )
    return found[0, :, :, 0].numpy()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as data:
        write_folder(data, seed=5, clips_per_class=1)
        report = evaluate(
            "masks", earmark.load(), data, [ablated_bands, "mask", "energy", "random"], domain="spectrogram"
        )
    print(report.text())
