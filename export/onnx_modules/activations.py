"""Activations by name, as recurrent and fused operators ask for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from .operators import Tensor, UnsupportedError

Function = Callable[[Tensor], Tensor]


# The function of values and its parameters, alpha and beta, as they are where none is given.
_ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], list[float]]] = {
    "affine": (lambda x, a, b: a * x + b, [1.0, 0.0]),
    "clip": (torch.clamp, [float("-inf"), float("inf")]),
    "elu": (functional.elu, [1.0]),
    "hardsigmoid": (lambda x, a, b: (a * x + b).clamp(0.0, 1.0), [0.2, 0.5]),
    "hardswish": (functional.hardswish, []),
    "leakyrelu": (functional.leaky_relu, [0.01]),
    "relu": (torch.relu, []),
    "scaledtanh": (lambda x, a, b: a * torch.tanh(b * x), [1.0, 1.0]),
    "sigmoid": (torch.sigmoid, []),
    "softplus": (lambda x: functional.softplus(x, threshold=40.0), []),
    "softsign": (functional.softsign, []),
    "tanh": (torch.tanh, []),
    "thresholdedrelu": (lambda x, a: torch.where(x > a, x, torch.zeros_like(x)), [1.0]),
}


def activations(names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> list[Function]:
    """The functions of these names, in any case.

    Each takes the next alpha and the next beta, if it has such a parameter; where none is left, its own.

    Raises:
        UnsupportedError: A name is not known.

    """
    more = iter(alphas), iter(betas)
    functions = []
    for name in names:
        if name.lower() not in _ACTIVATIONS:
            raise UnsupportedError(f"with the activation {name}")
        function, own = _ACTIVATIONS[name.lower()]
        functions.append(
            _with(function, [next(given, usual) for given, usual in zip(more, own, strict=False)])
        )
    return functions


def _with(function: Callable[..., Tensor], parameters: list[float]) -> Function:
    return lambda x: function(x, *parameters)
