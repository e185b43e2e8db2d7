"""Operators over time in `GraphModule`, beside ONNX Runtime: recurrent layers, attention, spectra."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from one_operator import by_runtime, case, check_gradient, check_values, one, real, whole  # noqa: E402

from earmark.export.onnx_modules.module import GraphModule  # noqa: E402

SEQUENCES = [
    case(
        "LSTM",
        (4, 2, 3),
        real(2, 20, 3),
        real(2, 20, 5),
        real(2, 40),
        hidden_size=5,
        direction="bidirectional",
        outputs=3,
    ),
    case(
        "GRU",
        (4, 2, 3),
        real(1, 15, 3),
        real(1, 15, 5),
        real(1, 30),
        hidden_size=5,
        linear_before_reset=1,
        outputs=2,
    ),
    case(
        "GRU", (4, 2, 3), real(1, 15, 3), real(1, 15, 5), id="GRU-before", hidden_size=5, direction="reverse"
    ),
    case(
        "RNN",
        (4, 2, 3),
        real(2, 5, 3),
        real(2, 5, 5),
        real(2, 10),
        hidden_size=5,
        direction="bidirectional",
        outputs=2,
    ),
    case(
        "RNN",
        (4, 3, 2),
        real(1, 5, 2),
        real(1, 5, 5),
        None,
        np.array([1, 4, 2], np.int32),
        real(1, 3, 5),
        id="RNN-lengths",
        hidden_size=5,
        activations=["LeakyRelu"],
        activation_alpha=[0.3],
        direction="reverse",
        outputs=2,
    ),
    case(
        "LSTM",
        (4, 3, 2),
        real(2, 20, 2),
        real(2, 20, 5),
        real(2, 40),
        np.array([4, 1, 2], np.int32),
        real(2, 3, 5),
        real(2, 3, 5),
        real(2, 15),
        id="LSTM-peepholes",
        hidden_size=5,
        direction="bidirectional",
        outputs=3,
    ),
    case(
        "LSTM",
        (4, 3, 2),
        3 * real(1, 20, 2),
        real(1, 20, 5),
        real(1, 40),
        id="LSTM-coupled",
        hidden_size=5,
        clip=0.7,
        input_forget=1,
        outputs=3,
        activations=["HardSigmoid", "Softsign", "Tanh"],
        activation_alpha=[0.3],
        activation_beta=[0.4],
    ),
    case(
        "GRU",
        (4, 3, 2),
        3 * real(1, 15, 2),
        real(1, 15, 5),
        real(1, 30),
        np.array([4, 1, 2], np.int32),
        id="GRU-clip",
        hidden_size=5,
        clip=0.7,
        outputs=2,
    ),
    case("STFT", (2, 32, 2), np.int64(4).reshape(()), real(8), id="STFT-complex", onesided=0),
    *(
        case("Attention", (2, 4, 5, 6), *constants, id=f"Attention-{name}", opset=23, **attributes)
        for name, constants, attributes in (
            ("plain", (real(2, 4, 7, 6), real(2, 4, 7, 3)), {}),
            ("few", (real(2, 2, 7, 6), real(2, 2, 7, 3), real(5, 7)), {"scale": 0.3, "softcap": 1.5}),
            ("mask", (real(2, 4, 5, 6), real(2, 4, 5, 3), np.tri(5, dtype=bool)), {}),
            ("causal", (real(2, 4, 5, 6), real(2, 4, 5, 3)), {"is_causal": 1}),
        )
    ),
    case(
        "Attention",
        (2, 5, 8),
        real(2, 5, 8),
        real(2, 5, 8),
        None,
        real(2, 2, 3, 4),
        real(2, 2, 3, 4),
        id="Attention-past",
        opset=23,
        q_num_heads=2,
        kv_num_heads=2,
        outputs=3,
    ),
    case(
        "RotaryEmbedding",
        (2, 3, 5, 8),
        real(9, 3),
        real(9, 3),
        whole(*range(5), *range(4, 9)).reshape(2, 5),
        opset=23,
        rotary_embedding_dim=6,
    ),
    case(
        "RotaryEmbedding",
        (2, 5, 16),
        real(2, 5, 4),
        real(2, 5, 4),
        id="RotaryEmbedding-pairs",
        opset=23,
        interleaved=1,
        num_heads=2,
    ),
    case("DFT", (2, 8, 1), None, np.int64(1).reshape(()), onesided=1),
    case("STFT", (2, 32), np.int64(4).reshape(()), real(8)),
]


@pytest.mark.parametrize(("operator", "shape", "constants", "attributes"), SEQUENCES)
def test_operator_and_gradient(operator, shape, constants, attributes):
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    check_gradient(check_values(one(operator, x, *constants, **attributes), x), x)


CONSTANT = [
    *(
        case(f"{n}Window", np.array(9, np.int64), id=f"{n}Window-{p}", periodic=p)
        for n in ("Hann", "Hamming", "Blackman")
        for p in (0, 1)
    ),
    case(
        "MelWeightMatrix",
        np.array(12, np.int64),
        np.int64(128).reshape(()),
        np.int64(16000).reshape(()),
        np.float32(60).reshape(()),
        np.float32(7600).reshape(()),
    ),
]


@pytest.mark.parametrize(("operator", "x", "constants", "attributes"), CONSTANT)
def test_what_is_computed_of_sizes(operator, x, constants, attributes):
    model = one(operator, x, *constants, **attributes)
    (answer,) = GraphModule(model, "one.onnx")(torch.from_numpy(x))
    np.testing.assert_allclose(answer.numpy(), by_runtime(model, x)[0], rtol=1e-5, atol=1e-7)
