"""How faithful a decoder in training is, in the spectrogram domain. `evaluation/` judges finished bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ....runtime.bundle.manifest import MaskGain
from ....runtime.values.arrays import FloatArray
from ...models.decoders import Decoder, DecoderForm
from ..frozen_classifier import FrozenClassifier
from ..sounds import window_batches

# Masks larger than a quarter no longer say which part it was; on recordings that were not trained on
# they come out somewhat larger than on those that were, hence the margin.
LARGEST_AREA = 0.22
# Sounds in one forward pass.
_TOGETHER = 16


@torch.no_grad()
def judge(
    frozen: FrozenClassifier,
    decoder: Decoder,
    form: DecoderForm,
    waveforms: Sequence[FloatArray],
    *,
    threshold: float | None = None,
    how: MaskGain = "log",
    listen: bool = False,
) -> dict[str, float]:
    """Metrics of the masks of the predicted class over the windows of `waveforms` [N]; {} without any.

    With p, q, o the probabilities of the class c = argmax p for the sound, mask-in, mask-out:
    average_increase 100 [p < q], average_drop 100 relu(p - q) / p, faithfulness p - o,
    input_fidelity [argmax q = c], area mean(M), area_spread its standard deviation between windows.
    """
    if not waveforms:
        return {}
    columns: list[torch.Tensor] = []
    for pieces, _ in window_batches(waveforms, frozen.samples):
        forward = frozen.forward(torch.from_numpy(pieces))
        full = frozen.scores(forward.logits)
        target = full.argmax(dim=1)
        mask = decoder(*forward.fed(form.inputs, target))
        if threshold is not None:
            mask = (mask >= threshold).to(mask.dtype)
        inside, outside = map(frozen.scores, frozen.parts(forward, mask, how, listen=listen))
        p, q, o = (scores.gather(1, target[:, None]).squeeze(1) for scores in (full, inside, outside))
        agrees = (inside.argmax(dim=1) == target).to(p.dtype)
        columns.append(torch.stack([p, q, o, agrees, mask.mean(dim=(1, 2)).to(p.dtype)]))
    p, q, o, agrees, area = torch.cat(columns, dim=1)
    return {
        "average_increase": float(100.0 * (p < q).float().mean()),
        "average_drop": float((100.0 * (p - q).clamp(min=0) / (p + 1e-10)).mean()),
        "faithfulness": float((p - o).mean()),
        "input_fidelity": float(agrees.mean()),
        "area": float(area.mean()),
        "area_spread": float(area.std(correction=0)),
    }


@torch.no_grad()
def following(
    frozen: FrozenClassifier,
    decoder: Decoder,
    form: DecoderForm,
    waveforms: Sequence[FloatArray],
    *,
    how: MaskGain = "log",
    listen: bool = False,
) -> dict[str, float]:
    """How well masks follow the question: {"follows"}, or {} where no two sounds are of two classes.

    Two sounds, which alone are classified differently, are added at equal level
    and asked for both classes. follows: share of questions after which what is kept is of the class asked
    for; one mask for all classes reaches a half.
    """
    cut = [np.pad(wave[: frozen.samples], (0, max(0, frozen.samples - len(wave)))) for wave in waveforms]
    rms = [float(np.sqrt(np.mean(wave**2))) for wave in cut]
    level = max(rms, default=0.0)
    unit = [wave * (level / (own + 1e-6)) for wave, own in zip(cut, rms, strict=True)]
    right, asked = 0, 0
    for shift in sorted({1, len(unit) // 2} - {0, len(unit)}):
        for start in range(0, len(unit), _TOGETHER):
            rows = range(start, min(start + _TOGETHER, len(unit)))
            pair = [np.stack([unit[(row + by) % len(unit)] for row in rows]) for by in (0, shift)]
            first, second = (frozen.forward(torch.from_numpy(one)).logits.argmax(dim=1) for one in pair)
            forward = frozen.forward(torch.from_numpy(pair[0] + pair[1]))
            for target in (first, second):
                mask = decoder(*forward.fed(form.inputs, target))
                kept = frozen.parts(forward, mask, how, listen=listen)[0].argmax(dim=1)
                right += int(((kept == target) & (first != second)).sum())
                asked += int((first != second).sum())
    return {"follows": right / asked} if asked else {}


def merit(figures: Mapping[str, float]) -> float:
    """One number by which epochs are compared, higher is better: FF + Fid-In - AD / 100, less excess area.

    A mask of ones would have the best FF and Fid-In there are, hence the bound on the area. Of a decoder
    for any class `follows` counts as well, twice, since one mask for all classes has half of it.
    """
    excess = max(0.0, figures["area"] - LARGEST_AREA)
    return (
        figures["faithfulness"]
        + figures["input_fidelity"]
        - figures["average_drop"] / 100.0
        - 10.0 * excess
        + 2.0 * figures.get("follows", 0.0)
    )
