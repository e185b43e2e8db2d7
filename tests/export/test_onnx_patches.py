"""Graphs that take patches of features, as YAMNet: their maps are laid side by side, and trained over."""

import frontend_originals as originals
import numpy as np
import onnx
import pytest
from saved_graph import node, saved

from earmark.errors import SourceError

torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")

from earmark.export.sources.onnx.file import load  # noqa: E402
from earmark.export.sources.onnx.frontends import open_frontend  # noqa: E402
from earmark.export.sources.onnx.trainable import trainable  # noqa: E402

LABELS, RATE = ["a", "b", "c"], 16000


def write_net(path):
    """Patches [P, 96, 64] -> two convolutions of stride 2, their mean, sigmoids."""
    random = np.random.default_rng(0)
    constants = {
        "first": random.standard_normal((8, 1, 3, 3)) / 3,
        "second": random.standard_normal((12, 8, 3, 3)) / 6,
        "matrix": random.standard_normal((12, 3)),
        "bias": random.standard_normal(3),
    }
    halves = {"pads": [1, 1, 1, 1], "strides": [2, 2]}
    nodes = [
        node("Unsqueeze", "patches axis", "image"),
        node("Conv", "image first", "c1", **halves),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 second", "c2", **halves),
        node("Relu", "c2", "r2"),
        node("ReduceMean", "r2", "pooled", axes=[2, 3], keepdims=0),
        node("Gemm", "pooled matrix bias", "logits"),
        node("Sigmoid", "logits", "scores"),
    ]
    weights = {name: array.astype(np.float32) for name, array in constants.items()}
    weights["axis"] = np.array([1])
    return saved(path, nodes, weights, {"patches": ["p", 96, 64]}, {"scores": ["p", 3]})


def opened(path, *fields):
    front = open_frontend("yamnet", fields)
    told = {"labels": LABELS, "task": "multi_label", "scores": "probabilities", "window_seconds": 2.0}
    return load(path, frontend=front, **told)


def maps_by_hand(path, patches):
    """r2 [12, 24, 16] of each patch 0.48 s after the last, every half taken from one patch alone."""
    model = onnx.load(path)
    model.graph.output.add().name = "r2"
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    each = session.run(["r2"], {"patches": patches.astype(np.float32)})[0]
    middles = [one[:, 6:18] for one in each]
    return np.concatenate([each[0][:, :6], *middles, each[-1][:, 18:]], axis=1)


def test_maps_of_patches_lie_side_by_side(tmp_path):
    path = write_net(tmp_path / "net.onnx")
    source = trainable(opened(path))
    assert source.taps["r2@ctf"][1::2] == [12, 16]
    assert {one.tap: one.stride for one in source.scales} == {"r1@ctf": 2, "r2@ctf": 4}
    sound = originals.sound_of(RATE, 2.0)
    patches = originals.yamnet(sound)
    expected, backwards = maps_by_hand(path, patches), maps_by_hand(path, originals.yamnet(sound[::-1]))
    assert expected.shape == (12, 24 + 12 * (len(patches) - 1), 16)

    given = torch.from_numpy(sound)[None].requires_grad_()
    tensors = source.forward_pass(given)
    np.testing.assert_allclose(tensors["r2@ctf"][0].detach().numpy(), expected, rtol=1e-3, atol=1e-3)
    (gradient,) = torch.autograd.grad(tensors["logits"][0, 0], given)
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0

    # The stage of the bundle, and the same with one patch at a time.
    stages = {stage.name: str(tmp_path / stage.file) for stage in source.write_stages(tmp_path)}
    features = ort.InferenceSession(stages["frontend"], providers=["CPUExecutionProvider"])
    (rows,) = features.run(None, {"waveform": np.stack([sound, sound[::-1]])})
    alone = source.graph.stage(one_by_one=True).SerializeToString()
    for stage in (stages["classifier"], alone):
        session = ort.InferenceSession(stage, providers=["CPUExecutionProvider"])
        maps, logits = session.run(["r2@ctf", "logits"], {"features": rows})
        np.testing.assert_allclose(maps[0], expected, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(maps[1], backwards, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(logits[:1], tensors["logits"].detach().numpy(), atol=1e-4)


def test_patches_with_gaps_are_refused(tmp_path):
    with pytest.raises(SourceError, match="patches with gaps between them"):
        trainable(opened(write_net(tmp_path / "net.onnx"), "patches.hop=100"))
