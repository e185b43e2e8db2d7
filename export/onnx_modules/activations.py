"""Activations: as operators, and by name, as recurrent and fused operators ask for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from .operators import Call, Tensor, UnsupportedError, operator

Function = Callable[[Tensor], Tensor]


# The function of values and its parameters, alpha and beta, as they are where none is given.
_ACTIVATIONS: dict[str, tuple[Callable[..., Tensor], list[float]]] = {
    "Affine": (lambda x, a, b: a * x + b, [1.0, 0.0]),
    "Celu": (functional.celu, [1.0]),
    "Clip": (torch.clamp, [float("-inf"), float("inf")]),
    "Elu": (functional.elu, [1.0]),
    "HardSigmoid": (lambda x, a, b: (a * x + b).clamp(0.0, 1.0), [0.2, 0.5]),
    "HardSwish": (functional.hardswish, []),
    "LeakyRelu": (functional.leaky_relu, [0.01]),
    "Mish": (functional.mish, []),
    "Relu": (torch.relu, []),
    "ScaledTanh": (lambda x, a, b: a * torch.tanh(b * x), [1.0, 1.0]),
    "Sigmoid": (torch.sigmoid, []),
    "Softplus": (lambda x: functional.softplus(x, threshold=40.0), []),
    "Softsign": (functional.softsign, []),
    "Swish": (lambda x, a: x * torch.sigmoid(a * x), [1.0]),
    "Tanh": (torch.tanh, []),
    "ThresholdedRelu": (lambda x, a: torch.where(x > a, x, torch.zeros_like(x)), [1.0]),
}
# Of these Clip takes bounds that may be computed (`elementwise.py`), and two are no operators.
_OPERATORS = _ACTIVATIONS.keys() - {"Affine", "Clip", "ScaledTanh"}


@operator(*_OPERATORS)
def activation(call: Call, x: Tensor) -> Tensor:
    """An activation with its attributes."""
    function, own = _ACTIVATIONS[call.operator]
    return function(
        x, *(call.number(name, usual) for name, usual in zip(("alpha", "beta"), own, strict=False))
    )


def activations(names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> list[Function]:
    """The functions of these names, in any case.

    Each takes the next alpha and the next beta, if it has such a parameter; where none is left, its own.

    Raises:
        UnsupportedError: A name is not known.

    """
    more, known = (iter(alphas), iter(betas)), {name.lower(): one for name, one in _ACTIVATIONS.items()}
    functions = []
    for name in names:
        if name.lower() not in known:
            raise UnsupportedError(f"with the activation {name}")
        function, own = known[name.lower()]
        functions.append(
            _with(function, [next(given, usual) for given, usual in zip(more, own, strict=False)])
        )
    return functions


def _with(function: Callable[..., Tensor], parameters: list[float]) -> Function:
    return lambda x: function(x, *parameters)
