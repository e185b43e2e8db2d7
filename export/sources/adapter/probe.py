"""An adapter's parts run on noise: what they show, and whether it is what the adapter says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from ....errors import SourceError
from ....printable import first_line
from ....runtime.audio.lengths import samples_at_least, samples_of
from .adapter import Adapter
from .classifier import AdaptedClassifier
from .tokens import doubts_of


@contextmanager
def _fitting(origin: str) -> Iterator[None]:
    """What a stranger's modules raise that do not fit together is a SourceError."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise SourceError(
            f"{origin}: the adapter's modules do not fit together: {first_line(error)}"
        ) from error


@dataclass(frozen=True)
class Probed:
    """What a classifier showed of noise.

    taps: their dims, in which what changes with the length of the sound is named
    answers: "logits" and the taps, of the longer sound
    doubts: what its user should know of the feature map
    """

    taps: dict[str, list[int | str]]
    answers: dict[str, torch.Tensor]
    doubts: tuple[str, ...] = ()


def probe(adapter: Adapter, frontend: nn.Module, classifier: AdaptedClassifier, origin: str) -> Probed:
    """Run two lengths of noise. Raises SourceError where the parts do not fit together or give no logits."""
    samples = samples_of(adapter.window_seconds, adapter.sample_rate)
    generator = torch.Generator().manual_seed(1)
    noise = 0.1 * torch.randn(2, samples, generator=generator)
    grid = adapter.tokens
    doubts: tuple[str, ...] = ()
    with _fitting(origin), torch.no_grad():
        if grid is not None:
            features = classifier.front_end(frontend(noise[:1]))
            doubts = doubts_of(grid, adapter.feature_map, classifier.head, features, origin)
        long = classifier(frontend(noise))
        least = samples_at_least(adapter.minimum_seconds, adapter.sample_rate)
        short = classifier(frontend(noise[:, : max(samples * 3 // 4, least)]))
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
    _check_logits(adapter, frontend, classifier, logits, origin)
    return Probed(taps, dict(zip(["logits", *names], long, strict=True)), doubts)


def _check_logits(
    adapter: Adapter, frontend: nn.Module, classifier: AdaptedClassifier, logits: torch.Tensor, origin: str
) -> None:
    """The head gives logits. Raises SourceError where it gives probabilities."""
    bent = False
    if bool(((logits >= 0) & (logits <= 1)).all()):
        last = [module for module in adapter.head.modules() if not list(module.children())][-1:]
        # Logits of a map a thousand times as strong, either way, leave 0..1; probabilities do not.
        noise = 0.1 * torch.randn(1, samples_of(adapter.window_seconds, adapter.sample_rate))
        with torch.no_grad():
            result = classifier.feature_map(classifier.front_end(frontend(noise)))
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
