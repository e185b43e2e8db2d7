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
from onnx import TensorProto, helper, numpy_helper

from earmark.export.bundle.write import write_bundle
from earmark.export.prototypes.build import index_bundle
from earmark.export.prototypes.growth import remove_clips
from earmark.export.source.exportable import Exportable
from earmark.runtime.bundle.manifest import (
    AnalysisSpec,
    ComponentSpec,
    ComponentsSpec,
    FeatureMapSpec,
    StageSpec,
    TensorSpec,
    WindowSpec,
)
from earmark.runtime.inference.session import import_onnxruntime

RATE, N_FFT, HOP = 1000, 32, 16
BINS, CHANNELS, LABELS, COMPONENTS = N_FFT // 2 + 1, 4, ["hum", "tone", "noise"], 3
ROWS = BINS // 4
OPSET = 20

Tensors = dict[str, list[int | str]]
Weights = dict[str, np.ndarray]


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

    @classmethod
    def make(cls) -> Small:
        """The model."""
        random = np.random.default_rng(1)
        columns = random.uniform(0.1, 1.0, (BINS, COMPONENTS)).astype(np.float32)
        columns /= np.linalg.norm(columns, axis=0)
        theta = random.normal(size=(len(LABELS), COMPONENTS)).astype(np.float32)
        head = random.normal(size=(CHANNELS, len(LABELS))).astype(np.float32)
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
                "embeddings": _embeddings(head),
                "interpreter": _interpreter(columns, theta),
            },
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
            onnx.save(
                copy.deepcopy(model),  # its weights are taken out of it
                str(folder / f"{name}.onnx"),
                save_as_external_data=bool(data),
                location=data[0] if data else None,
                size_threshold=100,
            )
            stages.append(
                StageSpec(
                    name=name,  # type: ignore[arg-type]
                    file=f"{name}.onnx",
                    data=data,
                    opset=OPSET,
                    inputs=[_spec(value) for value in model.graph.input],
                    outputs=[_spec(value) for value in model.graph.output],
                )
            )
        return stages

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


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    dims = [dim.dim_param or dim.dim_value for dim in kind.shape.dim]
    dtype = "int64" if kind.elem_type == TensorProto.INT64 else "float32"
    return TensorSpec(name=value.name, dtype=dtype, dims=dims)


