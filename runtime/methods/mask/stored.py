"""A mask as `Result.save` keeps it, and as `Result.load` reads it again."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from ...values.arrays import Array
from ..evidence import Located, Overview
from ..rescoring import Rescored
from ..saved import SavedSounds
from .result import MaskResult
from .trust import Trust


class StoredMask(msgspec.Struct, frozen=True):
    """What of a `MaskResult` is no array."""

    area: float
    spans: tuple[tuple[float, float], ...]
    band: tuple[float, float]
    rescored: dict[str, Rescored] | None
    warnings: tuple[str, ...]
    trust: Trust | None = None


def store(part: MaskResult, arrays: dict[str, Array]) -> StoredMask:
    """Values and arrays of a mask; its sound lies in files of its own."""
    arrays |= {"values": part.values, "frame_s": part.frame_s, "bin_hz": part.bin_hz}
    arrays |= {"overview_amplitude": part.overview.amplitude, "overview_mask": part.overview.mask}
    return StoredMask(**{name: getattr(part, name) for name in StoredMask.__struct_fields__})


def restore(stored: object, arrays: Mapping[str, Array], sounds: SavedSounds) -> MaskResult:
    """The mask again. Raises KeyError, ValueError, msgspec.ValidationError."""
    known = msgspec.convert(stored, StoredMask)
    values, frame_s, bin_hz = arrays["values"], arrays["frame_s"], arrays["bin_hz"]
    if values.shape != (*frame_s.shape, *bin_hz.shape) or not len(bin_hz):
        raise ValueError(f"a mask {list(values.shape)} over {len(frame_s)} frames and {len(bin_hz)} bins")
    amplitude, mask = arrays["overview_amplitude"], arrays["overview_mask"]
    if amplitude.shape != mask.shape or amplitude.ndim != 2:
        raise ValueError("the picture's amplitude and mask differ in shape")
    overview = Overview(np.asarray(amplitude, np.float32), np.asarray(mask, np.float32))
    return MaskResult(
        values=values,
        frame_s=frame_s,
        bin_hz=bin_hz,
        area=known.area,
        _where=Located(known.spans, known.band, overview),
        _sounds=sounds,
        rescored=known.rescored,
        trust=known.trust,
        warnings=known.warnings,
    )
