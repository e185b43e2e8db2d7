"""Options of methods: frozen dataclasses, made from what a user gave by name in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import msgspec
import numpy as np

from ...bounds import check_values
from ...errors import MethodError
from ...printable import nearest


@dataclass(frozen=True)
class MethodOptions:
    """Base of a method's options, and the options of a method that has none.

    Values are held to the types of their fields (`check_values`); what these cannot say a subclass checks in
    its own `__post_init__`, where it raises MethodError with what may be given. A field whose type carries a
    `msgspec.Meta` with a description is an option of `earmark explain`, too.
    """

    def __post_init__(self) -> None:
        """Raises MethodError."""
        check_values(self, MethodError)

    @classmethod
    def of(cls, given: Mapping[str, Any], method: str) -> Self:
        """The options of a method from values by name. Raises MethodError where one does not exist or fit."""
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise MethodError(f"{method}: {unknown('option', name, known)}")
        try:
            return cls(**given)
        except MethodError as error:
            raise MethodError(f"{method}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values by name, without functions and what is None; arrays appear as their shape."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        plain = {name: one for name, one in values.items() if one is not None and not callable(one)}
        return msgspec.json.decode(msgspec.json.encode(plain, enc_hook=_plain))  # type: ignore[no-any-return]

    def require(self) -> None:
        """Raise MissingDependencyError where a package that these options need is not installed."""


def _plain(value: object) -> object:
    """What JSON has no form for."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return f"<{value.dtype} {list(value.shape)}>"
    return str(value)


def unknown(what: str, name: object, known: Sequence[str]) -> MethodError:
    """The error for a name that does not exist: the nearest that does, and all there are."""
    there = f"the {what}s are {', '.join(known)}" if known else "it has none"
    return MethodError(f"there is no {what} {name!r}; {f'{nearest(str(name), known)} {there}'.strip()}")


def whole_number(name: str, value: object, least: int) -> int:
    """`value` as an int. Raises MethodError where it is no whole number from `least` on."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise MethodError(f"{name} is {value!r}: give a whole number from {least} on")
    return int(value)
