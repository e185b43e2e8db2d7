"""The methods of the table, imported when they are asked for."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from ..registry import METHODS
from .options import unknown
from .protocol import Graphs, Method

if TYPE_CHECKING:
    from ..inference.window import Window
    from ..values.arrays import FloatArray


def method_of(name: str) -> Method:
    """The method of that name. Raises MethodError where there is none."""
    if name not in METHODS:
        raise unknown("method", name, tuple(METHODS))
    return _method_at(METHODS[name].place)


@cache
def _method_at(place: str) -> Method:
    """The method of a registration; methods hold nothing, so one instance serves all."""
    module, _, attribute = place.partition(":")
    kind: type[Method] = getattr(import_module(module, __package__), attribute)
    return kind()


def all_methods() -> list[Method]:
    """Every method, in the order of the table."""
    return [method_of(name) for name in METHODS]


def expectation_of(graphs: Graphs, window: Window, target: int) -> FloatArray | None:
    """Where in a window the first method of the bundle that knows expects evidence for a class.

    [T, F], 0..1, over the listenable STFT; None where no method knows.
    """
    for method in all_methods():
        if method.available(graphs.manifest):
            expected = method.expectation(graphs, window, target)
            if expected is not None:
                return expected
    return None
