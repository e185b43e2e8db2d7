"""Joins the stages of a bundle into one graph: waveform [B, N] -> scores, logits, mask, kept. Never torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import TensorProto, compose, helper, version_converter

from ... import __version__
from ...errors import BundleError, SourceError
from ...printable import first_line
from ...prototypes_index.atomic import replaced, staged
from ...prototypes_index.durability import naming
from ...runtime.audio.lengths import samples_at_least
from ...runtime.bundle.manifest import Manifest, StageSpec
from ...runtime.bundle.open import Bundle
from ..frontends.nodes import Nodes
from ..graphs.files import OPSET, save_graph
from . import sound
from .check import Agreements, check

_PREFIX = "earmark"


def fuse(bundle: Bundle, out: Path, *, force: bool = False) -> Agreements:
    """Write a bundle as one graph, once it agrees with the bundle.

    The graph takes `waveform` [batch, samples], mono at the bundle's rate and the sound's own level, of any
    length, as one window: level, shortest length and the level of the kept sound are inside. It explains the
    class that it predicts.

    Args:
        bundle: The open bundle.
        out: The file of the graph; larger weights lie beside it in `OUT.data`.
        force: Replace the file if it exists.

    Returns:
        Largest differences from the bundle, by output.

    Raises:
        BundleError: The file exists.
        SourceError: The stages cannot be joined.
        ParityError: The graph's answers are not the bundle's.
        WriteError: A file cannot be written.

    """
    if out.exists() and not force:
        raise BundleError(f"{out}: exists; choose another file or replace it with --force")
    model = joined(bundle)
    with naming(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with staged(out.with_name(f"{out.name}.folder")) as folder:
        graph = folder / out.name
        data = save_graph(model, graph)
        found = check(bundle, graph)
        with naming(out):
            for name in (*data, out.name):
                with replaced(out.with_name(name)) as place:
                    shutil.copyfile(folder / name, place)
    return found


def joined(bundle: Bundle) -> onnx.ModelProto:
    """The stages of a bundle as one model.

    Args:
        bundle: The open bundle.

    Returns:
        The model; its weights are in it.

    Raises:
        SourceError: A stage has operators that cannot be brought to one version.

    """
    return _Joining(bundle).model()


class _Joining:
    """Stages, and nodes between them."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self._manifest = bundle, bundle.manifest
        self._stages: list[onnx.ModelProto] = []
        self._between: list[list[onnx.NodeProto]] = []
        self._nodes = Nodes(OPSET, _PREFIX)
        self._outputs: list[onnx.ValueInfoProto] = []

    def model(self) -> onnx.ModelProto:
        """Everything in the order in which it is computed."""
        nodes, manifest = self._nodes, self._manifest
        spec, rate = manifest.analysis, manifest.sample_rate
        samples = nodes.size("waveform", 1)
        level = sound.level(nodes, "waveform", manifest.level)
        levelled = "waveform" if level is None else nodes.add("Div", "waveform", level)
        padded = sound.at_least(nodes, levelled, samples_at_least(manifest.window.minimum_seconds, rate))
        front = self._run("frontend", {"waveform": padded})
        spectral = manifest.rescore == "spectrogram"
        entry = "stft" if spectral else "features"
        known = {**front, **self._run("classifier", {entry: front[entry]})}
        known["stft"] = front["stft"] if spectral else sound.stft(nodes, padded, spec)
        known["target"] = nodes.add("ArgMax", known["logits"], axis=1, keepdims=0)
        labels = len(manifest.labels)
        operator = {"multi_label": "Sigmoid", "single_label": "Softmax", "regression": "Identity"}[
            manifest.task
        ]
        self._give("scores", nodes.add(operator, known["logits"]), ["batch", labels])
        self._give("logits", known["logits"], ["batch", labels])
        if manifest.stage("decoder") is not None:
            self._mask(known, samples, padded, level)
        if manifest.stage("interpreter") is not None:
            outputs = self._run("interpreter", known)
            count = manifest.components.count if manifest.components is not None else "components"
            frames = sound.frames_of(nodes, samples, spec)
            active = nodes.add("Slice", outputs["activations"], nodes.whole(0), frames, nodes.whole(2))
            self._give("activations", active, ["batch", count, "frames"])
        self._embeddings(known)
        return self._whole()

    def _mask(self, known: Mapping[str, str], samples: str, padded: str, level: str | None) -> None:
        """The decoder's mask of the frames of the sound, and what it keeps at the sound's own level."""
        nodes, spec = self._nodes, self._manifest.analysis
        bins = spec.n_fft // 2 + 1
        mask = self._run("decoder", known)["mask"]
        clipped = nodes.add("Clip", mask, nodes.constant(0.0), nodes.constant(1.0))
        frames = sound.frames_of(nodes, samples, spec)
        shown = nodes.add("Slice", clipped, nodes.whole(0), frames, nodes.whole(1))
        self._give("mask", shown, ["batch", "frames", bins])
        spectrum = sound.masked(nodes, known["stft"], clipped, self._manifest.mask_gain)
        whole = sound.inverse(nodes, spectrum, spec, nodes.size(padded, 1))
        kept = nodes.add("Slice", whole, nodes.whole(0), samples, nodes.whole(1))
        if level is not None:
            kept = nodes.add("Mul", kept, level)
        self._give("kept", kept, ["batch", "samples"])

    def _embeddings(self, known: Mapping[str, str]) -> None:
        """The views of the feature map that prototypes are looked up by, and the channels' contributions."""
        stage = self._manifest.stage("embeddings")
        if stage is None:
            return
        outputs = self._run("embeddings", known)
        dims = {tensor.name: tensor.dims for tensor in stage.outputs}
        for name in ("square", "time", "frequency", "contributions"):
            if name in outputs:
                given = name if name == "contributions" else f"embeddings_{name}"
                self._give(given, outputs[name], list(dims[name]))

    def _run(self, name: str, known: Mapping[str, str]) -> dict[str, str]:
        """Add a stage, fed by tensors that are there; the names of its outputs in the whole graph."""
        stage = self._manifest.stage(name)
        if stage is None:
            raise SourceError(f"{self._manifest.name}: has no stage {name}; export the bundle again")
        model = self._read(stage)
        prefix = f"{name}/"
        for tensor in stage.inputs:
            self._nodes.named("Identity", prefix + tensor.name, known[tensor.name])
        self._between.append(self._nodes.take())
        self._stages.append(compose.add_prefix(model, prefix))
        return {tensor.name: prefix + tensor.name for tensor in stage.outputs}

    def _read(self, stage: StageSpec) -> onnx.ModelProto:
        """A stage's graph with its weights, in the version of operators that all have."""
        path = self._bundle.file(stage.file)
        for name in stage.data:
            self._bundle.file(name)
        model = onnx.load(str(path))
        versions = {one.domain: one.version for one in model.opset_import}
        if model.functions or set(versions) - {"", "ai.onnx"}:
            raise SourceError(f"{path}: has operators of its own, which cannot be joined into one graph")
        if versions.get("", versions.get("ai.onnx")) == OPSET:
            return model
        try:
            return version_converter.convert_version(model, OPSET)
        except Exception as error:
            raise SourceError(
                f"{path}: its operators cannot be brought to opset {OPSET} ({first_line(error)})"
            ) from error

    def _give(self, name: str, tensor: str, dims: list[int | str]) -> None:
        """Let a tensor be an output of the whole graph."""
        self._nodes.named("Identity", name, tensor)
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))

    def _whole(self) -> onnx.ModelProto:
        nodes: list[onnx.NodeProto] = []
        for before, model in zip(self._between, self._stages, strict=True):
            nodes += [*before, *model.graph.node]
        graph = helper.make_graph(
            [*nodes, *self._nodes.take()],
            "earmark",
            [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", "samples"])],
            self._outputs,
            [
                *self._nodes.initializers(),
                *(one for model in self._stages for one in model.graph.initializer),
            ],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=max(model.ir_version for model in self._stages),
            producer_name="earmark",
            producer_version=__version__,
        )
        helper.set_model_props(model, properties(self._manifest))
        return model


def properties(manifest: Manifest) -> dict[str, str]:
    """What a program needs to know of the graph, as the model's metadata: labels as a JSON list."""
    window = manifest.window
    return {
        "name": manifest.name,
        "bundle_id": manifest.bundle_id,
        "task": manifest.task,
        "labels": json.dumps(manifest.labels, ensure_ascii=False),
        "sample_rate": str(manifest.sample_rate),
        "window_seconds": f"{window.seconds:g}",
        "window_hop_seconds": f"{window.hop_seconds:g}",
        "window_aggregate": window.aggregate,
        "mask_hop": str(manifest.analysis.hop),
        "mask_n_fft": str(manifest.analysis.n_fft),
        "licence": manifest.licence,
        "attribution": manifest.attribution,
    }
