"""A classifier's loss, its scores as the runtime computes them, and how right they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from ...runtime.bundle.manifest import AnalysisSpec
from ...runtime.values.arrays import FloatArray
from ..graphs.stft import stft
from ..models.compact_classifier import CompactClassifier
from .sounds import window_batches


def task_loss(logits: torch.Tensor, targets: torch.Tensor, task: str, smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy of logits [B, K] against target probabilities [B, K]; binary with several labels.

    smoothing: how much of a target is spread over the classes, or over yes and no.
    """
    if task == "multi_label":
        smoothed = targets * (1.0 - smoothing) + 0.5 * smoothing
        return functional.binary_cross_entropy_with_logits(logits, smoothed)
    return functional.cross_entropy(logits, targets, label_smoothing=smoothing)


def probabilities(logits: torch.Tensor, task: str) -> torch.Tensor:
    """Of logits [B, K]: softmax where one label holds, sigmoid where several may."""
    return torch.sigmoid(logits) if task == "multi_label" else torch.softmax(logits, dim=1)


@torch.no_grad()
def score(
    model: CompactClassifier,
    analysis: AnalysisSpec,
    waveforms: Sequence[FloatArray],
    samples: int,
    task: str = "single_label",
) -> torch.Tensor:
    """Probabilities [sounds, K], as the runtime computes them from windows of `samples`.

    Their mean, or with several labels their maximum: a label holds where it holds in one window.
    """

    def scores_of(pieces: torch.Tensor) -> torch.Tensor:
        return probabilities(model(stft(pieces.to(model.head.weight.device), analysis))[0], task)

    how = "max" if task == "multi_label" else "mean"
    return joined(scores_of, waveforms, samples, model.head.out_features, how)


def joined(
    scores_of: Callable[[torch.Tensor], torch.Tensor],
    waveforms: Sequence[FloatArray],
    samples: int,
    classes: int,
    how: str,
) -> torch.Tensor:
    """Scores [sounds, K] from those of windows, pieces [B, N] -> [B, K], by their "mean" or "max"."""
    total, count = torch.zeros(len(waveforms), classes), torch.zeros(len(waveforms), 1)
    for pieces, owner in window_batches(waveforms, samples):
        scores, of = scores_of(torch.from_numpy(pieces)).cpu(), torch.from_numpy(owner)
        if how == "max":
            total.scatter_reduce_(0, of[:, None].expand_as(scores), scores, "amax")
        else:
            total.index_add_(0, of, scores)
        count.index_add_(0, of, torch.ones(len(of), 1))
    return total if how == "max" else total / count


def judge(scores: torch.Tensor, targets: torch.Tensor, task: str) -> dict[str, float]:
    """Figures of probabilities [sounds, K] against labels [sounds, K]: accuracy or f1, validation_loss.

    f1: 2 TP / (2 TP + FP + FN) over all sounds and labels, a label given where its score is above 0.5.
    """
    sure = scores.clamp(1e-12, 1.0 - 1e-7)
    if task == "multi_label":
        given, true = scores > 0.5, targets > 0.5
        hits = float((given & true).sum())
        return {
            "f1": 2.0 * hits / max(1.0, float(given.sum() + true.sum())),
            "validation_loss": float(functional.binary_cross_entropy(sure, targets)),
        }
    right = targets.argmax(1)
    return {
        "accuracy": float((scores.argmax(1) == right).float().mean()),
        "validation_loss": float(-sure.gather(1, right[:, None]).log().mean()),
    }
