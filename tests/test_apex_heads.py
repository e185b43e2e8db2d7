"""Contributions of every head against PyTorch itself, and feature maps made of tokens."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
from torch import nn  # noqa: E402

from earmark.errors import SourceError  # noqa: E402
from earmark.evaluation.purity import random_rotation  # noqa: E402
from earmark.export.embeddings import embeddings_model  # noqa: E402
from earmark.export.heads import Rotation, facts_in  # noqa: E402
from earmark.export.sources.factory import from_adapter  # noqa: E402
from earmark.export.sources.tokens import TokenGrid  # noqa: E402

CHANNELS, CLASSES = 16, 3


class Pooling(nn.Module):
    """Z [B, C, T', F'] -> v [B, C], or with attention of classes [B, K, C]."""

    def __init__(self, kind, attention=None):
        super().__init__()
        self.kind, self.attention = kind, attention

    def forward(self, z):
        if self.kind == "attention":
            weights = self.attention(z)
            return torch.einsum("btf,bctf->bc" if weights.dim() == 3 else "bktf,bctf->bkc", weights, z)
        frames = z.mean(dim=3)
        return frames.mean(dim=2) + (frames.amax(dim=2) if self.kind == "max_mean" else 0.0)


class Attention(nn.Module):
    """Softmax over the map of a 1x1 convolution; one map, or one a class."""

    def __init__(self, maps):
        super().__init__()
        self.score, self.maps = nn.Conv2d(CHANNELS, maps, 1), maps

    def forward(self, z):
        scores = 4.0 * self.score(z)
        weights = torch.softmax(scores.flatten(2), dim=2).reshape(scores.shape)
        return weights[:, 0] if self.maps == 1 else weights


class Chained(nn.Module):
    """pool, then a head; of attention of classes each class its own row."""

    def __init__(self, pool, head):
        super().__init__()
        self.pool, self.head = pool, head

    def forward(self, z):
        made = self.head(self.pool(z))
        return made if made.dim() == 2 else made.diagonal(dim1=1, dim2=2)


def network(activation):
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(CHANNELS, 12), activation, nn.Dropout(0.3), nn.Linear(12, CLASSES))


HEADS = {
    "mean": ("mean", None, None),
    "max_mean": ("max_mean", None, None),
    "attention": ("attention", 1, None),
    "attention of classes": ("attention", CLASSES, None),
    "relu network": ("max_mean", None, nn.ReLU()),
    "gelu network": ("mean", None, nn.GELU()),
    "tanh network": ("attention", 1, nn.Tanh()),
}


@pytest.fixture(params=list(HEADS))
def adapter(request, make_tiny_adapter):
    """The tiny model with another head."""
    pooling, maps, activation = HEADS[request.param]
    made = make_tiny_adapter(decoder=False)
    torch.manual_seed(7)
    attention = None if maps is None else Attention(maps).eval()
    made.pooling, made.attention = pooling, attention
    if activation is None:
        head = made.linear
    else:
        made.linear, made.network = None, network(activation).eval()
        head = made.network
    made.head = Chained(Pooling(pooling, attention), head).eval()
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


@pytest.mark.parametrize("kind", ["raw", "rotation", "invertible"])
def test_contributions_are_autograds_and_add_up(adapter, kind, tmp_path):
    """W'_kc (U v)_c of linear heads sums with the bias to PyTorch's own logit; networks: gradient times v."""
    u = {
        "raw": np.eye(CHANNELS, dtype=np.float32),
        "rotation": random_rotation(CHANNELS, 0),
        "invertible": random_rotation(CHANNELS, 1) + 0.1 * random_rotation(CHANNELS, 2),
    }[kind]
    made, z, logits = answers(adapter, None if kind == "raw" else Rotation(u, u, u), tmp_path)
    np.testing.assert_allclose(made["contributions"], expected(adapter, z, u), atol=2e-4)
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
    answers(adapter, Rotation(u, u, u), tmp_path)
    head, rotation = facts_in(onnx.load(str(tmp_path / "embeddings.onnx")))
    np.testing.assert_array_equal(rotation.square, u)
    own = from_adapter(adapter).head
    assert head.linear == own.linear
    for ours, theirs in zip(head.layers, own.layers, strict=True):
        np.testing.assert_allclose(ours.weight, theirs.weight, atol=1e-5)
        np.testing.assert_array_equal(ours.bias, theirs.bias)
        assert ours.activation == theirs.activation


def test_a_u_a_view_turns_each_map_by_its_own(make_tiny_adapter, tmp_path):
    """With three U, each map has its own channels, and each its own account of the same logit."""
    adapter = make_tiny_adapter(decoder=False)
    turned = [random_rotation(CHANNELS, seed) for seed in range(3)]
    made, z, logits = answers(adapter, Rotation(*turned), tmp_path)
    frames = z.mean(dim=3).numpy()
    np.testing.assert_allclose(made["time"], np.einsum("cd,bdt->btc", turned[1], frames), atol=1e-4)
    bands = z.mean(dim=2).numpy()
    np.testing.assert_allclose(made["frequency"], np.einsum("cd,bdf->bfc", turned[2], bands), atol=1e-4)
    for name in ("contributions", "contributions_time", "contributions_frequency"):
        np.testing.assert_allclose(made[name].sum(axis=-1) + made["bias"], logits.numpy(), atol=1e-3)
    assert np.abs(made["contributions"] - made["contributions_time"]).max() > 1e-3


def test_a_head_that_is_not_what_is_declared_is_refused(adapter):
    """Pooling by another rule than the head's does not pass."""
    adapter.pooling = "mean" if adapter.pooling != "mean" else "max_mean"
    adapter.attention = None
    with pytest.raises(SourceError, match=r"differs from the head|reduced|logits"):
        from_adapter(adapter)


