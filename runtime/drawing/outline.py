"""The line around what a mask keeps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..values.arrays import FloatArray
from .colours import KEPT

# Cells to each side that are averaged: an outline of single cells would be a pattern, not a shape.
_BLUR = 2


def smoothed(mask: FloatArray) -> FloatArray:
    """Means over 5 x 5 cells of a mask [T, F] in 0..1."""
    from PIL import Image, ImageFilter

    levels = Image.fromarray(np.rint(np.clip(mask, 0.0, 1.0) * 255.0).astype(np.uint8))
    return np.asarray(levels.filter(ImageFilter.BoxBlur(_BLUR)), np.float32) / np.float32(255.0)


def edges_of(mask: FloatArray) -> npt.NDArray[np.bool_]:
    """Of a mask [height, width] the cells on either side of the border of what it keeps."""
    inside = mask >= KEPT
    edges = np.zeros_like(inside)
    for axis in (0, 1):
        near, far = [slice(None)] * 2, [slice(None)] * 2
        near[axis], far[axis] = slice(None, -1), slice(1, None)
        border = inside[tuple(near)] != inside[tuple(far)]
        edges[tuple(near)] |= border
        edges[tuple(far)] |= border
    return edges
