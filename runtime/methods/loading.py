"""The methods of the table, imported when they are asked for."""

from __future__ import annotations

from importlib import import_module

from ..registry import METHODS
from .options import unknown
from .protocol import Method


def method_of(name: str) -> Method:
    """The method of that name. Raises MethodError for one that does not exist."""
    if name not in METHODS:
        raise unknown("method", name, tuple(METHODS))
    module, _, attribute = METHODS[name].place.partition(":")
    kind: type[Method] = getattr(import_module(module, __package__), attribute)
    return kind()


def all_methods() -> list[Method]:
    """Every method, in the order of the table."""
    return [method_of(name) for name in METHODS]
