"""The loss of a decoder (arXiv 2403.13086, section 3, and its recipe's code), for one batch.

With X = log1p|S|, M the mask, c the class asked for, f the frozen classifier:

    in_weight NLL(f(M X), c) + gain_weight softplus(logit f_c(X) + 0.5 - logit f_c(M X))
        - out_weight NLL(f((1 - M) X), c) + out_score_weight f_c((1 - M) X) / max(f_c(X), out_score_least)
        + area_weight mean(M)

The paper's terms are the first, the third and the last. The gain asks the masked sound to convince the
classifier *more* than the whole sound did, which is what AI and AD measure, and goes on asking where the
NLL is satisfied; the score bounds what NLL out leaves unbounded, so that it acts where something is left.
Classifiers of features are often unsure, and silence has more of their scores: there what is left counts as
a share of the whole sound's score, and the area weighs less.

and in guided fine-tuning, once the area has its full weight: where cos(X_clean, M X) >= 0.6,
guided_weight BCE(M, [X_clean >= 0.35 max X_clean]) in place of the area.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ...models.decoders import Decoder, DecoderForm
from ..frozen_classifier import ClassifierPass, FrozenClassifier
from ..settings import LmacSettings
from .mixtures import MixtureBatch

# The recipe's guidance: masks like the clean sound by this cosine follow its loud cells.
_ALIKE, _LOUD = 0.6, 0.35
# Log-odds by which the masked sound should be surer than the whole; scores are kept this far from 0 and 1.
_MARGIN, _SURE = 0.5, 1e-4
# `out_score_least` and `area_weight` where the settings name none; the second over a classifier of features.
_WEIGHTS, _OVER_FEATURES = (1.0, 15.0), (0.3, 10.0)
# With targets "any": a class of a lower score may be taken for absent.
_ABSENT = 0.5


@dataclass(frozen=True)
class Questions:
    """Which classes the sounds of a batch are explained for; sounds may be asked about twice.

    forward: the classifier's pass over the sound of each question [Q]; target [Q]: class indices
    sharp [Q, 1, 1]: as in the batch
    present [Q]: whether the sound has any of the class; where not, the mask should be empty
    clean [Q]: which row of the batch's clean sounds is the one asked about
    """

    forward: ClassifierPass
    target: torch.Tensor
    sharp: npt.NDArray[np.bool_]
    present: torch.Tensor
    clean: torch.Tensor | slice


class MaskingLoss:
    """Loss of a decoder over a frozen classifier."""

    def __init__(self, frozen: FrozenClassifier, form: DecoderForm, settings: LmacSettings) -> None:
        self.frozen, self.form, self.settings = frozen, form, settings
        least, area = _OVER_FEATURES if form.on_features else _WEIGHTS
        self._least = least if settings.out_score_least is None else settings.out_score_least
        self._area_weight = area if settings.area_weight is None else settings.area_weight

    def __call__(self, decoder: Decoder, batch: MixtureBatch, progress: float) -> torch.Tensor:
        """The loss of one batch; the area's weight rises with progress, or masks turn uniformly grey."""
        settings, frozen = self.settings, self.frozen
        questions = self.questions(frozen.forward(torch.from_numpy(batch.mixed)), batch)
        forward = questions.forward
        with frozen.mixed_precision():
            drawn = decoder.logits(*forward.fed(self.form.inputs, questions.target))
        drawn = drawn.to(frozen.dtype)
        sharp = torch.from_numpy(np.where(questions.sharp, settings.sharpness, 1.0)).to(drawn)
        mask = decoder.to_bins(torch.sigmoid(sharp * drawn))
        kept, removed = frozen.parts(forward, mask, settings.mask_gain, listen=settings.listened)
        there = questions.present.to(kept.dtype)
        inside = frozen.surprise(kept, questions.target)
        outside = frozen.surprise(removed, questions.target)
        whole, inner, left = (
            frozen.scores(logits).gather(1, questions.target[:, None]).squeeze(1)
            for logits in (forward.logits, kept, removed)
        )
        surer = torch.logit(inner, _SURE) - torch.logit(whole, _SURE)
        evidence = (
            settings.in_weight * inside
            + settings.gain_weight * functional.softplus(_MARGIN - surer)
            - settings.out_weight * outside
            + settings.out_score_weight * left / whole.clamp(self._least, 1.0)
        )
        ramp = 0.1 + 0.9 * min(1.0, progress / settings.area_ramp)
        area = self._area_weight * ramp * mask.mean(dim=(1, 2))
        if settings.smooth_weight:
            area = area + settings.smooth_weight * ramp * roughness(mask)
        if settings.guided and progress >= settings.area_ramp:
            area = self._guided(questions, batch, mask, area)
        return (there * evidence + area).mean()

    def questions(self, forward: ClassifierPass, batch: MixtureBatch) -> Questions:
        """Every sound for its predicted class; with targets "any" for a second class as well.

        A sound with another clip in it: for the class predicted of that clip alone. Other
        sounds: for a class that they have nothing of. A sound that is asked about
        twice in one step teaches the decoder how the answers differ.
        """
        predicted = forward.logits.argmax(dim=1)
        present = torch.ones_like(predicted, dtype=torch.bool)
        if self.settings.explained != "any":
            return Questions(forward, predicted, batch.sharp, present, slice(None))
        alone = self.frozen.forward(torch.from_numpy(batch.clean)).logits.argmax(dim=1)
        partner = torch.from_numpy(batch.partner).to(predicted.device)
        clip = partner.clamp(min=0)
        # Where the clip that was added has taken over, the second class is that of the first clip.
        over = (partner >= 0) & (alone[clip] == predicted)
        second = torch.where(over, alone, alone[clip])
        mixed = (partner >= 0) & (second != predicted)
        rows = torch.arange(len(predicted), device=predicted.device)
        # A rotation of the classes, so that no randomness but the batch's own comes in.
        classes = forward.logits.shape[1]
        absent = (predicted + 1 + rows % max(1, classes - 1)) % classes
        low = self.frozen.scores(forward.logits).gather(1, absent[:, None]).squeeze(1) < _ABSENT
        nothing = ~mixed & (absent != alone) & (absent != predicted) & low
        twice = rows[mixed | nothing]
        chosen = torch.cat([rows, twice])
        return Questions(
            forward.part(chosen),
            torch.cat([predicted, torch.where(mixed, second, absent)[twice]]),
            batch.sharp[chosen.cpu().numpy()],
            torch.cat([present, mixed[twice]]),
            torch.cat([torch.where(mixed & over, clip, rows), torch.where(mixed & ~over, clip, rows)[twice]]),
        )

    def _guided(
        self, questions: Questions, batch: MixtureBatch, mask: torch.Tensor, area: torch.Tensor
    ) -> torch.Tensor:
        """Per question: the recipe's guidance where the mask keeps what is like the clean sound; or area."""
        clean = self.frozen.forward(torch.from_numpy(batch.clean)).log_amplitude[questions.clean]
        flat = (clean.flatten(1), (mask * questions.forward.log_amplitude).flatten(1))
        alike = functional.cosine_similarity(*flat, dim=1) >= _ALIKE
        oracle = (clean >= _LOUD * clean.amax(dim=(1, 2), keepdim=True)).to(mask)
        cells = functional.binary_cross_entropy(mask.clamp(1e-6, 1.0 - 1e-6), oracle, reduction="none")
        return torch.where(alike, self.settings.guided_weight * cells.mean(dim=(1, 2)), area)


def roughness(mask: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference [B] of neighbours in time and in frequency in a mask [B, T, F]."""
    over_time = (mask[:, 1:] - mask[:, :-1]).abs().mean(dim=(1, 2))
    over_bins = (mask[:, :, 1:] - mask[:, :, :-1]).abs().mean(dim=(1, 2))
    return over_time + over_bins
