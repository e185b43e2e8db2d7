"""An adapter's parts held against the model's own pipeline."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ....errors import SourceError
from ....printable import first_line
from ...bundle.sounds import synthesise
from ...source.exportable import LIMIT, USUAL_LOGIT

Pipeline = Callable[[torch.Tensor], torch.Tensor]


@torch.no_grad()
def check_original(original: Pipeline, parts: Pipeline, samples: int, sample_rate: int, origin: str) -> None:
    """Ask both about a window of synthesised sound.

    original: waveform [B, N], level applied -> logits [B, K], by the pipeline as its user runs it
    parts: the same by what the adapter says
    origin: the adapter, for messages
    Raises SourceError where `original` fails, or where the logits differ.
    """
    if isinstance(original, nn.Module):
        original.eval()
    sound = torch.from_numpy(synthesise(2, samples, sample_rate, 1))
    try:
        theirs = original(sound)
    except Exception as error:
        # Whatever a stranger's pipeline raises, the user wants to know that it was theirs.
        raise SourceError(
            f"{origin}: `original` failed on {list(sound.shape)} samples "
            f"({type(error).__name__}: {first_line(error)})"
        ) from error
    ours = parts(sound)
    if not isinstance(theirs, torch.Tensor) or theirs.shape != ours.shape:
        shape = list(theirs.shape) if isinstance(theirs, torch.Tensor) else type(theirs).__name__
        raise SourceError(f"{origin}: `original` gives {shape}; logits {list(ours.shape)} are needed")
    difference = float((theirs - ours).abs().max())
    limit = LIMIT * max(1.0, float(theirs.abs().max()) / USUAL_LOGIT)
    if not difference <= limit:
        raise SourceError(
            f"{origin}: the parts give other logits than `original`, by up to {difference:.1e} (limit "
            f"{limit:.0e}); compare analysis and front_end (window, hop, padding, level), then feature_map "
            "and head, with the model's own"
        )
