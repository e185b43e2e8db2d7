"""A description's fields before they are checked: from TOML, from options, merged. Never torch."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import SourceError

Fields = dict[str, object]


def read_toml(path: Path) -> Fields:
    """The fields in a TOML file. Raises SourceError; files that it names are found beside it."""
    try:
        fields: Fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SourceError(f"{path}: is no readable TOML file ({error}); see docs/frontends.md") from error
    for part, names in (("mel", ("file",)), ("normalise", ("mean", "deviation"))):
        table = fields.get(part)
        for name in names:
            if isinstance(table, dict) and isinstance(table.get(name), str):
                table[name] = str(path.parent / table[name])
    return fields


def merged(base: Mapping[str, object], over: Mapping[str, object]) -> Fields:
    """`base` with the fields of `over` in their places, part by part."""
    built: Fields = dict(base)
    for name, value in over.items():
        old = built.get(name)
        built[name] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return built


def settings(texts: Sequence[str]) -> Fields:
    """Fields from texts as "mel.bins=64", values written as in TOML; a bare word is text.

    Raises SourceError for a text without a name and a value.
    """
    built: Fields = {}
    for text in texts:
        name, sign, value = text.partition("=")
        parts = name.strip().split(".")
        if not sign or not all(parts) or len(parts) > 2:
            raise SourceError(f"--frontend-set {text}: give PART.FIELD=VALUE, as mel.bins=64")
        read: Any
        try:
            read = tomllib.loads(f"value = {value.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            read = value.strip()
        for part in reversed(parts):
            read = {part: read}
        built = merged(built, read)
    return built
