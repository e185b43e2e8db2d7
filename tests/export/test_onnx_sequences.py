"""Operators over time in `GraphModule`, beside ONNX Runtime: recurrent layers, attention, spectra."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from one_operator import by_runtime, case, check_gradient, check_values, one, real  # noqa: E402

from earmark.export.onnx_modules.module import GraphModule  # noqa: E402

# Steps, rows, inputs; and how many of the steps are a row's own.
STEPS = (4, 3, 2)
LENGTHS = np.array([4, 1, 2], np.int32)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def layer(operator, directions=1, scale=1):
    """Its weights of inputs, of states and its biases, of hidden size 5."""
    rows = 5 * GATES[operator]
    return scale * real(directions, rows, 2), real(directions, rows, 5), real(directions, 2 * rows)


def recurrent(operator, constants, id="", **attributes):  # noqa: A002 (as pytest.param has it)
    if len(constants[0]) == 2:
        attributes["direction"] = "bidirectional"
    return case(operator, STEPS, *constants, id=id, hidden_size=5, **attributes)


def states(directions, count, size=5):
    return [real(directions, 3, size) for _ in range(count)]


HARD = {
    "activations": ["HardSigmoid", "Softsign", "Tanh"],
    "activation_alpha": [0.3],
    "activation_beta": [0.4],
}
LEAKY = {"activations": ["LeakyRelu"], "activation_alpha": [0.3], "direction": "reverse"}
PEEPHOLES = (LENGTHS, *states(2, 2), real(2, 15))
# Keys, values, no mask, and those of three steps before.
PAST = (real(2, 5, 8), real(2, 5, 8), None, real(2, 2, 3, 4), real(2, 2, 3, 4))
AT = np.array([range(5), range(4, 9)])
PAIRS = {"id": "RotaryEmbedding-pairs", "interleaved": 1}


def turns(*shape):
    """Cosines and sines, or what stands for them."""
    return real(*shape), real(*shape)


SEQUENCES = [
    recurrent("LSTM", layer("LSTM", 2), outputs=3),
    recurrent("LSTM", (*layer("LSTM", 2), *PEEPHOLES), "LSTM-peepholes", outputs=3),
    recurrent("LSTM", layer("LSTM", scale=3), "LSTM-coupled", clip=0.7, input_forget=1, outputs=3, **HARD),
    recurrent("GRU", layer("GRU"), linear_before_reset=1, outputs=2),
    recurrent("GRU", layer("GRU")[:2], "GRU-before", direction="reverse"),
    recurrent("GRU", (*layer("GRU", scale=3), LENGTHS), "GRU-clip", clip=0.7, outputs=2),
    recurrent("RNN", layer("RNN", 2), outputs=2),
    recurrent("RNN", (*layer("RNN")[:2], None, LENGTHS, *states(1, 1)), "RNN-lengths", outputs=2, **LEAKY),
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
        "Attention", (2, 5, 8), *PAST, id="Attention-past", q_num_heads=2, kv_num_heads=2, outputs=3, opset=23
    ),
    case("RotaryEmbedding", (2, 3, 5, 8), *turns(9, 3), AT, rotary_embedding_dim=6, opset=23),
    case("RotaryEmbedding", (2, 5, 16), *turns(2, 5, 4), **PAIRS, num_heads=2, opset=23),
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
    case("MelWeightMatrix", np.array(12), *map(np.array, (128, 16000)), *map(np.float32, (60, 7600))),
]


@pytest.mark.parametrize(("operator", "x", "constants", "attributes"), CONSTANT)
def test_what_is_computed_of_sizes(operator, x, constants, attributes):
    model = one(operator, x, *constants, **attributes)
    (answer,) = GraphModule(model, "one.onnx")(torch.from_numpy(x))
    np.testing.assert_allclose(answer.numpy(), by_runtime(model, x)[0], rtol=1e-5, atol=1e-7)
