"""Activations by name, as recurrent and fused operators ask for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from .operators import Tensor, UnsupportedError

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Activation:
    """A function of values, alpha and beta; the two as they are where none is given, None: it takes none."""

    function: Callable[[Tensor, float, float], Tensor]
    alpha: float | None = None
    beta: float | None = None


_ACTIVATIONS = {
    "affine": _Activation(lambda x, a, b: a * x + b, 1.0, 0.0),
    "clip": _Activation(lambda x, a, b: x.clamp(a, b), float("-inf"), float("inf")),
    "elu": _Activation(lambda x, a, _: functional.elu(x, a), 1.0),
    "hardsigmoid": _Activation(lambda x, a, b: (a * x + b).clamp(0.0, 1.0), 0.2, 0.5),
    "hardswish": _Activation(lambda x, *_: functional.hardswish(x)),
    "leakyrelu": _Activation(lambda x, a, _: functional.leaky_relu(x, a), 0.01),
    "relu": _Activation(lambda x, *_: torch.relu(x)),
    "scaledtanh": _Activation(lambda x, a, b: a * torch.tanh(b * x), 1.0, 1.0),
    "sigmoid": _Activation(lambda x, *_: torch.sigmoid(x)),
    "softplus": _Activation(lambda x, *_: functional.softplus(x, threshold=40.0)),
    "softsign": _Activation(lambda x, *_: functional.softsign(x)),
    "tanh": _Activation(lambda x, *_: torch.tanh(x)),
    "thresholdedrelu": _Activation(lambda x, a, _: torch.where(x > a, x, torch.zeros_like(x)), 1.0),
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
        known = _ACTIVATIONS.get(name.lower())
        if known is None:
            raise UnsupportedError(f"with the activation {name}")
        functions.append(_with(known, _next(more[0], known.alpha), _next(more[1], known.beta)))
    return functions


def _next(given: Iterator[float], own: float | None) -> float:
    """The next number that is given, where the function takes one."""
    return 0.0 if own is None else next(given, own)


def _with(known: _Activation, alpha: float, beta: float) -> Function:
    return lambda x: known.function(x, alpha, beta)
