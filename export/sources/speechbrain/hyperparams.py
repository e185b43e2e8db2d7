"""Reads SpeechBrain's hyperparams.yaml as plain data: its tags construct nothing, import nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ....errors import SourceError

# Key under which a tagged node's tag is kept; its arguments lie beside it (or under "value").
TAG = "__tag__"
_REFERENCE = re.compile(r"^<([A-Za-z_][A-Za-z0-9_]*(?:\[[A-Za-z0-9_]+\])*)>$")
_DEPTH = 20


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader that turns every unknown tag into data."""


def _plain(loader: _PlainLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    """A tagged node as {TAG: tag, arguments ...}."""
    node_values: dict[str, Any] = {TAG: suffix}
    if isinstance(node, yaml.MappingNode):
        node_values.update({str(k): v for k, v in loader.construct_mapping(node, deep=True).items()})
    elif isinstance(node, yaml.SequenceNode):
        node_values["value"] = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.ScalarNode):
        node_values["value"] = loader.construct_scalar(node)
    return node_values


_PlainLoader.add_multi_constructor("!", _plain)
_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", _plain)


class Hyperparams:
    """The file's values; `!ref <name>` is followed, expressions are not evaluated."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # A subclass of SafeLoader: constructs plain data alone.
            loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=_PlainLoader)  # noqa: S506
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
            reason = (str(error).splitlines() or ["unreadable"])[0]
            raise SourceError(
                f"{path}: not readable as YAML ({reason}); take the one that the recipe wrote"
            ) from error
        if not isinstance(loaded, dict):
            raise SourceError(f"{path}: holds no settings; take the one that the recipe wrote")
        self.values: dict[str, Any] = loaded

    def get(self, key: str, default: Any = None, *, of: str | None = None) -> Any:
        """The value of `key`: argument of the object `of` if it is there, else at the top, else `default`."""
        owner = self.values.get(of) if of is not None else None
        for place in (owner, self.values):
            if isinstance(place, dict) and place.get(key) is not None:
                return self._follow(place[key], key)
        return default

    def number(self, key: str, default: float, *, of: str | None = None) -> float:
        """The same as a number. Raises SourceError where it is none."""
        value = self.get(key, default, of=of)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SourceError(f"{self.path}: {key} should be a number, but is {value!r}")
        return float(value)

    def integer(self, key: str, default: int, *, of: str | None = None) -> int:
        """The same as a whole number. Raises SourceError where it is none."""
        value = self.number(key, default, of=of)
        if value != int(value):
            raise SourceError(f"{self.path}: {key} should be a whole number, but is {value!r}")
        return int(value)

    def fixed(
        self, only: Sequence[tuple[str, str | None, object]], usual: Mapping[str, object] | None = None
    ) -> None:
        """Raise SourceError where a key of an owner is another value than the only one that is known here.

        usual: what keys are that are not said, where that is another value
        """
        for key, owner, known in only:
            value = self.get(key, (usual or {}).get(key, known), of=owner)
            if value != known:
                place = key if owner is None else f"{key} of {owner}"
                raise SourceError(f"{self.path}: {place} is {value!r}; only {known!r} can be exported")

    def tag(self, key: str) -> str | None:
        """What `key` would construct, e.g. "torch.nn.Linear"; None where it is plain data."""
        value = self.values.get(key)
        if not isinstance(value, dict) or TAG not in value:
            return None
        return str(value[TAG]).partition(":")[2]

    def _follow(self, value: Any, key: str) -> Any:
        """Resolve `!ref <name>`, also chained."""
        for _ in range(_DEPTH):
            if not isinstance(value, dict) or value.get(TAG) != "ref":
                return value
            reference = _REFERENCE.match(str(value.get("value", "")))
            if reference is None:
                raise SourceError(
                    f"{self.path}: {key} is an expression ({value.get('value')}); write its value"
                )
            target: Any = self.values
            for part in re.findall(r"[A-Za-z0-9_]+", reference.group(1)):
                target = target.get(part) if isinstance(target, dict) else None
            if target is None:
                raise SourceError(f"{self.path}: {key} refers to {reference.group(1)}, which is not there")
            value = target
        raise SourceError(f"{self.path}: {key} refers to itself")
