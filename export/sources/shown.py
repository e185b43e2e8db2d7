"""What submodules answer on the way through a model, which its classifier shows as taps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class LastAnswers:
    """The last answer of each of some submodules; no plain dict, which torch.export would put another for."""

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        """Listen to the submodules of these names. Raises AttributeError where one is not there."""
        self._seen: dict[str, torch.Tensor] = {}
        for name in names:
            model.get_submodule(name).register_forward_hook(self._keeping(name))

    def _keeping(self, name: str) -> Callable[[nn.Module, object, Any], None]:
        def keep(_module: nn.Module, _inputs: object, output: Any) -> None:
            # A tensor, or a tuple or one of transformers' outputs that begin with it.
            self._seen[name] = output if isinstance(output, torch.Tensor) else output[0]

        return keep

    def take(self, name: str) -> torch.Tensor:
        """The answer of one, which is then forgotten."""
        return self._seen.pop(name)
