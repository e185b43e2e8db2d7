"""Quantised operators in `GraphModule`: ONNX Runtime's numbers, and gradients straight through rounding."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

torch = pytest.importorskip("torch")

from one_operator import by_runtime, real  # noqa: E402
from torch.nn import functional  # noqa: E402

from earmark.export.onnx_modules.module import GraphModule  # noqa: E402

A = np.random.default_rng(3)
IMAGE, ROWS, STEPS = (2, 3, 6, 7), (2, 5, 8), (6, 1, 4)
SCALE = np.float32(0.03)
# What x is quantised by, and, where a case has no other, the answer.
INTO = "q = QuantizeLinear(x, s, z)"
BACK = "y = DequantizeLinear(r, t, u)"
USUAL = {"s": SCALE, "z": np.uint8(120), "t": np.float32(0.05), "u": np.uint8(128)}
BY_RANGE = "q, a, b = DynamicQuantizeLinear(x)"


def int8(*shape):
    # Processors without VNNI add two products of bytes in 16 bits, which hold so much.
    return A.integers(-60, 60, shape).astype(np.int8)


def graph(shape, body, weights):
    """x -> y by nodes in ONNX's own text."""
    text = f"""<ir_version: 9, opset_import: ["" : 20, "com.microsoft" : 1]>
        g (float{list(shape)} x) => (float y) {{ {body} }}"""
    model = onnx.parser.parse_model(text)
    model.graph.output[0].ClearField("type")
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in {**USUAL, **weights}.items()
        if name in used
    )
    return model


def scaled(weight, scale, zero=0, axis=0):
    shape = [1] * weight.ndim
    if np.size(scale) > 1:
        shape[axis] = -1
    return torch.from_numpy((weight.astype(np.float64) - np.reshape(zero, shape)) * np.reshape(scale, shape))


KERNEL, EACH = int8(4, 3, 3, 3), np.array([0.01, 0.02, 0.015, 0.01], np.float32)
BIAS = A.integers(-500, 500, 4).astype(np.int32)
MATRIX, ONE, ZERO, ZEROS = int8(8, 4), np.float32(0.01), np.int8(3), np.array([3, 0, -2, 5], np.int8)
PRODUCTS = int8(8, 24)
INPUT, STATE = int8(1, 4, 20), int8(1, 5, 20)
BYTES, PACKED = A.integers(0, 256, (2, 2, 8)).astype(np.uint8), A.integers(0, 256, (4, 1, 8)).astype(np.uint8)


def attended(x):
    q, k, v = (one.unflatten(-1, (2, 4)).transpose(1, 2) for one in x.split(8, -1))
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def lstm(x):
    layer = torch.nn.LSTM(4, 5, bias=False).double()
    # PyTorch has the gates in another order.
    order = [*range(5), *range(10, 20), *range(5, 10)]
    with torch.no_grad():
        layer.weight_ih_l0.copy_(scaled(INPUT[0].T, ONE)[order])
        layer.weight_hh_l0.copy_(scaled(STATE[0].T, ONE)[order])
    return layer(x)[0][:, None]


