"""Packages that take long to import: imported where a test first uses them, not when it is collected."""

import importlib
import importlib.util
from typing import Any

import pytest

# By pytest and hypothesis, of everything that a file holds.
ASKED_IN_COLLECTION = {"__bases__", "__test__", "__wrapped__", "_mock_name"}


class Later:
    """Stands for a module or a name in it; the module is imported when either is first used."""

    def __init__(self, module: str, name: str | None) -> None:
        object.__setattr__(self, "_place", (module, name))

    def _found(self) -> Any:
        module, name = self._place
        found = importlib.import_module(module)
        return found if name is None else getattr(found, name)

    def __getattr__(self, attribute: str) -> Any:
        if attribute in ASKED_IN_COLLECTION:
            raise AttributeError(attribute)
        return getattr(self._found(), attribute)

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(self._found(), attribute, value)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._found()(*arguments, **named)


def later(module: str, name: str | None = None) -> Any:
    """`module`, or `name` of it, imported at its first use; without the package the file is skipped."""
    package = module.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)
    return Later(module, name)
