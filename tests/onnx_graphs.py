"""Small graphs that a stranger might give: a CNN over a bank of filters, a transformer over its patches."""

import numpy as np
from onnx import helper
from saved_graph import node, saved

RATE, HOP, BANDS, LABELS = 8000, 80, 16, ["a", "b", "c"]
_LENGTH = 256


def _whole(*values):
    return np.array(values, np.int64)


def _bank():
    """Cosines and sines at rising frequencies, [2 BANDS, 1, length]."""
    time = np.arange(_LENGTH) / RATE
    pitches = 150 * 25 ** (np.arange(BANDS) / BANDS)
    window = np.hanning(_LENGTH) / _LENGTH * 4
    waves = [
        function(2 * np.pi * pitch * time) * window for function in (np.cos, np.sin) for pitch in pitches
    ]
    return np.array(waves, np.float32)[:, None]


def _front(constants):
    """Waveform [B, N] -> magnitudes [B, 1, BANDS, T], with a root that is steep at silence."""
    constants |= {"bank": _bank(), "axis": _whole(1), "two": np.array(2, np.float32)}
    return [
        node("Unsqueeze", "sound axis", "wave"),
        node("Conv", "wave bank", "both", strides=[HOP], pads=[_LENGTH // 2 - 1, _LENGTH // 2]),
        node("Split", "both", "real imaginary", axis=1),
        node("Pow", "real two", "real2"),
        node("Pow", "imaginary two", "imaginary2"),
        node("Add", "real2 imaginary2", "power"),
        node("Sqrt", "power", "amplitude"),
        node("Unsqueeze", "amplitude axis", "spectrogram"),
    ]


def _saved(path, nodes, constants, dims):
    return saved(path, nodes, constants, {"sound": list(dims)}, {"scores": [dims[0], len(LABELS)]})


def cnn(path, dims=("batch", "samples"), last=None):
    """Convolutions over [B, C, F, T], maps at 2 and 4 hops. `last`: an operator before the head."""
    random = np.random.default_rng(0)
    constants = {
        "first": random.standard_normal((8, 1, 3, 3)).astype(np.float32),
        "second": random.standard_normal((12, 8, 3, 3)).astype(np.float32) / 6,
        "matrix": random.standard_normal((12, 3)).astype(np.float32) * 2,
        "bias": random.standard_normal(3).astype(np.float32),
    }
    if dims[0] == 1:
        # As traced with one sound: the batch stands in the graph.
        constants["flat_shape"] = _whole(1, 12)
    halves = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        *_front(constants),
        node("Conv", "spectrogram first", "c1", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1"),
        node("AveragePool", "r1", "fine", **halves),
        node("Conv", "fine second", "c2", pads=[1, 1, 1, 1]),
        node("Relu", "c2", "r2"),
        node("MaxPool", "r2", "deep", **halves),
        node("GlobalAveragePool", "deep", "pooled"),
        node("Flatten", "pooled", "flat") if dims[0] != 1 else node("Reshape", "pooled flat_shape", "flat"),
    ]
    if last is not None:
        nodes.append(node(last, "flat", "last"))
    nodes.append(helper.make_node("Gemm", ["flat" if last is None else "last", "matrix", "bias"], ["scores"]))
    return _saved(path, nodes, constants, dims)


def panns(path):
    """Log-mel [B, 1, T, F] -> convolutions with batch norm, max and mean over time, sigmoids, as PANNs."""
    random = np.random.default_rng(2)
    constants = {
        "matrix": random.standard_normal((12, 3)).astype(np.float32),
        "bias": random.standard_normal(3).astype(np.float32),
    }
    nodes, given = [], "sound"
    for number, (inputs, outputs) in enumerate(((1, 8), (8, 12))):
        constants |= {
            f"kernel{number}": random.standard_normal((outputs, inputs, 3, 3)).astype(np.float32) / 20,
            f"gain{number}": np.ones(outputs, np.float32),
            f"offset{number}": 0.1 * random.standard_normal(outputs).astype(np.float32),
            f"mean{number}": 0.1 * random.standard_normal(outputs).astype(np.float32),
            f"variance{number}": np.ones(outputs, np.float32),
        }
        norm = [f"{name}{number}" for name in ("gain", "offset", "mean", "variance")]
        nodes += [
            node("Conv", f"{given} kernel{number}", f"c{number}", pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", [f"c{number}", *norm], [f"n{number}"]),
            node("Relu", f"n{number}", f"r{number}"),
            node("AveragePool", f"r{number}", f"p{number}", kernel_shape=[2, 2], strides=[2, 2]),
        ]
        given = f"p{number}"
    nodes += [
        node("ReduceMean", given, "rows", axes=[3], keepdims=0),
        node("ReduceMax", "rows", "loudest", axes=[2], keepdims=0),
        node("ReduceMean", "rows", "average", axes=[2], keepdims=0),
        node("Add", "loudest average", "pooled"),
        node("Gemm", "pooled matrix bias", "logits"),
        node("Sigmoid", "logits", "scores"),
    ]
    return _saved(path, nodes, constants, ("batch", 1, "frames", BANDS))


def ast(path, read="all"):
    """Kaldi's filter bank [B, 96, F] -> as `transformer`."""
    axes = {"axis": _whole(1)}
    front = [
        node("Transpose", "sound", "bands", perm=[0, 2, 1]),
        node("Unsqueeze", "bands axis", "spectrogram"),
    ]
    return transformer(path, dims=(1, 96, BANDS), front=front, constants=axes, read=read)


def transformer(path, dims=(1, 8000), front=None, constants=None, read="all"):
    """Patches of 4 bands and 4 hops as tokens behind a class token, one block of attention, their mean.

    read: "class": of the last tokens the class token alone is read, as in most such models
    """
    first = dict(constants or {})
    front = _front(first) if front is None else front
    random = np.random.default_rng(1)
    size = 12
    constants = {
        **first,
        "patch": random.standard_normal((size, 1, 4, 4)).astype(np.float32),
        "rows": _whole(0, size, -1),
        "place": np.array(0),
        "class": random.standard_normal((1, 1, size)).astype(np.float32),
        "scale": np.array(size**-0.5, np.float32),
        "gain": np.ones(size, np.float32),
        "offset": np.zeros(size, np.float32),
        "matrix": random.standard_normal((size, 3)).astype(np.float32) * 2,
        "bias": random.standard_normal(3).astype(np.float32),
    }
    for name in ("query", "key", "value"):
        constants[name] = random.standard_normal((size, size)).astype(np.float32) / 4
    nodes = [
        *front,
        node("Conv", "spectrogram patch", "patches", strides=[4, 4]),
        node("Reshape", "patches rows", "columns"),
        node("Transpose", "columns", "placed", perm=[0, 2, 1]),
        node("Concat", "class placed", "tokens", axis=1),
        node("LayerNormalization", "tokens gain offset", "normal"),
        *(node("MatMul", f"normal {name}", f"{name}s") for name in ("query", "key", "value")),
        node("Transpose", "keys", "turned", perm=[0, 2, 1]),
        node("MatMul", "querys turned", "products"),
        node("Mul", "products scale", "scaled"),
        node("Softmax", "scaled", "attention", axis=-1),
        node("MatMul", "attention values", "looked"),
        node("Add", "tokens looked", "sum"),
        node("LayerNormalization", "sum gain offset", "last_tokens"),
        node("ReduceMean", "last_tokens", "pooled", axes=[1], keepdims=0)
        if read == "all"
        else node("Gather", "last_tokens place", "pooled", axis=1),
        node("Gemm", "pooled matrix bias", "scores"),
    ]
    return _saved(path, nodes, constants, dims)


def tagger(path, labels, samples=RATE // 2):
    """Loudness of 16 bands as an embedding [B, BANDS] beside the sigmoids of so many labels, as BirdNET."""
    random = np.random.default_rng(4)
    constants = {
        "matrix": random.standard_normal((BANDS, labels)).astype(np.float32),
        "bias": np.full(labels, -1, np.float32),
        "frames": _whole(3),
    }
    nodes = [
        *_front(constants),
        node("ReduceMean", "spectrogram", "loud", axes=[3], keepdims=0),
        node("Flatten", "loud", "embedding"),
        node("Gemm", "embedding matrix bias", "logits"),
        node("Sigmoid", "logits", "scores"),
    ]
    given = {"scores": ["b", labels], "embedding": ["b", BANDS]}
    return saved(path, nodes, constants, {"sound": ["b", samples]}, given)