# By operator: shape of x, nodes, weights, what they compute without rounding.
CASES = {
    "QuantizeLinear": (
        IMAGE,
        "q = QuantizeLinear<axis = 1>(x, v, o) y = DequantizeLinear<axis = 1>(q, v, o)",
        {"v": 2 * EACH[:3], "o": ZEROS[:3]},
        lambda x: x,
    ),
    "QLinearConv": (
        IMAGE,
        f"{INTO} r = QLinearConv<pads = [1, 1, 1, 1], strides = [1, 2]>(q, s, z, w, v, o, t, u, b) {BACK}",
        {"w": KERNEL, "v": EACH, "o": np.zeros(4, np.int8), "b": BIAS, "t": np.float32(0.4)},
        lambda x: functional.conv2d(x, scaled(KERNEL, EACH), None, (1, 2), 1),
    ),
    "ConvInteger": (
        IMAGE,
        f"{BY_RANGE} i = ConvInteger(q, w, b, o) f = Cast<to = 1>(i) c = Mul(a, n) y = Mul(f, c)",
        {"w": KERNEL, "o": np.int8(0), "n": ONE},
        lambda x: functional.conv2d(x, scaled(KERNEL, ONE)),
    ),
    "QLinearMatMul": (
        ROWS,
        f"{INTO} r = QLinearMatMul(q, s, z, m, n, o, t, u) {BACK}",
        {"m": MATRIX, "n": ONE, "o": ZERO, "t": np.float32(0.2)},
        lambda x: x @ scaled(MATRIX, ONE, 3),
    ),
    "MatMulInteger": (
        ROWS,
        f"{BY_RANGE} i = MatMulInteger(q, m, b, o) f = Cast<to = 1>(i) c = Mul(a, n) y = Mul(f, c)",
        {"m": MATRIX, "n": ONE, "o": ZERO},
        lambda x: x @ scaled(MATRIX, ONE, 3),
    ),
    "MatMulIntegerToFloat": (
        ROWS,
        f"{BY_RANGE} y = com.microsoft.MatMulIntegerToFloat(q, m, a, n, b, o, c)",
        {"m": MATRIX, "n": EACH, "o": ZEROS, "c": real(4)},
        lambda x: x @ scaled(MATRIX, EACH, ZEROS, 1),
    ),
    "DynamicQuantizeMatMul": (
        ROWS,
        "y = com.microsoft.DynamicQuantizeMatMul(x, m, n, o)",
        {"m": MATRIX, "n": ONE, "o": ZERO},
        lambda x: x @ scaled(MATRIX, ONE, 3),
    ),
    "QGemm": (
        (5, 8),
        f"{INTO} r = com.microsoft.QGemm<transB = 1>(q, s, z, m, v, o, b, t, u) {BACK}",
        {"m": MATRIX.T.copy(), "v": EACH, "o": np.zeros(4, np.int8), "b": BIAS, "t": np.float32(0.2)},
        lambda x: x @ scaled(MATRIX, EACH, 0, 1),
    ),
    "QLinearAdd": (
        ROWS,
        f"{INTO} r = com.microsoft.QLinearAdd(q, s, z, m, n, o, t, u) {BACK}",
        {"m": BYTES[0, 0], "n": ONE, "o": np.uint8(100)},
        lambda x: x,
    ),
    "QLinearMul": (
        ROWS,
        f"{INTO} r = com.microsoft.QLinearMul(q, s, z, q, s, z, t, u) {BACK}",
        {"t": np.float32(0.1)},
        lambda x: x * x,
    ),
    "QLinearSigmoid": (
        ROWS,
        f"{INTO} r = com.microsoft.QLinearSigmoid(q, s, z, t, u) {BACK}",
        {"t": np.float32(1 / 256), "u": np.uint8(0)},
        torch.sigmoid,
    ),
    "QLinearLeakyRelu": (
        ROWS,
        f"{INTO} r = com.microsoft.QLinearLeakyRelu<alpha = 0.2>(q, s, z, t, u) {BACK}",
        {},
        lambda x: functional.leaky_relu(x, 0.2),
    ),
    "QLinearSoftmax": (
        ROWS,
        f"{INTO} r = com.microsoft.QLinearSoftmax<axis = -1, opset = 13>(q, s, z, t, u) {BACK}",
        {"t": np.float32(1 / 256), "u": np.uint8(0)},
        lambda x: torch.softmax(x, -1),
    ),
    "QLinearConcat": (
        ROWS,
        f"{INTO} r = com.microsoft.QLinearConcat<axis = 1>(t, u, q, s, z, m, n, u) {BACK}",
        {"m": BYTES, "n": ONE},
        lambda x: functional.pad(x, (0, 0, 0, 2)),
    ),
    "QLinearAveragePool": (
        IMAGE,
        f"{INTO} r = com.microsoft.QLinearAveragePool<kernel_shape = [2, 3]>(q, s, z, t, u) {BACK}",
        {},
        lambda x: functional.avg_pool2d(x, (2, 3), 1),
    ),
    "QLinearGlobalAveragePool": (
        IMAGE,
        f"{INTO} r = com.microsoft.QLinearGlobalAveragePool(q, s, z, t, u) {BACK}",
        {"t": np.float32(0.01)},
        lambda x: x.mean((2, 3), keepdim=True),
    ),
    "NhwcMaxPool": (
        IMAGE,
        f"{INTO} r = com.microsoft.NhwcMaxPool<kernel_shape = [2, 3]>(q) y = DequantizeLinear(r, s, z)",
        {},
        lambda x: functional.max_pool2d(x.movedim(-1, 1), (2, 3), 1).movedim(1, -1),
    ),
    "QAttention": (
        ROWS,
        f"{INTO} y = com.microsoft.QAttention<num_heads = 2>(q, m, b, s, n, k, z, o)",
        {"m": PRODUCTS, "b": np.zeros(24, np.float32), "n": ONE, "k": np.array([5, 5], np.int32), "o": ZERO},
        lambda x: attended(x @ scaled(PRODUCTS, ONE, 3)),
    ),
    "DynamicQuantizeLSTM": (
        STEPS,
        "y = com.microsoft.DynamicQuantizeLSTM<hidden_size = 5>(x, w, r, , , , , , n, o, n, o)",
        {"w": INPUT, "r": STATE, "n": ONE[None], "o": np.array([0], np.int8)},
        lstm,
    ),
    "MatMulNBits": (
        ROWS,
        "y = com.microsoft.MatMulNBits<N = 4, K = 8, bits = 4, block_size = 16>(x, m, n)",
        {"m": PACKED, "n": EACH},
        lambda x: x @ scaled(np.stack([PACKED & 15, PACKED >> 4], -1).reshape(4, 16)[:, :8], EACH, 8).T,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_straight_through(name):
    shape, body, weights, plain = CASES[name]
    model = graph(shape, body, weights)
    x = A.uniform(-2, 2, shape).astype(np.float32)
    given = torch.from_numpy(x).requires_grad_()
    (ours,) = GraphModule(model, "q.onnx")(given)
    (theirs,) = by_runtime(model, x)
    assert ours.shape == theirs.shape
    # Numbers half way between two may fall either way, by one step of the answer.
    apart = np.abs(ours.detach().numpy() - theirs)
    step = float({**USUAL, **weights}["t"])
    assert apart.max() <= 1.01 * step
    assert (apart > step / 100).mean() <= 0.05
    # The gradient is that of the plain function where rounding moves x to.
    weigh = torch.from_numpy(np.random.default_rng(4).standard_normal(ours.shape))
    (gradient,) = torch.autograd.grad((ours * weigh).sum(), given)
    moved = torch.round(given.detach().double() / SCALE) * SCALE if INTO in body else given.detach().double()
    moved.requires_grad_()
    (expected,) = torch.autograd.grad((plain(moved) * weigh).sum(), moved)
    np.testing.assert_allclose(
        gradient.numpy(), expected.numpy(), rtol=0.02, atol=0.02 * float(expected.abs().max())
    )


def test_no_gradient_where_numbers_are_cut_off():
    model = graph((3,), f"{INTO} y = DequantizeLinear(q, s, z)", {"z": np.uint8(0)})
    x = torch.tensor([-1.0, 2.0, 100.0], requires_grad=True)
    (answer,) = GraphModule(model, "q.onnx")(x)
    assert answer.tolist() == pytest.approx([0.0, 67 * 0.03, 255 * 0.03])
    assert torch.autograd.grad(answer.sum(), x)[0].tolist() == pytest.approx([0.0, 1.0, 0.0])


@pytest.mark.parametrize("kind", [onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.UINT16])
def test_weights_in_blocks_and_of_few_bits(kind):
    """Each block of two rows of a [4, 3] has a scale and a zero point."""
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "v", "o"], ["d"], axis=0, block_size=2),
        helper.make_node("Mul", ["d", "x"], ["y"]),
    ]
    weights = [
        helper.make_tensor("w", kind, (4, 3), np.arange(12) % 8),
        helper.make_tensor("o", kind, (2, 3), [1, 0, 2, 0, 1, 1]),
        numpy_helper.from_array(np.arange(1, 7, dtype=np.float32).reshape(2, 3) / 10, "v"),
    ]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4, 3]) for name in "xy"]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], weights),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    x = real(4, 3)
    (answer,) = GraphModule(model, "w.onnx")(torch.from_numpy(x))
    np.testing.assert_allclose(answer.numpy(), by_runtime(model, x)[0], rtol=1e-6)
