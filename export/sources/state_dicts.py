"""State dicts from strangers: tensors alone, every key accounted for."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from ...errors import SourceError
from ...printable import first_line

Module = TypeVar("Module", bound=nn.Module)
State = dict[str, torch.Tensor]


def read_state(path: Path, what: str, *, within: str | None = None) -> State:
    """A state dict saved by torch.save, with `weights_only`: no object is constructed.

    within: the key it lies under, where there is one

    Floating tensors come as float32. Raises SourceError naming the file: missing (also a dangling
    link), unreadable, not a dict of tensors, values that are not finite.
    """
    if not path.is_file():
        dangling = path.is_symlink()
        raise SourceError(
            f"{path}: the {what} is missing{' (a link whose target is gone)' if dangling else ''}; "
            "export needs the whole output folder of the recipe"
        )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise SourceError(
            f"{path}: the {what} is not a plain state dict ({first_line(error, 120)}); "
            "save it with torch.save(state_dict)"
        ) from error
    if within is not None and isinstance(loaded, dict):
        loaded = loaded.get(within, loaded)
    if not isinstance(loaded, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in loaded.items()
    ):
        raise SourceError(f"{path}: the {what} is not a dict of tensors; save it with torch.save(state_dict)")
    state = {key: value.float() if value.is_floating_point() else value for key, value in loaded.items()}
    for key, value in state.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise SourceError(f"{path}: {key} of the {what} holds NaN or infinite values")
    return state


def fill(module: Module, state: Mapping[str, torch.Tensor], path: Path, what: str) -> Module:
    """Put `state` into a module made on the meta device, strictly; the tensors are taken, not copied.

    Raises SourceError naming file and first key: missing, unexpected, or of another shape.
    """
    wanted = module.state_dict()
    for key, tensor in wanted.items():
        if key not in state:
            raise SourceError(f"{path}: key {key!r} is missing from the {what}; was another model saved?")
        if state[key].shape != tensor.shape:
            raise SourceError(
                f"{path}: key {key!r} of the {what} has shape {list(state[key].shape)}, "
                f"but {list(tensor.shape)} is needed"
            )
    for key in state:
        if key not in wanted:
            raise SourceError(f"{path}: key {key!r} does not belong to the {what}; was another model saved?")
    module.load_state_dict(dict(state), strict=True, assign=True)
    return module.eval().requires_grad_(False)


def linear(weight: torch.Tensor, bias: torch.Tensor, path: Path, what: str) -> nn.Linear:
    """A linear layer of these weights. Raises SourceError where they are of none."""
    if weight.dim() != 2:
        raise SourceError(
            f"{path}: key '{what}.weight' has shape {list(weight.shape)}, not [outputs, inputs]"
        )
    with torch.device("meta"):
        layer = nn.Linear(int(weight.shape[1]), int(weight.shape[0]))
    return fill(layer, {"weight": weight, "bias": bias}, path, what)
