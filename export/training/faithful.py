"""How faithful a decoder in training is, in the spectrogram domain. `evaluation/` judges finished bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..decoders import Decoder, DecoderForm
from .listener import Listener
from .sounds import FloatArray, window_batches

# Masks larger than a quarter no longer say which part it was; on recordings that were not heard in training
# they come out somewhat larger than on those that were, hence the margin.
LARGEST_AREA = 0.22


@torch.no_grad()
def judge(
    listener: Listener,
    decoder: Decoder,
    form: DecoderForm,
    waveforms: Sequence[FloatArray],
    *,
    threshold: float | None = None,
) -> dict[str, float]:
    """Metrics of the masks of the predicted class over the windows of `waveforms`; {} without any.

    With p, q, o the probabilities of the class c = argmax p for the sound, mask-in, mask-out:
    average_increase 100 [p < q], average_drop 100 relu(p - q) / p, faithfulness p - o,
    input_fidelity [argmax q = c], area mean(M), area_spread its standard deviation between windows.
    """
    if not waveforms:
        return {}
    columns: list[torch.Tensor] = []
    for pieces, _ in window_batches(waveforms, listener.samples):
        heard = listener.hear(torch.from_numpy(pieces))
        full = listener.scores(heard.logits)
        target = full.argmax(dim=1)
        mask = decoder(*heard.fed(form.inputs, target))
        if threshold is not None:
            mask = (mask >= threshold).to(mask.dtype)
        inside = listener.scores(listener.masked(heard, mask))
        outside = listener.scores(listener.masked(heard, 1.0 - mask))
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


def merit(figures: Mapping[str, float]) -> float:
    """One number by which epochs are compared, higher is better: FF + Fid-In - AD / 100, less excess area.

    A mask of ones would have the best FF and Fid-In there are, hence the bound on the area.
    """
    excess = max(0.0, figures["area"] - LARGEST_AREA)
    return (
        figures["faithfulness"] + figures["input_fidelity"] - figures["average_drop"] / 100.0 - 10.0 * excess
    )
