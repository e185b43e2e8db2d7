"""An adapter's parts run on noise: what they show, and whether it is what the adapter says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ....errors import SourceError
from ....runtime.audio.lengths import samples_at_least
from .adapter import Adapter
from .classifier import AdaptedClassifier


@dataclass(frozen=True)
class Probed:
    """What a classifier showed of noise.

    taps: their dims, in which what changes with the length of the sound is named
    answers: "logits" and the taps, of the longer sound
    """

    taps: dict[str, list[int | str]]
    answers: dict[str, torch.Tensor]


def probe(
    adapter: Adapter, frontend: nn.Module, classifier: AdaptedClassifier, noise: torch.Tensor, origin: str
) -> Probed:
    """Run two lengths of noise [2, N]. Raises SourceError where the parts give no logits or no map."""
    long = classifier(frontend(noise))
    least = samples_at_least(adapter.minimum_seconds, adapter.sample_rate)
    short = classifier(frontend(noise[:, : max(noise.shape[1] * 3 // 4, least)]))
    logits, z = long[0], long[1]
    if logits.dim() != 2 or logits.shape[1] != len(adapter.labels):
        raise SourceError(f"{origin}: logits of shape {list(logits.shape)}, but {len(adapter.labels)} labels")
    if z.dim() != 4:
        raise SourceError(f"{origin}: the feature map has shape {list(z.shape)}; [B, C, T', F'] is needed")
    attention = ["attention"] * (adapter.attention is not None)
    names = ["feature_map"] + attention + ["spectrum"] * classifier.give_features + adapter.scales
    count = len(adapter.scales)
    for name, seen in zip(adapter.scales, long[len(long) - count :], strict=True):
        if seen.dim() != 4:
            raise SourceError(
                f"{origin}: scale {name!r} has shape {list(seen.shape)}; [B, C, T', F'] is needed"
            )
    names = [name.replace(".", "_") for name in names]
    taps: dict[str, list[int | str]] = {}
    for name, one, other in zip(names, long[1:], short[1:], strict=False):
        known = {"spectrum": "frames", "feature_map": "frames_z", "attention": "frames_z"}
        suffix = known.get(name, f"frames_{name}")
        taps[name] = ["batch"]
        for axis, (a, b) in enumerate(zip(one.shape[1:], other.shape[1:], strict=True)):
            taps[name].append(a if a == b else suffix if suffix not in taps[name] else f"{suffix}_{axis}")
    _check_logits(adapter, classifier, frontend(noise[:1]), logits, origin)
    return Probed(taps, dict(zip(["logits", *names], long, strict=True)))


def _check_logits(
    adapter: Adapter, classifier: AdaptedClassifier, entry: torch.Tensor, logits: torch.Tensor, origin: str
) -> None:
    """The head gives logits. Raises SourceError where it gives probabilities."""
    bent = False
    if bool(((logits >= 0) & (logits <= 1)).all()):
        last = [module for module in adapter.head.modules() if not list(module.children())][-1:]
        # Logits of a map a thousand times as strong, either way, leave 0..1; probabilities do not.
        result = classifier.feature_map(classifier.front_end(entry))
        stronger = torch.cat([classifier.head(factor * result) for factor in (1e3, -1e3)])
        within = bool(((stronger >= 0) & (stronger <= 1)).all())
        bent = isinstance(last[0], (nn.Sigmoid, nn.Softmax)) or within
    if bent:
        raise SourceError(
            f"{origin}: the head gives probabilities; leave its last sigmoid or softmax out and give logits "
            '(task "multi_label" for a sigmoid, "single_label" for a softmax)'
        )
    total = logits.exp().sum(dim=1)
    if adapter.task == "multi_label" and logits.shape[1] > 1 and bool(((total - 1).abs() < 1e-3).all()):
        raise SourceError(
            f"{origin}: the head gives logarithms of probabilities of which one label holds; give task "
            '"single_label", or logits'
        )
