"""Contributions of every head against PyTorch itself, and feature maps made of tokens."""

import copy

import numpy as np
import pytest
from later import later
from tiny_model import tiny_adapter

from earmark.errors import SourceError
from earmark.evaluation.prototypes.purity import random_rotation
from earmark.export.graphs.embeddings import embeddings_model
from earmark.export.graphs.heads import facts_in
from earmark.export.training.apex.evidence import pooled_of

onnxruntime = later("onnxruntime")
torch = later("torch")
models = later("apex_models")
from_adapter = later("earmark.export.sources.adapter.source", "from_adapter")
TokenGrid = later("earmark.export.sources.token_grid", "TokenGrid")

CHANNELS, CLASSES = 16, 3


HEADS = {
    "mean": ("mean", None, None),
    "max_mean": ("max_mean", None, None),
    "attention": ("attention", 1, None),
    "attention of classes": ("attention", CLASSES, None),
    "relu network": ("max_mean", None, "ReLU"),
    "gelu network": ("mean", None, "GELU"),
    "tanh network": ("attention", 1, "Tanh"),
}


@pytest.fixture(params=list(HEADS))
def adapter(request):
    """The tiny model with another head."""
    pooling, maps, activation = HEADS[request.param]
    made = tiny_adapter(decoder=False)
    torch.manual_seed(7)
    attention = None if maps is None else models.Attention(maps).eval()
    made.pooling, made.attention = pooling, attention
    if activation is None:
        head = made.linear
    else:
        made.linear, made.network = None, models.network(getattr(torch.nn, activation)()).eval()
        head = made.network
    made.head = models.Chained(models.Pooling(pooling, attention), head).eval()
    return made


def answers(adapter, rotation, folder):
    """What the graph and PyTorch say of two sounds: (outputs, Z, logits)."""
    source = from_adapter(adapter)
    spec = source.feature_map
    path = folder / "embeddings.onnx"
    stage = embeddings_model(
        path,
        spec,
        source.taps[spec.tap],
        source.head,
        rotation,
        attention_dims=source.taps[spec.attention] if spec.attention else None,
    )
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        logits, *taps = source.classifier(source.frontend(0.3 * torch.randn(2, 16000, generator=generator)))
    given = dict(zip(source.taps, taps, strict=True))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in stage.outputs]
    feeds = {tensor.name: given[tensor.name].numpy() for tensor in stage.inputs}
    return dict(zip(names, session.run(names, feeds), strict=True)), given["feature_map"], logits


def expected(adapter, z, u):
    """Contributions [B, K, C] by autograd: dlogit/dv U^-1 times U v, v what the head pools."""
    pool, head = adapter.head.pool, adapter.head.head
    pooled = pool(z).detach().double().requires_grad_()
    logits = copy.deepcopy(head).double()(pooled)
    logits = logits if logits.dim() == 2 else logits.diagonal(dim1=1, dim2=2)
    u = torch.from_numpy(u).double()
    rows = []
    for k in range(CLASSES):
        (slope,) = torch.autograd.grad(logits[:, k].sum(), pooled, retain_graph=True)
        v = pooled if pooled.dim() == 2 else pooled[:, k]
        rows.append((slope if slope.dim() == 2 else slope[:, k]) @ torch.linalg.inv(u) * (v @ u.T))
    return torch.stack(rows, dim=1).detach().numpy()


def evidence(adapter, z, u):
    """The same of what U is learnt from: slopes and pooled vectors in NumPy."""
    source = from_adapter(adapter)
    spec, back = source.feature_map, np.linalg.inv(u.astype(np.float64))
    taps = {}
    if spec.attention:
        with torch.no_grad():
            taps = {spec.attention: adapter.attention(z).numpy()}
    rows = []
    for sound in range(len(z)):
        one = {name: tap[sound : sound + 1] for name, tap in taps.items()}
        pooled = pooled_of(z[sound].numpy(), spec, one)[0]
        own = [pooled[min(k, len(pooled) - 1)][None] for k in range(CLASSES)]
        rows.append([(source.head.slopes(v, k) @ back) * (v[0] @ u.T) for k, v in enumerate(own)])
    return np.array(rows)


