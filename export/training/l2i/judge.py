"""How well an interpreter in training explains its classifier. `evaluation/` judges finished bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ....runtime.values.arrays import FloatArray
from ...models.interpreter import Interpreter
from ..frozen_classifier import FrozenClassifier
from ..scoring import joined
from ..scoring import judge as judge_scores
from ..sounds import Sounds, window_batches
from .loss import relevance, soft_mask


@torch.no_grad()
def judge(
    frozen: FrozenClassifier,
    interpreter: Interpreter,
    inputs: list[str],
    dictionary: torch.Tensor,
    waveforms: Sequence[FloatArray],
    threshold: float,
) -> dict[str, float]:
    """Figures over the windows of `waveforms`; {} without any.

    With c the classifier's own prediction and p its score: fidelity_top1, fidelity_top3 whether c is among
    theta's first; fidelity_f1 (several labels) of theta's labels above 0.5 against the classifier's;
    reconstruction |X - W H| / |X|; selected: mean number of components with relevance above the threshold;
    area: mean of their soft mask; faithfulness p - p(sound without them), random_faithfulness the same
    without as many random others.
    """
    if not waveforms:
        return {}
    random = np.random.default_rng(0)
    columns: list[torch.Tensor] = []
    hits = label_total = 0.0
    for pieces, _ in window_batches(waveforms, frozen.samples):
        forward = frozen.forward(torch.from_numpy(pieces))
        activations, z, logits = interpreter(*(forward.tensors[name] for name in inputs))
        full = frozen.scores(forward.logits)
        target = full.argmax(dim=1)
        rank = (logits > logits.gather(1, target[:, None])).sum(dim=1)
        chosen = relevance(interpreter.weight, z, target) > threshold
        other = torch.stack([_as_many(row, random) for row in chosen])
        rest = forward.log_amplitude - activations.transpose(1, 2) @ dictionary.T
        error = rest.flatten(1).norm(dim=1) / forward.log_amplitude.flatten(1).norm(dim=1).clamp(min=1e-9)
        p = full.gather(1, target[:, None]).squeeze(1)
        drops, areas = [], []
        for selection in (chosen, other):
            mask = soft_mask(dictionary, activations, selection.to(activations.dtype))
            areas.append(mask.mean(dim=(1, 2)))
            left = frozen.scores(frozen.scaled(forward, 1.0 - mask)).gather(1, target[:, None]).squeeze(1)
            drops.append(p - left)
        first, third = (rank < 1).to(p.dtype), (rank < 3).to(p.dtype)
        columns.append(torch.stack([first, third, error, chosen.sum(dim=1).to(p.dtype), areas[0], *drops]))
        theirs, ours = frozen.scores(logits) > 0.5, full > 0.5
        hits += float((theirs & ours).sum())
        label_total += float(theirs.sum() + ours.sum())
    means = torch.cat(columns, dim=1).mean(dim=1).tolist()
    names = (
        "fidelity_top1",
        "fidelity_top3",
        "reconstruction",
        "selected",
        "area",
        "faithfulness",
        "random_faithfulness",
    )
    figures = dict(zip(names, means, strict=True))
    if frozen.source.task == "multi_label":
        figures["fidelity_f1"] = 2.0 * hits / max(label_total, 1.0)
    return figures


@torch.no_grad()
def accuracy(frozen: FrozenClassifier, sounds: Sounds) -> dict[str, float]:
    """Accuracy (several labels: f1) over whole sounds, windows joined as the runtime does; {} without any."""
    if not sounds.clips:
        return {}
    source = frozen.source

    def scores_of(pieces: torch.Tensor) -> torch.Tensor:
        return frozen.scores(frozen.forward(pieces).logits).float().cpu()

    scores = joined(scores_of, sounds.waveforms, frozen.samples, len(source.labels), source.window.aggregate)
    figures = judge_scores(scores, torch.from_numpy(sounds.targets), source.task)
    return {name: value for name, value in figures.items() if name in ("accuracy", "f1")}


def _as_many(chosen: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """As many random components as are chosen, of those that are not while there are enough."""
    wanted = int(chosen.sum())
    order = torch.from_numpy(random.permutation(len(chosen))).to(chosen.device)
    others = torch.cat([order[~chosen[order]], order[chosen[order]]])
    drawn = torch.zeros_like(chosen)
    drawn[others[:wanted]] = True
    return drawn


def merit(figures: Mapping[str, float]) -> float:
    """Number by which epochs are compared: fidelity, what removal takes, less area and half of the error."""
    fidelity = figures.get("fidelity_f1", figures["fidelity_top1"])
    return fidelity + figures["faithfulness"] - figures["area"] - 0.5 * figures["reconstruction"]
