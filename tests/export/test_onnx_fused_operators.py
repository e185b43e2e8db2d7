"""Operators of ONNX Runtime's own (com.microsoft) in `GraphModule`, as its optimiser writes them."""

import numpy as np
import pytest
from one_operator import case, check_gradient, check_values, one, real

TOKENS = (2, 5, 8)
LENGTHS, RANGES = np.array([5, 3], np.int32), np.array([5, 4, 0, 1], np.int32)
SEEN = np.array([[1, 1, 1, 1, 1], [0, 1, 1, 0, 1]], np.int32)


def attention(name, mask=None, added=None, sizes=(8, 8, 8), **attributes):
    constants = (real(8, sum(sizes)), real(sum(sizes)), mask, None, added)
    return case("Attention", TOKENS, *constants, id=f"Attention-{name}", num_heads=2, **attributes)


def heads(name, *constants, **attributes):
    attributes = {"num_heads": 2, **attributes}
    return case("MultiHeadAttention", TOKENS, *constants, id=f"MultiHeadAttention-{name}", **attributes)


FUSED = [
    *(case(n, TOKENS, real(8)) for n in ("BiasGelu", "FastGelu")),
    *(case(n, TOKENS, id=f"{n}-alone") for n in ("Gelu", "FastGelu", "QuickGelu")),
    case("SkipLayerNormalization", TOKENS, real(*TOKENS), real(8), real(8), real(8), epsilon=1e-5),
    case("SkipSimplifiedLayerNormalization", TOKENS, real(*TOKENS), real(8), real(8), epsilon=1e-5),
    case(
        "FusedConv",
        (2, 3, 6, 7),
        real(4, 3, 3, 3),
        real(4),
        real(2, 4, 6, 7),
        pads=[1, 1, 1, 1],
        activation="Relu",
    ),
    case(
        "FusedConv",
        (2, 3, 17),
        real(4, 3, 3),
        id="FusedConv-params",
        activation="LeakyRelu",
        activation_params=[0.2],
    ),
    case("FusedGemm", (3, 8), real(4, 8), real(4), transB=1, activation="LeakyRelu", activation_alpha=0.3),
    case("FusedMatMul", TOKENS, real(2, 4, 8), transB=1, alpha=0.5),
    case("FusedMatMul", (2, 3, 5, 8), real(8, 2, 3, 4), id="FusedMatMul-batch", transBatchB=1),
    attention("plain"),
    attention("lengths", LENGTHS),
    attention("ranges", RANGES),
    attention("seen", SEEN),
    attention("each", np.tri(5, dtype=np.int32)[None].repeat(2, 0)),
    attention("causal", unidirectional=1),
    attention("added", None, real(2, 2, 5, 5), scale=0.4),
    attention("sizes", sizes=(6, 6, 10), qkv_hidden_sizes=[6, 6, 10]),
    heads("plain", real(2, 7, 8), real(2, 7, 12), real(28)),
    heads("seen", real(*TOKENS), real(*TOKENS), None, SEEN),
    heads("lengths", real(*TOKENS), real(*TOKENS), None, LENGTHS),
    heads("added", real(2, 2, 7, 4), real(2, 2, 7, 4), None, None, real(1, 2, 5, 7), scale=0.4),
    heads("causal", real(*TOKENS), real(*TOKENS), unidirectional=1),
    case("RotaryEmbedding", TOKENS, np.array([2]), real(9, 2), real(9, 2)),
    case(
        "RotaryEmbedding",
        (2, 2, 5, 4),
        np.arange(10).reshape(2, 5) % 7,
        real(9, 2),
        real(9, 2),
        id="RotaryEmbedding-pairs",
        interleaved=1,
    ),
]


@pytest.mark.parametrize(("operator", "shape", "constants", "attributes"), FUSED)
def test_fused_operator_and_gradient(operator, shape, constants, attributes):
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    module = check_values(one(operator, x, *constants, domain="com.microsoft", **attributes), x)
    check_gradient(module, x)


def test_onnx_runtimes_own_normalisation_has_no_domain():
    x = real(*TOKENS)
    check_gradient(check_values(one("SimplifiedLayerNormalization", x, real(8), epsilon=1e-5), x), x)
