"""The learnt U of a run directory."""

from __future__ import annotations

from ....errors import RunError
from ...graphs.heads import Array
from .directory import RunDirectory, RunPart

# Of a run directory: the folder that U is kept in, and its name there.
FOLDER = "apex"
PART: RunPart = "apex"
# The name of U among a run's tensors.
U = "u"


def read_rotation(run: RunDirectory) -> Array:
    """The learnt U [C, C]. Raises RunError where it is missing, unfinished or damaged."""
    held = run.read_weights()
    if set(held) != {U} or held[U].dim() != 2 or held[U].shape[0] != held[U].shape[1]:
        raise RunError(f"{run.weights_path}: damaged, or of another version of earmark; learn U again")
    rotation: Array = held[U].numpy()
    return rotation
