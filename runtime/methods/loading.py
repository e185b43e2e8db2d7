"""The methods of the table, imported when they are asked for."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from ..registry import METHODS
from .options import unknown
from .protocol import Method


def method_of(name: str) -> Method:
    """The method of that name.

    Raises:
        MethodError: There is no method of that name.

    """
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
