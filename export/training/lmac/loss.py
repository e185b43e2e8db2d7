"""The loss of a decoder (arXiv 2403.13086, section 3, and its recipe's code), for one batch.

With X = log1p|S|, M the mask, c the class asked for, f the frozen classifier:

    in_weight NLL(f(M X), c) + gain_weight softplus(logit f_c(X) + 0.5 - logit f_c(M X))
        - out_weight NLL(f((1 - M) X), c) + out_score_weight f_c((1 - M) X) + area_weight mean(M)

The paper's terms are the first, the third and the last. The gain asks the masked sound to convince the
classifier *more* than the whole sound did, which is what AI and AD measure, and goes on asking where the
NLL is satisfied; the score bounds what NLL out leaves unbounded, so that it acts where something is left.

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
from ..listener import Heard, Listener
from ..settings import LmacSettings
from .mixtures import Batch

# The recipe's guidance: masks like the clean sound by this cosine follow its loud cells.
_ALIKE, _LOUD = 0.6, 0.35
# Log-odds by which the masked sound should be surer than the whole; scores are kept this far from 0 and 1.
_MARGIN, _SURE = 0.5, 1e-4
# With targets "any": a class of a lower score may be taken for absent.
_ABSENT = 0.5


@dataclass(frozen=True)
class Asked:
    """Which classes the sounds of a batch are explained for; sounds may be asked about twice.

    heard: the sound of each question [Q]; target [Q]: class indices; sharp [Q, 1, 1]: as in the batch
    present [Q]: whether the sound has any of the class; where not, the mask should be empty
    clean [Q]: which row of the batch's clean sounds is the one asked about
    """

    heard: Heard
    target: torch.Tensor
    sharp: npt.NDArray[np.bool_]
    present: torch.Tensor
    clean: torch.Tensor | slice


class MaskingLoss:
    """Loss of a decoder over a listener's classifier."""

    def __init__(self, listener: Listener, form: DecoderForm, settings: LmacSettings) -> None:
        self.listener, self.form, self.settings = listener, form, settings

    def __call__(self, decoder: Decoder, batch: Batch, progress: float) -> torch.Tensor:
        """The loss of one batch; the area's weight rises with progress, or masks turn uniformly grey."""
        settings, listener = self.settings, self.listener
        asked = self.asked(listener.hear(torch.from_numpy(batch.heard)), batch)
        heard = asked.heard
        with listener.mixed_precision():
            drawn = decoder.logits(*heard.fed(self.form.inputs, asked.target))
        drawn = drawn.to(listener.dtype)
        sharp = torch.from_numpy(np.where(asked.sharp, settings.sharpness, 1.0)).to(drawn)
        mask = decoder.to_bins(torch.sigmoid(sharp * drawn))
        kept = listener.masked(heard, mask)
        removed = listener.masked(heard, 1.0 - mask)
        there = asked.present.to(kept.dtype)
        inside = listener.surprise(kept, asked.target)
        outside = listener.surprise(removed, asked.target)
        whole, inner, left = (
            listener.scores(logits).gather(1, asked.target[:, None]).squeeze(1)
            for logits in (heard.logits, kept, removed)
        )
        surer = torch.logit(inner, _SURE) - torch.logit(whole, _SURE)
        evidence = (
            settings.in_weight * inside
            + settings.gain_weight * functional.softplus(_MARGIN - surer)
            - settings.out_weight * outside
            + settings.out_score_weight * left
        )
        ramp = 0.1 + 0.9 * min(1.0, progress / settings.area_ramp)
        area = settings.area_weight * ramp * mask.mean(dim=(1, 2))
        if settings.guided and progress >= settings.area_ramp:
            area = self._guided(asked, batch, mask, area)
        return (there * evidence + area).mean()

    def asked(self, heard: Heard, batch: Batch) -> Asked:
        """Every sound for its predicted class; with targets "any" for a second class as well.

        A sound with another clip in it: for that clip's class, as the classifier hears it alone. Other
        sounds: for a class that they have nothing of. Asked twice in one step, a sound teaches the decoder
        how the answers differ.
        """
        predicted = heard.logits.argmax(dim=1)
        present = torch.ones_like(predicted, dtype=torch.bool)
        if self.settings.targets != "any":
            return Asked(heard, predicted, batch.sharp, present, slice(None))
        alone = self.listener.hear(torch.from_numpy(batch.clean)).logits.argmax(dim=1)
        partner = torch.from_numpy(batch.partner).to(predicted.device)
        clip = partner.clamp(min=0)
        # Where the clip that was added has taken over, the second class is that of the first clip.
        over = (partner >= 0) & (alone[clip] == predicted)
        second = torch.where(over, alone, alone[clip])
        mixed = (partner >= 0) & (second != predicted)
        rows = torch.arange(len(predicted), device=predicted.device)
        # A rotation of the classes, so that no randomness but the batch's own comes in.
        classes = heard.logits.shape[1]
        absent = (predicted + 1 + rows % max(1, classes - 1)) % classes
        low = self.listener.scores(heard.logits).gather(1, absent[:, None]).squeeze(1) < _ABSENT
        nothing = ~mixed & (absent != alone) & (absent != predicted) & low
        twice = rows[mixed | nothing]
        chosen = torch.cat([rows, twice])
        return Asked(
            heard.part(chosen),
            torch.cat([predicted, torch.where(mixed, second, absent)[twice]]),
            batch.sharp[chosen.cpu().numpy()],
            torch.cat([present, mixed[twice]]),
            torch.cat([torch.where(mixed & over, clip, rows), torch.where(mixed & ~over, clip, rows)[twice]]),
        )

    def _guided(self, asked: Asked, batch: Batch, mask: torch.Tensor, area: torch.Tensor) -> torch.Tensor:
        """Per question: the recipe's guidance where the mask keeps what is like the clean sound; or area."""
        clean = self.listener.hear(torch.from_numpy(batch.clean)).log_amplitude[asked.clean]
        flat = (clean.flatten(1), (mask * asked.heard.log_amplitude).flatten(1))
        alike = functional.cosine_similarity(*flat, dim=1) >= _ALIKE
        oracle = (clean >= _LOUD * clean.amax(dim=(1, 2), keepdim=True)).to(mask)
        cells = functional.binary_cross_entropy(mask.clamp(1e-6, 1.0 - 1e-6), oracle, reduction="none")
        return torch.where(alike, self.settings.guided_weight * cells.mean(dim=(1, 2)), area)
