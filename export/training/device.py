"""Where a model is trained, and in which precision."""

from __future__ import annotations

import torch

from ...errors import DeviceError
from .options import Device


def chosen_device(asked: Device, *, exact: bool) -> torch.device:
    """Where to train.

    Args:
        asked: "auto" takes a GPU where there is one, unless the training is exact.
        exact: Whether every step is rounded, so that processors agree.

    Returns:
        The device.

    Raises:
        DeviceError: A GPU is asked for and not there.

    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise DeviceError("cuda: torch sees no GPU here; train with --device cpu")
    gpu = asked == "cuda" or (asked == "auto" and torch.cuda.is_available() and not exact)
    return torch.device("cuda" if gpu else "cpu")


def mixed_precision(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Within, a GPU multiplies float32 in bfloat16; a CPU, and float64, stay as they are."""
    enabled = device.type == "cuda" and dtype == torch.float32
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
