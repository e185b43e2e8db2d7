"""Graphs in a Hugging Face folder, as Optimum and transformers.js lay them, and what the folder says of them.

    <folder>/config.json, preprocessor_config.json
    <folder>/onnx/model.onnx                          or <folder>/model.onnx
    <folder>/onnx/model_quantized.onnx, ..._fp16.onnx of other precisions

Never torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ....errors import SourceError
from ...frontends.frontend import Described
from ..onnx.frontends import describe
from .config import FILE, ModelConfig, is_model, labels_of, preprocessor_of, read_config

FOLDER = "onnx"
_USUAL = "model.onnx"
# Of models that take sound of any length.
WINDOW_SECONDS = 10.0


def folder_of(path: Path) -> Path | None:
    """The model's folder that a graph, or the subfolder of graphs, lies in; None where there is none."""
    inside = path.parent if path.suffix.lower() == ".onnx" else path
    around = [inside, inside.parent] if inside.name == FOLDER else [inside]
    return next((one for one in around if is_model(one)), None)


def graph_in(folder: Path) -> Path | None:
    """The graph of a model's folder, or of its subfolder: `model.onnx`, or the only one there is.

    Raises SourceError where there are several and none of them is the usual one.
    """
    for inside in (folder / FOLDER, folder):
        graphs = sorted(inside.glob("*.onnx"))
        usual = [one for one in graphs if one.name == _USUAL] or graphs
        if len(usual) > 1:
            raise SourceError(
                f"{inside}: holds {', '.join(one.name for one in graphs)}; name the one that is meant"
            )
        if usual:
            return usual[0]
    return None


def others_beside(graph: Path) -> list[str]:
    """Names of the graphs beside one, of other precisions."""
    return sorted(one.name for one in graph.parent.glob("*.onnx") if one.name != graph.name)


@dataclass(frozen=True)
class FolderFacts:
    """What a model's folder says of its graphs.

    Attributes:
        config: Its config.json.
        labels: In the order of the logits.
        frontend: Of its preprocessor_config.json.

    """

    config: ModelConfig
    labels: list[str]
    frontend: Described

    @property
    def window_seconds(self) -> float | None:
        """The window, where the features do not say it themselves."""
        return None if self.frontend.window is not None else WINDOW_SECONDS


def facts_of(folder: Path) -> FolderFacts:
    """Read the folder's configuration. Raises SourceError where it is none of a classifier."""
    path = folder / FILE
    config = read_config(path)
    return FolderFacts(config, labels_of(config, path), describe(str(preprocessor_of(folder)), {}))
