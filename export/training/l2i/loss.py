"""The loss of an interpreter (arXiv 2202.11479, section 3.3), relevance and selection, for one batch.

With X = log1p|S| [F, T], W the dictionary, H = psi(.), z its pooled activations, f the classifier's scores:

    alpha MSE(W H, X) + beta mean|H| + answer_weight CE(f, theta z)

with the error once more of what the sound makes of psi's activations. CE is the cross-entropy of a softmax;
with several labels the sum over them of sigmoids'. By design f is the labels. Beyond the paper:

    removal_weight ((q - log(1 - q)) / 2 - 0.5 log f_c(mask_L S) + 0.8 mean(mask_L)),  q = f_c((1 - mask_L) S)

c the predicted class, L its components, mask_L their soft mask: what is selected should be what
the classifier needs, be classified as that class by itself, and be no more than that. The logarithm is for
sounds whose class is still sure without L, where the score has no slope.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from .settings import L2iSettings

# p of the soft mask, in training as in what explains; the paper's is 1.
MASK_POWER = 3.0
# Added to W H in the soft mask, as in the paper's code.
_TINY = 1e-10
# How sharply the loss's soft selection passes over the threshold.
_SHARP = 20.0
# Weight of the surprise at what is kept, and what a mask of the whole sound costs, in scores.
_KEPT, _AREA = 0.5, 0.8
# Scores are kept this far from 0, and those of what is left this far from 1.
_LEAST, _GONE = 1e-6, 1e-3
# Part of the logarithm in what is left.
_LOG = 0.5


def cross_entropy(logits: torch.Tensor, scores: torch.Tensor, task: str) -> torch.Tensor:
    """CE of theta's logits [B, C] against the classifier's scores [B, C]."""
    if task == "multi_label":
        both = functional.binary_cross_entropy_with_logits(logits, scores, reduction="none")
        return both.sum(dim=1).mean()
    return functional.cross_entropy(logits, scores)


def nmf_terms(
    activations: tuple[torch.Tensor, torch.Tensor],
    dictionary: torch.Tensor,
    log_amplitude: torch.Tensor,
    settings: L2iSettings,
) -> torch.Tensor:
    """The loss's part alpha (MSE(W H0, X) + MSE(W H, X)) + beta mean|H0|; W [F, K], X [B, T, F].

    activations: psi's own H0 [B, K, T], and H, those brought to the sound
    """
    own, fitted = activations
    error = sum(functional.mse_loss(h.transpose(1, 2) @ dictionary.T, log_amplitude) for h in (own, fitted))
    return settings.alpha * error + settings.beta * own.mean()


def relevance(weight: torch.Tensor, z: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """r_k = theta_ck z_k / max_k |theta_ck z_k| [B, K], for classes c `target` [B]; 0 where z is."""
    product = weight[target] * z
    return product / product.abs().amax(dim=1, keepdim=True).clamp(min=_TINY)


def soft_mask(
    dictionary: torch.Tensor, activations: torch.Tensor, chosen: torch.Tensor, power: float = MASK_POWER
) -> torch.Tensor:
    """sum_L (W_k H_k)^p / sum_k (W_k H_k)^p [B, T, F], on the linear magnitude; `chosen` [B, K] in 0..1."""
    spectra, columns = activations.transpose(1, 2).pow(power), dictionary.T.pow(power)
    part = (spectra * chosen[:, None, :]) @ columns
    return part / (spectra @ columns + math.pow(_TINY, power))


def removal(
    logits: torch.Tensor,
    interpreted: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    dictionary: torch.Tensor,
    threshold: float,
    scores_of: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """What is left of the predicted class without its components, surprise at these, price of their area.

    logits [B, C] of the whole sound; interpreted: H [B, K, T], theta [C, K], z [B, K]
    scores_of: gains [B, T, F] -> the classifier's scores [B, C] of the sound so multiplied
    The selection is a sigmoid around the threshold, so that there is a gradient.
    """
    activations, weight, z = interpreted
    target = logits.argmax(dim=1)
    chosen = torch.sigmoid(_SHARP * (relevance(weight, z, target) - threshold))
    mask = soft_mask(dictionary, activations, chosen)
    left, kept = (scores_of(gains).gather(1, target[:, None]) for gains in (1.0 - mask, mask))
    surprise = -kept.clamp(min=_LEAST).log()
    still = (1.0 - _LOG) * left - _LOG * (1.0 - left).clamp(min=_GONE).log()
    return still.mean() + _KEPT * surprise.mean() + _AREA * mask.mean()
