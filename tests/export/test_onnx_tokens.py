"""Tokens of a transformer in a graph: laid out as a feature map, their order checked."""

import numpy as np
import pytest
from saved_graph import node
from small_graphs import (
    CLASSES,
    F32,
    RATE,
    save,
)

from earmark.errors import SourceError
from earmark.export.bundle.write import write_bundle
from earmark.export.sources.onnx.feature_map import MapRequest
from earmark.export.sources.onnx.file import load

LABELS = ["a", "b", "c"]


def patches(path, *, order="frequency", last=()):
    """Features in patches of 4 frames and 4 bins, as tokens behind a class token, as AST has them."""
    rows, frames = 4, 16
    fold = [0, 2, 1, 3] if order == "time" else [2, 0, 1, 3]
    constants = {
        "split": np.array([frames, 4, rows, 4], np.int64),
        "tokens": np.array([1, rows * frames, 16], np.int64),
        "class": np.zeros((1, 1, 16), np.float32),
        "weights": np.random.default_rng(1).standard_normal((16, CLASSES)).astype(np.float32),
    }
    nodes = [
        node("Reshape", "mel split", "cut"),
        node("Transpose", "cut", "laid", perm=fold),
        node("Reshape", "laid tokens", "flat"),
        node("Concat", "class flat", "all", axis=1),
        node("ReduceMean", "all", "pooled", axes=[1], keepdims=0),
        node("MatMul", "pooled weights", "y"),
        *last,
    ]
    return save(path, nodes, {"mel": (F32, [1, 64, 16])}, {"y": [1, CLASSES]}, constants.items())


def test_tokens_are_laid_out_and_their_order_is_checked(tmp_path):
    from earmark.export.sources.onnx.frontends import open_frontend
    from earmark.export.sources.token_grid import TokenGrid

    mel = ("mel.bins=16", "frames.count=64", "stft.hop=80", "stft.n_fft=256", "output.layout=BTF")
    front = open_frontend("torchaudio-melspectrogram", mel, RATE)
    edges = [0, 500, 1000, 2000, 4000]
    told = {"labels": LABELS, "frontend": front, "scores": "logits"}
    for order, other in (("frequency", "time"), ("time", "frequency")):
        path = patches(tmp_path / f"{order}.onnx", order=order)
        request = MapRequest("all", "nc", edges, TokenGrid(4, order, 1))
        source = load(path, **told, feature_map=request)
        assert (source.feature_map.channels, len(source.feature_map.bands_hz)) == (16, 4)
        manifest = write_bundle(source, tmp_path / order)
        assert manifest.stage("classifier").outputs[1].dims == ["batch", 16, 16, 4]
        with pytest.raises(SourceError, match=r"impulses are at their place.*correct rows"):
            load(path, **told, feature_map=MapRequest("all", "nc", edges, TokenGrid(4, other, 1)))
        with pytest.raises(SourceError, match="65 tokens but 0 are no whole number of 4 rows"):
            load(path, **told, feature_map=MapRequest("all", "nc", edges, TokenGrid(4, order, 0)))
    # Taken for frames, its times are nonsense: that is said.
    source = load(tmp_path / "frequency.onnx", **told, feature_map=MapRequest("all", "tc"))
    assert any("are these its axes (tc)" in doubt for doubt in source.doubts)
