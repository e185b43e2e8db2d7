"""What a graph answers is what the manifest says: names, dims, an answer a sound, finite numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import BundleError
from ..bundle.manifest import StageSpec

# What an explanation is made of, by stage: none of it may be a number that is not finite.
_FINITE: dict[str, frozenset[str]] = {
    "frontend": frozenset({"stft"}),
    "classifier": frozenset({"logits"}),
    "classifier_int8": frozenset({"logits"}),
    "decoder": frozenset({"mask"}),
    "interpreter": frozenset({"activations", "pooled", "logits"}),
}
# A mask may leave 0..1 by what float32 rounds.
MASK_ROUNDING = 1e-4


def check_borders(session: Any, path: Path, spec: StageSpec | None) -> None:
    """Raise BundleError where the graph's inputs and outputs are not the manifest's."""
    found = {
        value.name
        for value in (
            *session.get_inputs(),
            *session.get_overridable_initializers(),
            *session.get_outputs(),
        )
    }
    if spec is not None and found != (named := {tensor.name for tensor in (*spec.inputs, *spec.outputs)}):
        raise BundleError(f"{path}: its tensors are {sorted(found)}, the manifest says {sorted(named)}")


def check_dims(shapes: Mapping[str, tuple[int, ...]], sounds: int, path: Path, spec: StageSpec) -> None:
    """Raise BundleError where an output has other dims than the manifest says, or not one answer a sound."""
    batch = spec.inputs[0].dims[:1]
    for tensor in spec.outputs:
        found = shapes.get(tensor.name)
        if found is None:
            continue
        if len(found) != len(tensor.dims) or any(
            isinstance(want, int) and have != want for want, have in zip(tensor.dims, found, strict=True)
        ):
            raise BundleError(f"{path}: gives {tensor.name} {list(found)}, the manifest says {tensor.dims}")
        if tensor.dims[:1] == batch and isinstance(batch[0], str) and found[0] != sounds:
            raise BundleError(f"{path}: gives {tensor.name} of {found[0]} sounds for {sounds}")


def check_numbers(name: str, array: npt.NDArray[Any], path: Path, spec: StageSpec | None) -> None:
    """Raise BundleError for numbers that no explanation can be made of, such as a mask beyond 0..1."""
    if not (spec is None or name in _FINITE.get(spec.name, (name,))):
        return
    stage = None if spec is None else spec.name
    # Each look takes a pass over what may be the masks of a whole batch: only where a range is promised.
    bounded = (stage, name) == ("decoder", "mask")
    low, high = (float(array.min(initial=0.0)), float(array.max(initial=0.0))) if bounded else (0.0, 0.0)
    # What is not finite shows in the bounds.
    if not (np.isfinite((low, high)).all() if bounded else _finite(array)):
        raise BundleError(
            f"{path}: answers with numbers that are not finite ({name}): this sound is more than the "
            "model can take, or the bundle is damaged; run earmark verify"
        )
    if bounded and not -MASK_ROUNDING <= low <= high <= 1.0 + MASK_ROUNDING:
        raise BundleError(
            f"{path}: answers with a mask from {low:.3g} to {high:.3g} instead of 0 to 1; export the "
            "bundle again"
        )
    # Pooled ones may be: the recipe's attention has weights of either sign.
    if (stage, name) == ("interpreter", "activations") and float(array.min(initial=0.0)) < 0.0:
        raise BundleError(f"{path}: answers with negative activations; export the bundle again")


def _finite(array: npt.NDArray[Any]) -> bool:
    """Whether every number is finite; the sum tells it without taking memory, unless it overflows."""
    if array.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())
