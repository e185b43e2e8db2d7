"""Stages of a bundle in one graph, with nodes between them. Never torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import TensorProto, compose, helper, version_converter

from ... import __version__
from ...errors import SourceError
from ...printable import first_line
from ...runtime.bundle.graphs import load_whole
from ...runtime.bundle.manifest import StageSpec
from ...runtime.bundle.nodes import Nodes
from ...runtime.bundle.open import Bundle
from ...runtime.inference import masked_sound
from ..graphs.files import OPSET, Dims
from . import sound

_PREFIX = "earmark"


class Joining:
    """A graph that stages and nodes are added to in the order in which they are computed.

    Attributes:
        manifest: Of the bundle.
        nodes: Where nodes between the stages are added.

    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self.manifest = bundle, bundle.manifest
        # Stages of bundles that were exported before may have a later one.
        self._opset = max(OPSET, *(stage.opset for stage in bundle.manifest.stages))
        self.nodes = Nodes(self._opset, _PREFIX)
        self._stages: list[onnx.ModelProto] = []
        self._between: list[list[onnx.NodeProto]] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def take(self, name: str, dims: Dims, dtype: int = TensorProto.FLOAT) -> str:
        """Let a tensor be an input of the whole graph; its name."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, dims))
        return name

    def give(self, name: str, tensor: str, dims: Dims) -> None:
        """Let a tensor be an output of the whole graph."""
        self.nodes.named("Identity", name, tensor)
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))

    def run(self, name: str, known: Mapping[str, str], graph: Path | None = None) -> dict[str, str]:
        """Add a stage.

        Args:
            name: Of the stage.
            known: Names in the whole graph of the tensors that there are, by their names for stages.
            graph: Its graph; None: the one that the manifest names.

        Returns:
            The names of its outputs in the whole graph.

        Raises:
            SourceError: The bundle has no such stage, or it cannot be joined.

        """
        stage = self.manifest.stage(name)
        if stage is None:
            raise SourceError(f"{self.manifest.name}: has no stage {name}; export the bundle again")
        if name == "classifier" and self.manifest.state_size:
            raise SourceError(
                f"{self.manifest.name}: hands its state from window to window, which one graph for a window "
                "does not; use the bundle, or export it with --state NAME=zeros"
            )
        model = _read(self._file(stage) if graph is None else graph, self._opset)
        prefix = f"{name}/"
        for tensor in stage.inputs:
            self.nodes.named("Identity", prefix + tensor.name, known[tensor.name])
        self._between.append(self.nodes.take())
        self._stages.append(compose.add_prefix(model, prefix))
        return {tensor.name: prefix + tensor.name for tensor in stage.outputs}

    def classify(self, waveform: str) -> dict[str, str]:
        """Add front end and classifier.

        Args:
            waveform: [B, N] at the model's level, not shorter than the model takes.

        Returns:
            Names in the whole graph of logits, taps and the listenable `stft` [B, T, F, 2].

        """
        front = self.run("frontend", {"waveform": waveform})
        spectral = self.manifest.rescore == "spectrogram"
        entry = "stft" if spectral else "features"
        known = {**front, **self.run("classifier", {entry: front[entry]})}
        known["stft"] = (
            front["stft"] if spectral else sound.stft(self.nodes, waveform, self.manifest.analysis)
        )
        return known

    def mask(self, known: Mapping[str, str], samples: str) -> tuple[str, str]:
        """Add the decoder.

        Args:
            known: See `run`.
            samples: Name of the length of the waveform, int64 [1].

        Returns:
            Names of the mask [B, T, F] and of the sound [B, N] that it keeps, at the model's level.

        """
        nodes, spec = self.nodes, self.manifest.analysis
        mask = self.run("decoder", known)["mask"]
        clipped = nodes.add("Clip", mask, nodes.constant(0.0), nodes.constant(1.0))
        spectrum = masked_sound.masked(nodes, known["stft"], clipped, self.manifest.mask_gain)
        return clipped, masked_sound.inverse(nodes, spectrum, spec, samples)

    def model(self, properties: Mapping[str, str]) -> onnx.ModelProto:
        """Everything that was added as one model.

        Args:
            properties: Its metadata.

        """
        nodes: list[onnx.NodeProto] = []
        for before, model in zip(self._between, self._stages, strict=True):
            nodes += [*before, *model.graph.node]
        graph = helper.make_graph(
            [*nodes, *self.nodes.take()],
            "earmark",
            self._inputs,
            self._outputs,
            [
                *self.nodes.initializers(),
                *(one for model in self._stages for one in model.graph.initializer),
            ],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", self._opset)],
            ir_version=max(model.ir_version for model in self._stages),
            producer_name="earmark",
            producer_version=__version__,
        )
        helper.set_model_props(model, dict(properties))
        return model

    def _file(self, stage: StageSpec) -> Path:
        """A stage's graph, it and its weights checked to be there."""
        for name in stage.data:
            self._bundle.file(name)
        return self._bundle.file(stage.file)


def _read(path: Path, opset: int) -> onnx.ModelProto:
    """A graph with its weights, in the version of operators that all have."""
    model: onnx.ModelProto = load_whole(path)
    versions = {one.domain: one.version for one in model.opset_import}
    if model.functions or set(versions) - {"", "ai.onnx"}:
        raise SourceError(f"{path}: has operators of its own, which cannot be joined into one graph")
    if versions.get("", versions.get("ai.onnx")) == opset:
        return model
    try:
        return version_converter.convert_version(model, opset)
    except Exception as error:
        raise SourceError(
            f"{path}: its operators cannot be brought to opset {opset} ({first_line(error)})"
        ) from error