@pytest.mark.parametrize("kind", ["raw", "rotation", "invertible"])
def test_contributions_are_autograds_and_add_up(adapter, kind, tmp_path):
    """W'_kc (U v)_c of linear heads sums with the bias to PyTorch's own logit; networks: gradient times v."""
    u = {
        "raw": np.eye(CHANNELS, dtype=np.float32),
        "rotation": random_rotation(CHANNELS, 0),
        "invertible": random_rotation(CHANNELS, 1) + 0.1 * random_rotation(CHANNELS, 2),
    }[kind]
    made, z, logits = answers(adapter, None if kind == "raw" else u, tmp_path)
    np.testing.assert_allclose(made["contributions"], expected(adapter, z, u), atol=2e-4)
    np.testing.assert_allclose(made["contributions"], evidence(adapter, z, u), atol=2e-4)
    spec = from_adapter(adapter).feature_map
    assert spec.additive != spec.gradient
    assert spec.additive == (adapter.network is None)
    if spec.additive:
        total = made["contributions"].sum(axis=-1) + made["bias"]
        np.testing.assert_allclose(total, logits.numpy(), atol=1e-3)
    else:
        assert not made["bias"].any()
    np.testing.assert_allclose(made["square"], np.einsum("cd,bdtf->btfc", u, z.numpy()), atol=1e-4)
    np.testing.assert_allclose(made["time"], made["square"].mean(axis=2), atol=1e-4)
    np.testing.assert_allclose(made["frequency"], made["square"].mean(axis=1), atol=1e-4)


def test_the_graph_can_be_built_again_from_itself(adapter, tmp_path):
    """Head and U are read back from a graph: a bundle needs no PyTorch model to get another U."""
    import onnx

    u = random_rotation(CHANNELS, 4)
    answers(adapter, u, tmp_path)
    head, rotation = facts_in(onnx.load(str(tmp_path / "embeddings.onnx")))
    np.testing.assert_array_equal(rotation, u)
    own = from_adapter(adapter).head
    assert head.linear == own.linear
    for ours, theirs in zip(head.layers, own.layers, strict=True):
        np.testing.assert_allclose(ours.weight, theirs.weight, atol=1e-5)
        np.testing.assert_array_equal(ours.bias, theirs.bias)
        assert ours.activation == theirs.activation


def test_a_head_that_is_not_what_is_declared_is_refused(adapter):
    """Pooling by another rule than the head's does not pass."""
    adapter.pooling = "mean" if adapter.pooling != "mean" else "max_mean"
    adapter.attention = None
    with pytest.raises(SourceError, match=r"differs from the head|reduced|logits"):
        from_adapter(adapter)


def test_an_unknown_head_is_localisation_only(tmp_path):
    """Without a declared head there are places, and no contributions."""
    adapter = tiny_adapter(decoder=False)
    adapter.linear, adapter.pooling = None, "other"
    u = random_rotation(CHANNELS, 0)
    made, _, _ = answers(adapter, u, tmp_path)
    assert set(made) == {"square", "time", "frequency"}
    spec = from_adapter(adapter).feature_map
    assert not spec.additive
    assert not spec.gradient


def token_adapter(grid, *, order="frequency", from_class=False):
    """The tiny model with a transformer in place of its convolutions."""
    adapter = tiny_adapter(decoder=False)
    adapter.feature_map = models.Patches(order).eval()
    adapter.head = models.TokenHead(adapter.linear, from_class).eval()
    adapter.tokens = grid
    adapter.pooling = "other" if from_class else "mean"
    if from_class:
        adapter.linear = None
    return adapter


@pytest.mark.parametrize("order", ["frequency", "time"])
def test_tokens_become_a_map_and_add_up(order, tmp_path):
    """Tokens in the declared order pass the impulse check, and the mean of them is additive."""
    adapter = token_adapter(TokenGrid(rows=5, order=order), order=order)
    u = random_rotation(CHANNELS, 0)
    made, z, logits = answers(adapter, u, tmp_path)
    assert z.shape[1:] == (CHANNELS, 25, 5)
    np.testing.assert_allclose(made["contributions"].sum(axis=-1) + made["bias"], logits.numpy(), atol=1e-3)


@pytest.mark.parametrize(
    "grid",
    [
        {"rows": 5, "order": "time"},
        {"rows": 25, "order": "time"},
        {"rows": 7, "skip": 1},
        {"rows": 1, "skip": 2},
        {"rows": 6, "skip": 0},
    ],
)
def test_tokens_in_another_order_are_refused(grid):
    """An axis taken for the other, or a token too many, is found out."""
    adapter = token_adapter(TokenGrid(**grid))
    adapter.bands_hz = [(100.0 * row, 100.0 * (row + 1)) for row in range(grid["rows"])]
    with pytest.raises(SourceError, match=r"impulse|tokens"):
        from_adapter(adapter)


def test_a_class_tokens_head_is_localisation_only():
    """What the class token says is no sum over places."""
    source = from_adapter(token_adapter(TokenGrid(rows=5), from_class=True))
    assert source.head is None
    assert not source.feature_map.additive
    # Of these last tokens the class token alone is read: that is said.
    assert any("do not depend on the tokens" in doubt for doubt in source.doubts)
    assert not from_adapter(token_adapter(TokenGrid(rows=5))).doubts
