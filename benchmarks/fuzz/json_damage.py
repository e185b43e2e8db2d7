"""Damage to JSON: values of another type or beyond their range, keys gone, doubled, renamed, exchanged."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

# What json.dumps cannot say, put in afterwards.
_RAW = "@raw:"
_STRANGE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63),
    0.0,
    -0.5,
    1e-320,
    1e308,
    "",
    " ",
    "\x00",
    "\x1b[31mred\x1b[0m",
    "line\nbreak",
    "\u202eright to left",
    "\u2028",
    "\ud800",
    "é中😀",
    "x" * 5000,
    "../../etc/passwd",
    "/etc/passwd",
    "NaN",
    [],
    {},
    [[]],
    {"a": {"b": []}},
    _RAW + "NaN",
    _RAW + "Infinity",
    _RAW + "-Infinity",
    _RAW + "1e999",
    _RAW + "1" + "0" * 400,
    _RAW + "[" * 5000 + "]" * 5000,
    _RAW + '{"a":' * 2000 + "1" + "}" * 2000,
    _RAW + '"\\ud83d"',
    _RAW + '"\\u0000"',
)

Place = tuple[Any, Any]


def damage(document: Any, draw: random.Random) -> tuple[Any, str]:
    """The document (changed in place) after one change, and what was done."""
    container, key = draw.choice(_places(document))
    value = container[key]
    name, change = draw.choice(_CHANGES)
    done = change(container, key, value, document, draw)
    return document, f"{name} {key!r}{done}"


def text(document: Any, draw: random.Random | None = None) -> bytes:
    """The document as JSON. With `draw`, now and then a key stands twice."""
    made = json.dumps(document, ensure_ascii=True)
    for strange in _STRANGE:
        if isinstance(strange, str) and strange.startswith(_RAW):
            made = made.replace(json.dumps(strange), strange[len(_RAW) :])
    if draw is not None and isinstance(document, dict) and document and draw.random() < 0.05:
        key = draw.choice(list(document))
        value = json.dumps(draw.choice(list(document.values())))
        made = f"{made[:-1]}, {json.dumps(key)}: {value}}}"
    return made.encode()


def _places(document: Any) -> list[Place]:
    """Every (container, key), top levels as likely as the many leaves below them."""
    levels: list[list[Place]] = []
    found: list[Place] = [(document, key) for key in _keys(document)]
    while found:
        levels.append(found)
        found = [(c[k], key) for c, k in found for key in _keys(c[k])]
    most = max((len(level) for level in levels), default=0)
    return [place for level in levels for place in level * max(1, most // (4 * len(level)))]


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    return list(range(len(value))) if isinstance(value, list) else []


def _replace(container: Any, key: Any, value: Any, document: Any, draw: random.Random) -> str:
    container[key] = draw.choice(_STRANGE)
    return f" = {str(container[key])[:30]!r}"


def _delete(container: Any, key: Any, value: Any, document: Any, draw: random.Random) -> str:
    del container[key]
    return ""


def _scale(container: Any, key: Any, value: Any, document: Any, draw: random.Random) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _replace(container, key, value, document, draw)
    changes: list[Callable[[Any], Any]] = [
        lambda v: v + 1,
        lambda v: v - 1,
        lambda v: -v,
        lambda v: v * 2,
        lambda v: v * 1000,
        lambda v: v / 3,
        lambda v: v * 10**9,
        float,
        str,
        lambda v: [v],
    ]
    container[key] = draw.choice(changes)(value)
    return f" = {str(container[key])[:30]}"


def _twice(container: Any, key: Any, value: Any, document: Any, draw: random.Random) -> str:
    if isinstance(container, list):
        container.insert(key, value)
    else:
        container[f"{key} "] = value
    return ""


def _rename(container: Any, key: Any, value: Any, document: Any, draw: random.Random) -> str:
    if isinstance(container, dict):
        name = str(draw.choice([key.upper(), key + "x", f"./{key}", f"../{key}", key.replace("/", "\\"), ""]))
        container[name] = container.pop(key)
        return f" as {name!r}"
    return _delete(container, key, value, document, draw)


def _exchange(container: Any, key: Any, value: Any, document: Any, draw: random.Random) -> str:
    other = draw.choice(_keys(container))
    container[key], container[other] = container[other], value
    return f" with {other!r}"


def _borrow(container: Any, key: Any, value: Any, document: Any, draw: random.Random) -> str:
    source, other = draw.choice(_places(document))
    # Without sharing: later changes would go round in circles.
    container[key] = json.loads(json.dumps(source[other]))
    return f" = that of {other!r}"


def _reverse(container: Any, key: Any, value: Any, document: Any, draw: random.Random) -> str:
    if isinstance(value, list):
        container[key] = value[::-1]
    elif isinstance(value, str):
        at = draw.randrange(len(value) + 1)
        container[key] = value[:at] + draw.choice(["", "\n", "\x1b]0;t\x07", "0", "\u0301"]) + value[at + 1 :]
    else:
        return _scale(container, key, value, document, draw)
    return ""


_CHANGES = (
    ("replace", _replace),
    ("delete", _delete),
    ("scale", _scale),
    ("scale", _scale),
    ("twice", _twice),
    ("rename", _rename),
    ("exchange", _exchange),
    ("borrow", _borrow),
    ("reverse", _reverse),
)
