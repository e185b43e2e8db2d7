"""Pooling of a feature map before a linear head."""

from __future__ import annotations

import torch


def max_mean(z: torch.Tensor) -> torch.Tensor:
    """Z [B, C, T', F'] -> [B, C]: the mean over F', of which maximum and mean over T' are added."""
    frames = z.mean(dim=3)
    return frames.amax(dim=2) + frames.mean(dim=2)
