"""Values of settings, held to what the types of their fields declare. Everything may import it."""

from __future__ import annotations

import math
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from msgspec import Meta

    from .errors import EarmarkError


def setting(
    description: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    **extra: object,
) -> Meta:
    """What stands beside the type of a setting in `Annotated`: what is said of it, and its bounds.

    Args:
        description: A sentence; the help of its option.
        ge: The least value.
        gt: What every value lies above.
        le: The greatest value.
        lt: What every value lies below.
        extra: How its option looks, where not as usual: option, short, off, metavar, choices, default.

    """
    from msgspec import Meta

    # Of overloads with four values that may be None mypy does not try all.
    given: dict[str, Any] = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    meta: Meta = Meta(description=description, extra=extra or None, **given)
    return meta


def check_values(settings: DataclassInstance, error: type[EarmarkError], prefix: str = "") -> None:
    """Hold every field to its type: `int`, `float`, `bool`, `str`, `Literal`, tuples of these, or None.

    Numbers are finite and within the bounds of the type's `msgspec.Meta`. Other types are not looked at.

    Args:
        settings: What is checked, usually in its `__post_init__`.
        error: What is raised.
        prefix: Put before the text, as "segments: ".

    Raises:
        EarmarkError: The first value that does not fit; the text names the field and what may be given.

    """
    for name, hint in _declared(type(settings)).items():
        value = getattr(settings, name)
        if not _fits(value, hint):
            # None stands where nothing is given; no message asks for it.
            wanted = " or ".join(_wanted(kind) for kind in _kinds(hint) if kind.type is not NoneType)
            raise error(f"{prefix}{name} is {value!r}: give {wanted}")


class _Kind(NamedTuple):
    """A type that a value may have, without its Meta, and the Meta, whose bounds hold."""

    type: Any
    meta: Meta | None


@cache
def _declared(settings: type) -> dict[str, Any]:
    """The fields that are checked, each with its type as written."""
    hints = get_type_hints(settings, include_extras=True)
    return {name: hint for name, hint in hints.items() if all(map(_checked, _kinds(hint)))}


def _kinds(hint: Any, meta: Meta | None = None) -> tuple[_Kind, ...]:
    """A type as written, taken apart."""
    if get_origin(hint) is Annotated:
        return _kinds(hint.__origin__, hint.__metadata__[0])
    if get_origin(hint) in (Union, UnionType):
        return tuple(kind for part in get_args(hint) for kind in _kinds(part, meta))
    return (_Kind(hint, meta),)


def _checked(kind: _Kind) -> bool:
    if get_origin(kind.type) is tuple:
        return all(_checked(one) for item in get_args(kind.type) if item is not ... for one in _kinds(item))
    return kind.type in (NoneType, bool, int, float, str) or get_origin(kind.type) is Literal


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of a type: numbers of any library are numbers, and finite."""
    from msgspec import ValidationError, convert

    plain = tuple(map(_plain, value)) if isinstance(value, tuple) else _plain(value)
    numbers = [one for one in (plain if isinstance(plain, tuple) else (plain,)) if isinstance(one, float)]
    if not isinstance(plain, str | int | float | tuple | None) or not all(map(math.isfinite, numbers)):
        return False
    try:
        convert(plain, hint)
    except ValidationError:
        return False
    return True


def _plain(value: object) -> object:
    """A number as Python's; what is none as it is."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _wanted(kind: _Kind) -> str:
    """What may be given, in words."""
    if get_origin(kind.type) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind.type)))
    if get_origin(kind.type) is tuple:
        item, last = get_args(kind.type)[0], get_args(kind.type)[-1]
        count = "a tuple" if last is ... else f"{len(get_args(kind.type))} values"
        return f"{count}, each " + " or ".join(map(_wanted, _kinds(item)))
    names = {bool: "True or False", str: "text", int: "a whole number", float: "a number"}
    return names[kind.type] + _range(kind.meta)


def _range(meta: Meta | None) -> str:
    """The bounds, in words."""
    if meta is None:
        return ""
    words = []
    if meta.ge is not None:
        words.append(f"from {meta.ge:.10g}")
    elif meta.gt is not None:
        words.append(f"above {meta.gt:.10g}")
    joint = "" if not words else "to " if meta.ge is not None else "and "
    if meta.le is not None:
        words.append(f"{joint}{'' if joint == 'to ' else 'up to '}{meta.le:.10g}")
    elif meta.lt is not None:
        words.append(f"{joint}below {meta.lt:.10g}")
    elif meta.ge is not None:
        words.append("on")
    return "".join(f" {word}" for word in words)
