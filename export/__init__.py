"""The PyTorch side: sources, architectures, training, conversion, and writing bundles.

Its public names are imported when they are first used: `import earmark.export` imports no PyTorch, and of the
names only `Adapter` needs it at once. With an .onnx file `earmark export` needs none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..runtime.bundle.manifest import AnalysisSpec
    from .exporting import export_bundle
    from .prototypes.build import IndexReport, index_bundle
    from .sources.adapter.adapter import Adapter
    from .sources.token_grid import TokenGrid

__all__ = ["Adapter", "AnalysisSpec", "IndexReport", "TokenGrid", "export_bundle", "index_bundle"]

_MODULES = {
    "Adapter": ".sources.adapter.adapter",
    "AnalysisSpec": "..runtime.bundle.manifest",
    "IndexReport": ".prototypes.build",
    "TokenGrid": ".sources.token_grid",
    "export_bundle": ".exporting",
    "index_bundle": ".prototypes.build",
}

# Type checkers take the imports above: a name that does not exist is an error to them.
if not TYPE_CHECKING:

    def __getattr__(name):  # noqa: ANN001, ANN202
        """Import a public name when it is first asked for. Raises MissingDependencyError without PyTorch."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            return getattr(import_module(_MODULES[name], __name__), name)
        except ModuleNotFoundError as error:
            from ..errors import MissingDependencyError

            raise MissingDependencyError(
                f"earmark.export.{name} needs {error.name}, which is not installed; "
                "pip install 'earmark[cpu,export]'"
            ) from error


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
