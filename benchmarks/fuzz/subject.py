"""The smallest bundle with every stage: what the fuzzers damage. Made by code, without PyTorch, in a second.

1 kHz, windows of 0.5 s, frames of 32 samples every 16: a filterbank of 17 bins, 4 channels, 3 classes; a
decoder for any class, the views of its feature map with a head that adds up, an interpreter, and prototypes
with sound of six clips.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import soundfile

from earmark.export.bundle.write import write_bundle
from earmark.export.graphs.embeddings import embeddings_model
from earmark.export.graphs.files import OPSET, model_of, stage_spec
from earmark.export.graphs.heads import Head, Layer
from earmark.export.prototypes.build import index_bundle
from earmark.export.prototypes.growth import remove_clips
from earmark.export.source.exportable import Exportable
from earmark.runtime.bundle.manifest import (
    AnalysisSpec,
    ComponentSpec,
    ComponentsSpec,
    FeatureMapSpec,
    StageSpec,
    WindowSpec,
)
from earmark.runtime.bundle.nodes import Nodes
from earmark.runtime.inference.session import import_onnxruntime

RATE, N_FFT, HOP = 1000, 32, 16
BINS, CHANNELS, LABELS, COMPONENTS = N_FFT // 2 + 1, 4, ["hum", "tone", "noise"], 3
ROWS = BINS // 4

Tensors = dict[str, list[int | str]]

STFT: Tensors = {"stft": ["batch", "frames", BINS, 2]}
MAP: Tensors = {"map": ["batch", CHANNELS, "cells", ROWS]}
SPECTRUM: Tensors = {"spectrum": ["batch", "frames", BINS]}
BORDERS: dict[str, tuple[Tensors, Tensors]] = {
    "frontend": ({"waveform": ["batch", "samples"]}, STFT),
    "classifier": (STFT, {"logits": ["batch", len(LABELS)], **SPECTRUM, **MAP}),
    "decoder": ({**SPECTRUM, "target": ["batch"]}, {"mask": ["batch", "frames", BINS]}),
    "interpreter": (
        SPECTRUM,
        {
            "activations": ["batch", COMPONENTS, "frames"],
            "pooled": ["batch", COMPONENTS],
            "logits": ["batch", len(LABELS)],
        },
    ),
}


def build(folder: Path, *, lists: bool = False) -> Path:
    """Write the bundle to `folder / "bundle"` and return its path; its sounds lie in `folder / "data"`.

    lists: its prototypes are searched as very many are, in lists of projected vectors, and one is removed
    """
    bundle = folder / "bundle"
    write_bundle(Small.make(), bundle)
    random = np.random.default_rng(0)
    times = np.arange(RATE // 2) / RATE
    for number, label in enumerate(LABELS):
        (folder / "data" / label).mkdir(parents=True)
        for take in range(2):
            sound = 0.3 * np.sin(2 * np.pi * (40 + 150 * number + 7 * take) * times)
            sound += 0.02 * (1 + 9 * (number == 2)) * random.standard_normal(len(times))
            soundfile.write(folder / "data" / label / f"{label}{take}.wav", sound, RATE)
    limit = {"exact_limit": 5} if lists else {}
    index_bundle(bundle, folder / "data", audio=True, per_channel=2, **limit)
    if lists:
        remove_clips(bundle, ["hum/hum0.wav"])
    return bundle


@dataclass(frozen=True, kw_only=True)
class Small(Exportable):
    """Graphs from `onnx.helper` and seeded weights."""

    tools: ClassVar[tuple[str, ...]] = ("onnx",)
    graphs: dict[str, onnx.ModelProto] = field(repr=False, compare=False)
    head: Head

    @classmethod
    def make(cls) -> Small:
        """The model."""
        random = np.random.default_rng(1)
        columns = random.uniform(0.1, 1.0, (BINS, COMPONENTS)).astype(np.float32)
        columns /= np.linalg.norm(columns, axis=0)
        theta = random.normal(size=(len(LABELS), COMPONENTS)).astype(np.float32)
        head = random.normal(size=(len(LABELS), CHANNELS)).astype(np.float32)
        analysis = AnalysisSpec(n_fft=N_FFT, window_length=N_FFT, hop=HOP, window="hann")
        width = RATE / 2 / ROWS
        return cls(
            name="small",
            labels=LABELS,
            task="single_label",
            sample_rate=RATE,
            window=WindowSpec(seconds=0.5, hop_seconds=0.25, minimum_seconds=0.1),
            analysis=analysis,
            mask_targets="any",
            feature_map=FeatureMapSpec(
                tap="map",
                channels=CHANNELS,
                frame_seconds=4 * HOP / RATE,
                bands_hz=[(row * width, (row + 1) * width) for row in range(ROWS)],
                pooling="mean",
                additive=True,
            ),
            components=ComponentsSpec(
                count=COMPONENTS,
                sample_rate=RATE,
                analysis=analysis,
                threshold=0.1,
                components=[ComponentSpec(peak_hz=100.0, bandwidth_hz=50.0)] * COMPONENTS,
            ),
            dictionary={"dictionary": columns, "theta": theta},
            description="A model for the fuzzers.",
            licence="Apache-2.0",
            graphs={
                "frontend": _frontend(),
                "classifier": _classifier(random, head),
                "decoder": _decoder(random),
                "interpreter": _interpreter(columns, theta),
            },
            head=Head((Layer(head, np.zeros(len(LABELS), np.float32)),)),
        )

    def fingerprint(self) -> str:
        """sha256 of the classifier's graph."""
        return hashlib.sha256(self.graphs["classifier"].SerializeToString(deterministic=True)).hexdigest()

    @property
    def explainers(self) -> list[str]:
        """What a bundle of it runs."""
        return ["mask", "components"]

    def write_stages(self, folder: Path) -> list[StageSpec]:
        """Write the graphs; the classifier's weights lie beside it, so that external data are fuzzed too."""
        stages = []
        for name, model in self.graphs.items():
            data = ["classifier.onnx.data"] if name == "classifier" else []
            path = folder / f"{name}.onnx"
            onnx.save(
                copy.deepcopy(model),  # its weights are taken out of it
                str(path),
                save_as_external_data=bool(data),
                location=data[0] if data else None,
                size_threshold=100,
            )
            stages.append(stage_spec(name, path, data, OPSET, *BORDERS[name]))  # type: ignore[arg-type]
        views = embeddings_model(folder / "embeddings.onnx", self.feature_map, MAP["map"], self.head)
        return [*stages, views]

    def outputs(self, waveform: np.ndarray) -> dict[str, np.ndarray]:
        """The graphs' own answers: there is no other source."""
        runtime = import_onnxruntime()
        tensors: dict[str, np.ndarray] = {"waveform": waveform}
        for name in ("frontend", "classifier"):
            tensors |= self._run(runtime, name, tensors)
        tensors["target"] = tensors["logits"].argmax(-1)
        said = self._run(runtime, "interpreter", tensors)
        return {
            "logits": tensors["logits"],
            **self._run(runtime, "decoder", tensors),
            "activations": said["activations"],
            "pooled": said["pooled"],
            "interpreted": said["logits"],
        }

    def _run(self, runtime: object, name: str, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        model = self.graphs[name]
        session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        feeds = {value.name: tensors[value.name] for value in model.graph.input}
        names = [value.name for value in model.graph.output]
        return dict(zip(names, session.run(names, feeds), strict=True))


def _model(name: str, graph: Nodes) -> onnx.ModelProto:
    model = model_of(graph, name, *BORDERS[name])
    onnx.checker.check_model(model, full_check=True)
    return model


def _frontend() -> onnx.ModelProto:
    """The analysis STFT as a convolution with its windowed cosines."""
    time = np.arange(N_FFT)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * time / N_FFT)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(BINS), time) / N_FFT) * window
    kernel = np.stack([waves.real, waves.imag], axis=1).reshape(2 * BINS, 1, N_FFT)
    graph = Nodes(OPSET)
    mono = graph.over("Unsqueeze", "waveform", [1])
    parts = graph.add("Conv", mono, graph.constant(kernel), strides=[HOP], pads=[N_FFT // 2] * 2)
    framed = graph.add("Transpose", parts, perm=[0, 2, 1])
    graph.named("Reshape", "stft", framed, graph.whole(0, 0, BINS, 2))
    return _model("frontend", graph)


def _classifier(random: np.random.Generator, head: np.ndarray) -> onnx.ModelProto:
    graph = Nodes(OPSET)
    power = graph.over("ReduceSum", graph.add("Mul", "stft", "stft"), [-1], keepdims=0)
    graph.named("Log", "spectrum", graph.add("Add", graph.add("Sqrt", power), graph.constant([1.0])))
    kernel = graph.constant(random.normal(size=(CHANNELS, 1, 3, 3)))
    edges = graph.add("Conv", graph.over("Unsqueeze", "spectrum", [1]), kernel, pads=[1] * 4)
    graph.named("AveragePool", "map", graph.add("Relu", edges), kernel_shape=[4, 4], strides=[4, 4])
    pooled = graph.over("ReduceMean", "map", [2, 3], keepdims=0)
    graph.named("MatMul", "logits", pooled, graph.constant(head.T))
    return _model("classifier", graph)


def _decoder(random: np.random.Generator) -> onnx.ModelProto:
    graph = Nodes(OPSET)
    weights = graph.constant(random.normal(size=(len(LABELS), BINS)))
    rows = graph.over("Unsqueeze", graph.add("Gather", weights, "target"), [1])
    graph.named("Sigmoid", "mask", graph.add("Mul", "spectrum", rows))
    return _model("decoder", graph)


def _interpreter(columns: np.ndarray, theta: np.ndarray) -> onnx.ModelProto:
    graph = Nodes(OPSET)
    found = graph.add("MatMul", "spectrum", graph.constant(columns))
    graph.named("Transpose", "activations", found, perm=[0, 2, 1])
    graph.named("ReduceMean", "pooled", found, graph.whole(1), keepdims=0)
    graph.named("MatMul", "logits", "pooled", graph.constant(theta.T))
    return _model("interpreter", graph)