def test_an_unknown_head_is_localisation_only(make_tiny_adapter, tmp_path):
    """Without a declared head there are places, and no contributions."""
    adapter = make_tiny_adapter(decoder=False)
    adapter.linear, adapter.pooling = None, "other"
    u = random_rotation(CHANNELS, 0)
    made, _, _ = answers(adapter, Rotation(u, u, u), tmp_path)
    assert set(made) == {"square", "time", "frequency"}
    spec = from_adapter(adapter).feature_map
    assert not spec.additive
    assert not spec.gradient


class Patches(nn.Module):
    """A small transformer over 4 x 8 patches of log-bands [B, T, 40]; tokens [B, 1 + N, 16]."""

    def __init__(self, order="frequency"):
        super().__init__()
        torch.manual_seed(11)
        self.order = order
        self.patch = nn.Conv2d(1, CHANNELS, (4, 8), (4, 8))
        layer = nn.TransformerEncoderLayer(CHANNELS, 4, 32, dropout=0.0, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.first = nn.Parameter(torch.randn(1, 1, CHANNELS))

    def forward(self, features):
        x = self.patch(features.unsqueeze(1))
        x = (x.transpose(2, 3) if self.order == "frequency" else x).flatten(2).transpose(1, 2)
        return self.body(torch.cat((self.first.expand(len(x), -1, -1), x), dim=1))


class TokenHead(nn.Module):
    """The mean over the placed tokens, or the class token, then a linear head."""

    def __init__(self, linear, from_class):
        super().__init__()
        self.linear, self.from_class = linear, from_class

    def forward(self, tokens):
        return self.linear(tokens[:, 0] if self.from_class else tokens[:, 1:].mean(dim=1))


def token_adapter(make_tiny_adapter, grid, *, order="frequency", from_class=False):
    """The tiny model with a transformer in place of its convolutions."""
    adapter = make_tiny_adapter(decoder=False)
    adapter.feature_map = Patches(order).eval()
    adapter.head = TokenHead(adapter.linear, from_class).eval()
    adapter.tokens = grid
    adapter.pooling = "other" if from_class else "mean"
    if from_class:
        adapter.linear = None
    return adapter


@pytest.mark.parametrize("order", ["frequency", "time"])
def test_tokens_become_a_map_and_add_up(make_tiny_adapter, order, tmp_path):
    """Tokens in the declared order pass the impulse check, and the mean of them is additive."""
    adapter = token_adapter(make_tiny_adapter, TokenGrid(rows=5, order=order), order=order)
    u = random_rotation(CHANNELS, 0)
    made, z, logits = answers(adapter, Rotation(u, u, u), tmp_path)
    assert z.shape[1:] == (CHANNELS, 25, 5)
    np.testing.assert_allclose(made["contributions"].sum(axis=-1) + made["bias"], logits.numpy(), atol=1e-3)


@pytest.mark.parametrize(
    "grid",
    [
        TokenGrid(rows=5, order="time"),
        TokenGrid(rows=25, order="time"),
        TokenGrid(rows=7, skip=1),
        TokenGrid(rows=1, skip=2),
        TokenGrid(rows=6, skip=0),
    ],
)
def test_tokens_in_another_order_are_refused(make_tiny_adapter, grid):
    """An axis taken for the other, or a token too many, is found out."""
    adapter = token_adapter(make_tiny_adapter, grid)
    adapter.bands_hz = [(100.0 * row, 100.0 * (row + 1)) for row in range(grid.rows)]
    with pytest.raises(SourceError, match=r"impulse|tokens"):
        from_adapter(adapter)


def test_a_class_tokens_head_is_localisation_only(make_tiny_adapter):
    """What the class token says is no sum over places."""
    source = from_adapter(token_adapter(make_tiny_adapter, TokenGrid(rows=5), from_class=True))
    assert source.head is None
    assert not source.feature_map.additive