def _model(name: str, nodes: list, inputs: Tensors, outputs: Tensors, weights: Weights) -> onnx.ModelProto:
    def border(tensors: Tensors) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(
                one, TensorProto.INT64 if one == "target" else TensorProto.FLOAT, dims
            )
            for one, dims in tensors.items()
        ]

    graph = helper.make_graph(
        nodes,
        name,
        border(inputs),
        border(outputs),
        [numpy_helper.from_array(value, one) for one, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


STFT: Tensors = {"stft": ["batch", "frames", BINS, 2]}
MAP: Tensors = {"map": ["batch", CHANNELS, "cells", ROWS]}
_node = helper.make_node


def _frontend() -> onnx.ModelProto:
    """The analysis STFT as a convolution with its windowed cosines."""
    time = np.arange(N_FFT)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * time / N_FFT)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(BINS), time) / N_FFT) * window
    kernel = np.stack([waves.real, waves.imag], axis=1).reshape(2 * BINS, 1, N_FFT).astype(np.float32)
    return _model(
        "frontend",
        [
            _node("Unsqueeze", ["waveform", "one"], ["mono"]),
            _node("Conv", ["mono", "kernel"], ["parts"], strides=[HOP], pads=[N_FFT // 2] * 2),
            _node("Transpose", ["parts"], ["framed"], perm=[0, 2, 1]),
            _node("Reshape", ["framed", "shape"], ["stft"]),
        ],
        {"waveform": ["batch", "samples"]},
        STFT,
        {"kernel": kernel, "one": np.int64([1]), "shape": np.int64([0, 0, BINS, 2])},
    )


def _classifier(random: np.random.Generator, head: np.ndarray) -> onnx.ModelProto:
    return _model(
        "classifier",
        [
            _node("Mul", ["stft", "stft"], ["squares"]),
            _node("ReduceSum", ["squares", "last"], ["power"], keepdims=0),
            _node("Sqrt", ["power"], ["magnitude"]),
            _node("Add", ["magnitude", "unit"], ["raised"]),
            _node("Log", ["raised"], ["spectrum"]),
            _node("Unsqueeze", ["spectrum", "one"], ["image"]),
            _node("Conv", ["image", "kernel"], ["edges"], pads=[1] * 4),
            _node("Relu", ["edges"], ["rectified"]),
            _node("AveragePool", ["rectified"], ["map"], kernel_shape=[4, 4], strides=[4, 4]),
            _node("ReduceMean", ["map", "cells"], ["pooled"], keepdims=0),
            _node("MatMul", ["pooled", "head"], ["logits"]),
        ],
        STFT,
        {"logits": ["batch", len(LABELS)], "spectrum": ["batch", "frames", BINS], **MAP},
        {
            "kernel": random.normal(size=(CHANNELS, 1, 3, 3)).astype(np.float32),
            "head": head,
            "unit": np.float32([1.0]),
            "last": np.int64([-1]),
            "one": np.int64([1]),
            "cells": np.int64([2, 3]),
        },
    )


def _decoder(random: np.random.Generator) -> onnx.ModelProto:
    return _model(
        "decoder",
        [
            _node("Gather", ["weights", "target"], ["own"]),
            _node("Unsqueeze", ["own", "one"], ["rows"]),
            _node("Mul", ["spectrum", "rows"], ["drawn"]),
            _node("Sigmoid", ["drawn"], ["mask"]),
        ],
        {"spectrum": ["batch", "frames", BINS], "target": ["batch"]},
        {"mask": ["batch", "frames", BINS]},
        {"weights": random.normal(size=(len(LABELS), BINS)).astype(np.float32), "one": np.int64([1])},
    )


def _embeddings(head: np.ndarray) -> onnx.ModelProto:
    return _model(
        "embeddings",
        [
            _node("Transpose", ["map"], ["square"], perm=[0, 2, 3, 1]),
            _node("ReduceMean", ["square", "two"], ["time"], keepdims=0),
            _node("ReduceMean", ["square", "one"], ["frequency"], keepdims=0),
            _node("ReduceMean", ["time", "one"], ["pooled"]),
            _node("Mul", ["pooled", "head"], ["contributions"]),
            _node("Identity", ["zero"], ["bias"]),
        ],
        MAP,
        {
            "square": ["batch", "cells", ROWS, CHANNELS],
            "time": ["batch", "cells", CHANNELS],
            "frequency": ["batch", ROWS, CHANNELS],
            "contributions": ["batch", len(LABELS), CHANNELS],
            "bias": [len(LABELS)],
        },
        {
            "head": np.ascontiguousarray(head.T),
            "zero": np.zeros(len(LABELS), np.float32),
            "one": np.int64([1]),
            "two": np.int64([2]),
        },
    )


def _interpreter(columns: np.ndarray, theta: np.ndarray) -> onnx.ModelProto:
    return _model(
        "interpreter",
        [
            _node("MatMul", ["spectrum", "columns"], ["found"]),
            _node("Transpose", ["found"], ["activations"], perm=[0, 2, 1]),
            _node("ReduceMean", ["found", "one"], ["pooled"], keepdims=0),
            _node("MatMul", ["pooled", "theta"], ["logits"]),
        ],
        {"spectrum": ["batch", "frames", BINS]},
        {
            "activations": ["batch", COMPONENTS, "frames"],
            "pooled": ["batch", COMPONENTS],
            "logits": ["batch", len(LABELS)],
        },
        {"columns": columns, "theta": np.ascontiguousarray(theta.T), "one": np.int64([1])},
    )
