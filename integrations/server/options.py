"""Settings of single methods as clients may give them: those of the command line, within bounds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ...errors import MethodError
from ...runtime.methods.loading import all_methods

# Passes of the model for one answer, and segments times bands of a window, which a fit takes the square of.
_MOST_CALLS = 10_000
_MOST_TILES = 1_000


def _offered(method: str, kind: type) -> type[msgspec.Struct]:
    """The options of a method that have a description, none of them needed."""
    hints = get_type_hints(kind, include_extras=True)
    # The union is made by its operator: these are types of whatever kind.
    fields: list[tuple[str, Any, Any]] = [
        (name, hint | UnsetType, UNSET) for name, hint in hints.items() if _described(hint)
    ]
    name = f"{method.capitalize()}Options"
    return msgspec.defstruct(name, fields, frozen=True, forbid_unknown_fields=True)


def _described(hint: Any) -> bool:
    own = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return any(isinstance(one, Meta) and one.description for one in own) or any(
        _described(one) for one in get_args(hint) if not isinstance(one, Meta | str | int)
    )


if TYPE_CHECKING:
    MethodSettings = msgspec.Struct
else:
    MethodSettings = msgspec.defstruct(
        "MethodSettings",
        [
            (method.name, _offered(method.name, method.options) | UnsetType, UNSET)
            for method in all_methods()
            if any(map(_described, get_type_hints(method.options, include_extras=True).values()))
        ],
        frozen=True,
        forbid_unknown_fields=True,
    )


def settings_by_name(given: MethodSettings | None, window_s: float) -> dict[str, dict[str, Any]] | None:
    """What was given, as `options` of `Explainer.explain`; window_s: length of the model's window in seconds.

    Raises MethodError where it would cost too much.
    """
    if given is None:
        return None
    options: dict[str, dict[str, Any]] = msgspec.to_builtins(given)
    segments = options.get("segments", {})
    if segments.get("calls", 0) > _MOST_CALLS:
        raise MethodError(f"segments: calls is {segments['calls']}: this server takes at most {_MOST_CALLS}")
    length, bands = segments.get("segment_seconds", 0.1), segments.get("bands", 8)
    tiles = math.ceil(window_s / max(length, 1e-9)) * (1 if segments.get("axis", "time") == "time" else bands)
    if tiles > _MOST_TILES:
        raise MethodError(
            f"segments: {tiles} segments of a window, and this server takes at most {_MOST_TILES}: "
            "give a longer segment_seconds or fewer bands"
        )
    return options
