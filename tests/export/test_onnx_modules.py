"""Every operator of `GraphModule` against ONNX Runtime, and its gradient against finite differences."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from earmark.errors import SourceError

torch = pytest.importorskip("torch")

from one_operator import by_runtime, check_gradient, check_values, one, real, whole  # noqa: E402

from earmark.export.onnx_modules import supported  # noqa: E402
from earmark.export.onnx_modules.module import GraphModule  # noqa: E402
from earmark.export.onnx_modules.operators import KINDS, REAL, registered  # noqa: E402

IMAGE, SOUND, ROWS = (2, 3, 6, 7), (2, 3, 17), (2, 5)


SMOOTH = [
    *(pytest.param(name, IMAGE, (), {}, id=name) for name in ("Erf", "Exp", "Neg", "Sigmoid", "Softplus")),
    *(pytest.param(name, IMAGE, (), {}, id=name) for name in ("Tanh", "Sin", "Cos", "Softsign", "Mish")),
    *(pytest.param(n, IMAGE, (), {}, id=n) for n in ("Relu", "Abs", "LeakyRelu", "Elu", "Selu", "Celu")),
    *(pytest.param(n, IMAGE, (), {}, id=n) for n in ("HardSigmoid", "HardSwish", "ThresholdedRelu")),
    pytest.param("Gelu", IMAGE, (), {}, id="Gelu"),
    pytest.param("Gelu", IMAGE, (), {"approximate": "tanh"}, id="Gelu-tanh"),
    pytest.param("PRelu", IMAGE, (real(3, 1, 1),), {}, id="PRelu"),
    *(pytest.param(n, IMAGE, (real(7),), {}, id=n) for n in ("Add", "Sub", "Mul", "Div")),
    *(pytest.param(n, IMAGE, (real(3, 1, 1), real(7)), {}, id=n) for n in ("Max", "Min", "Sum", "Mean")),
    pytest.param("Pow", IMAGE, (np.float32(2.0).reshape(()),), {}, id="Pow"),
    pytest.param("Clip", IMAGE, (np.float32(-0.5).reshape(()), np.float32(0.4).reshape(())), {}, id="Clip"),
    pytest.param("Clip", IMAGE, (None, np.float32(0.4).reshape(())), {}, id="Clip-high"),
    # Layers.
    pytest.param("Conv", IMAGE, (real(4, 3, 3, 3), real(4)), {"pads": [1, 1, 1, 1]}, id="Conv"),
    pytest.param(
        "Conv",
        IMAGE,
        (real(6, 1, 2, 3),),
        {"group": 3, "strides": [2, 1], "pads": [1, 0, 0, 1], "dilations": [1, 2]},
        id="Conv-group",
    ),
    pytest.param(
        "Conv", SOUND, (real(4, 3, 4), real(4)), {"auto_pad": "SAME_UPPER", "strides": [3]}, id="Conv-same"
    ),
    pytest.param("Conv", SOUND, (real(4, 3, 4),), {"auto_pad": "SAME_LOWER"}, id="Conv-lower"),
    pytest.param(
        "ConvTranspose",
        SOUND,
        (real(3, 4, 4), real(4)),
        {"strides": [2], "pads": [1, 1], "output_padding": [1]},
        id="ConvTranspose",
    ),
    pytest.param("ConvTranspose", IMAGE, (real(3, 2, 3, 2),), {"strides": [2, 3]}, id="ConvTranspose-2d"),
    pytest.param(
        "MaxPool", IMAGE, (), {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}, id="MaxPool"
    ),
    pytest.param(
        "MaxPool", SOUND, (), {"kernel_shape": [3], "strides": [2], "ceil_mode": 1}, id="MaxPool-ceil"
    ),
    pytest.param("AveragePool", IMAGE, (), {"kernel_shape": [2, 3], "strides": [2, 2]}, id="AveragePool"),
    pytest.param(
        "AveragePool",
        IMAGE,
        (),
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]},
        id="AveragePool-pads",
    ),
    pytest.param(
        "AveragePool",
        IMAGE,
        (),
        {
            "kernel_shape": [3, 3],
            "pads": [1, 1, 1, 1],
            "strides": [2, 2],
            "count_include_pad": 1,
            "ceil_mode": 1,
        },
        id="AveragePool-ceil",
    ),
    pytest.param(
        "AveragePool", IMAGE, (), {"kernel_shape": [2, 2], "dilations": [2, 3]}, id="AveragePool-19"
    ),
    *(pytest.param(n, IMAGE, (), {}, id=n) for n in ("GlobalAveragePool", "GlobalMaxPool")),
    pytest.param(
        "BatchNormalization",
        IMAGE,
        (real(3), real(3), real(3), real(3) ** 2 + 0.5),
        {},
        id="BatchNormalization",
    ),
    pytest.param(
        "InstanceNormalization", IMAGE, (real(3), real(3)), {"epsilon": 1e-3}, id="InstanceNormalization"
    ),
    pytest.param("LayerNormalization", SOUND, (real(17), real(17)), {}, id="LayerNormalization"),
    pytest.param("LayerNormalization", SOUND, (real(3, 17),), {"axis": 1}, id="LayerNormalization-axis"),
    pytest.param("LpNormalization", SOUND, (), {"axis": 1}, id="LpNormalization"),
    # Products.
    pytest.param("MatMul", SOUND, (real(17, 4),), {}, id="MatMul"),
    pytest.param("Gemm", ROWS, (real(4, 5), real(4)), {"transB": 1, "alpha": 0.5, "beta": 2.0}, id="Gemm"),
    pytest.param("Einsum", SOUND, (real(3, 4),), {"equation": "bct,cd->bdt"}, id="Einsum"),
    # Reductions.
    *(
        pytest.param(f"Reduce{n}", IMAGE, (whole(1, -1),), {"keepdims": 0}, id=n)
        for n in ("Mean", "Sum", "Max", "Min", "L1", "L2", "SumSquare", "LogSumExp", "Prod")
    ),
    pytest.param("ReduceMean", IMAGE, (), {}, id="Mean-all"),
    *(pytest.param(n, SOUND, (), {"axis": 1}, id=n) for n in ("Softmax", "LogSoftmax")),
    pytest.param("CumSum", SOUND, (np.int64(2).reshape(()),), {"reverse": 1, "exclusive": 1}, id="CumSum"),
    # Shapes.
    pytest.param("Reshape", IMAGE, (whole(0, -1, 7),), {}, id="Reshape"),
    pytest.param("Flatten", IMAGE, (), {"axis": 2}, id="Flatten"),
    pytest.param("Transpose", IMAGE, (), {"perm": [0, 3, 1, 2]}, id="Transpose"),
    pytest.param("Unsqueeze", SOUND, (whole(0, -1),), {}, id="Unsqueeze"),
    pytest.param("Squeeze", (2, 1, 3, 1), (whole(-1),), {}, id="Squeeze"),
    pytest.param("Slice", SOUND, (whole(-9, 0), whole(100, 2), whole(2, 1), whole(2, 1)), {}, id="Slice"),
    pytest.param("Slice", SOUND, (whole(-1), whole(-1000), whole(2), whole(-2)), {}, id="Slice-backwards"),
    pytest.param("Slice", SOUND, (whole(12), whole(3), whole(2), whole(-3)), {}, id="Slice-back-part"),
    pytest.param("Gather", SOUND, (whole(0, -1, 2, 2).reshape(2, 2),), {"axis": 1}, id="Gather"),
    pytest.param(
        "GatherElements", ROWS, (whole(0, -1, 2, 1).reshape(2, 2),), {"axis": 1}, id="GatherElements"
    ),
    pytest.param("GatherND", SOUND, (whole(0, 1, 1, 2).reshape(2, 2),), {}, id="GatherND"),
    pytest.param("ScatterND", ROWS, (whole(1).reshape(1, 1), real(1, 5)), {}, id="ScatterND"),
    pytest.param(
        "GatherND", (2, 3, 4), (whole(0, 2, 1, 1).reshape(2, 2, 1),), {"batch_dims": 1}, id="GatherND-b"
    ),
    *(
        pytest.param(
            "ScatterND",
            (3, 4, 2),
            (whole(2, 1, 0, -1).reshape(2, 2), real(2, 2)),
            {"reduction": how},
            id=f"ScatterND-{how}",
        )
        for how in ("none", "add", "mul", "max", "min")
    ),
    *(
        pytest.param(
            "ScatterElements",
            ROWS,
            (whole(4, -2, 0, 2).reshape(2, 2), real(2, 2)),
            {"axis": 1, "reduction": how},
            id=f"ScatterElements-{how}",
        )
        for how in ("none", "add", "mul", "max", "min")
    ),
    pytest.param("Scatter", ROWS, (whole(1, 0, 0, 1).reshape(2, 2), real(2, 2)), {"opset": 10}, id="Scatter"),
    pytest.param("ReverseSequence", (4, 3, 2), (whole(1, 4, 3),), {}, id="ReverseSequence"),
    pytest.param(
        "ReverseSequence",
        (3, 4, 2),
        (whole(1, 4, 3),),
        {"batch_axis": 0, "time_axis": 1},
        id="ReverseSequence-rows",
    ),
    pytest.param("Compress", SOUND, (np.array([True, False, True]),), {"axis": 1}, id="Compress"),
    pytest.param("Compress", ROWS, (np.array([False, True, False, True]),), {}, id="Compress-all"),
    pytest.param(
        "LpPool", IMAGE, (), {"kernel_shape": [2, 3], "strides": [1, 2], "pads": [1, 0, 0, 1]}, id="LpPool"
    ),
    pytest.param("LpPool", SOUND, (), {"kernel_shape": [3], "p": 3}, id="LpPool-3"),
    pytest.param("GlobalLpPool", IMAGE, (), {"p": 3}, id="GlobalLpPool"),
    pytest.param("Shrink", IMAGE, (), {"lambd": 0.3, "bias": 0.2}, id="Shrink"),
    pytest.param("Expand", (2, 1, 3), (whole(4, 1, 5, 1),), {}, id="Expand"),
    pytest.param("Tile", ROWS, (whole(2, 3),), {}, id="Tile"),
    pytest.param("Trilu", SOUND, (np.int64(1).reshape(()),), {"upper": 0}, id="Trilu"),
    pytest.param("Pad", IMAGE, (whole(0, 0, 1, -2, 0, 1, 0, 3), np.float32(0.5).reshape(())), {}, id="Pad"),
    pytest.param(
        "Pad", IMAGE, (whole(2, 3, 1, 4), None, whole(-1, 2)), {"mode": "reflect"}, id="Pad-reflect"
    ),
    pytest.param("Pad", SOUND, (whole(2, 3), None, whole(2)), {"mode": "edge"}, id="Pad-edge"),
    pytest.param("Pad", SOUND, (whole(2, 3), None, whole(2)), {"mode": "wrap"}, id="Pad-wrap"),
    pytest.param("Resize", IMAGE, (None, None, whole(2, 3, 9, 4)), {"mode": "nearest"}, id="Resize-nearest"),
    pytest.param(
        "Resize",
        IMAGE,
        (None, np.array([1, 1, 2, 1.5], np.float32)),
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
        id="Resize-linear",
    ),
    pytest.param(
        "Resize",
        SOUND,
        (None, None, whole(2, 3, 33)),
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        id="Resize-corners",
    ),
    pytest.param(
        "Resize",
        SOUND,
        (None, np.array([1, 1, 3], np.float32)),
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        id="Resize-floor",
    ),
    pytest.param("DepthToSpace", (1, 8, 2, 3), (), {"blocksize": 2}, id="DepthToSpace"),
    pytest.param("SpaceToDepth", (2, 3, 4, 6), (), {"blocksize": 2}, id="SpaceToDepth"),
    pytest.param("Asinh", IMAGE, (), {}, id="Asinh"),
    pytest.param("MeanVarianceNormalization", IMAGE, (), {}, id="MeanVarianceNormalization"),
    pytest.param("RMSNormalization", SOUND, (real(17),), {"opset": 23}, id="RMSNormalization"),
    pytest.param("DepthToSpace", (1, 8, 2, 3), (), {"blocksize": 2, "mode": "CRD"}, id="DepthToSpace-CRD"),
]


@pytest.mark.parametrize(("operator", "shape", "constants", "attributes"), SMOOTH)
def test_operator_and_gradient(operator, shape, constants, attributes):
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    check_gradient(check_values(one(operator, x, *constants, **attributes), x), x)


DISCRETE = [
    *(pytest.param(n, real(2, 5), (real(5),), {}, id=n) for n in ("Greater", "Less", "Equal", "LessOrEqual")),
    *(pytest.param(n, real(2, 5) * 3, (), {}, id=n) for n in ("Floor", "Ceil", "Round", "Sign", "IsNaN")),
    pytest.param("Not", real(5) > 0, (), {}, id="Not"),
    pytest.param("Div", whole(7, -7, 9), (whole(2, 2, -4),), {}, id="Div-whole"),
    pytest.param("Mod", whole(7, -7, 9), (whole(2, 3, -4),), {}, id="Mod"),
    pytest.param("Shape", real(2, 5, 3), (), {"start": 1}, id="Shape"),
    pytest.param("Size", real(2, 5, 3), (), {}, id="Size"),
    pytest.param("ArgMax", real(2, 5, 3), (), {"axis": 1, "keepdims": 0}, id="ArgMax"),
    pytest.param("TopK", real(2, 5), (whole(3),), {"outputs": 2}, id="TopK"),
    pytest.param("Split", real(2, 7), (), {"axis": 1, "num_outputs": 3, "outputs": 3}, id="Split"),
    pytest.param("Split", real(2, 7), (whole(2, 5),), {"axis": 1, "outputs": 2}, id="Split-sizes"),
    pytest.param("Cast", real(5) * 3, (), {"to": TensorProto.INT64}, id="Cast"),
    pytest.param("Where", real(2, 5) > 0, (real(5), real(2, 1)), {}, id="Where"),
    pytest.param("ConstantOfShape", whole(2, 3), (), {}, id="ConstantOfShape"),
    pytest.param(
        "Range", np.array(2, np.int64), (np.int64(9).reshape(()), np.int64(3).reshape(())), {}, id="Range"
    ),
    pytest.param("NonZero", whole(0, 3, 0, 1), (), {}, id="NonZero"),
    pytest.param(
        "OneHot", whole(0, -1, 2), (np.int64(4).reshape(()), np.array([0.5, 2], np.float32)), {}, id="OneHot"
    ),
    pytest.param("Softmax", real(2, 3, 4), (), {"axis": 1, "opset": 12}, id="Softmax-12"),
    pytest.param(
        "OneHot",
        whole(0, -1, 2),
        (np.int64(4).reshape(()), np.array([0.5, 2], np.float32)),
        {"axis": 0},
        id="OneHot-0",
    ),
    *(
        pytest.param(f"Bitwise{n}", whole(5, 12), (whole(6),), {}, id=f"Bitwise{n}")
        for n in ("And", "Or", "Xor")
    ),
    pytest.param("BitwiseNot", whole(5, -12), (), {}, id="BitwiseNot"),
]


@pytest.mark.parametrize(("operator", "x", "constants", "attributes"), DISCRETE)
def test_operator_without_gradient(operator, x, constants, attributes):
    model = one(operator, x, *constants, **attributes)
    answers = GraphModule(model, "one.onnx")(torch.from_numpy(x))
    for ours, theirs in zip(answers, by_runtime(model, x), strict=True):
        assert ours.numpy().dtype == theirs.dtype
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-7)


def bodies():
    """Loop: three times x <- 0.5 x + step, stacked; If: the sum's sign chooses; Scan: running sums."""

    def value(name, kind=TensorProto.FLOAT):
        # ONNX Runtime wants to know the shapes within loops.
        rows = {"then_y": [3, 4], "else_y": [3, 4], "y": [3, 4]}
        return helper.make_tensor_value_info(
            name, kind, rows.get(name, [4]) if kind == TensorProto.FLOAT else []
        )

    turn = helper.make_graph(
        [
            helper.make_node("Cast", ["step"], ["at"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["state", "half"], ["less"]),
            helper.make_node("Add", ["less", "at"], ["after"]),
            helper.make_node("Identity", ["going"], ["goes"]),
            helper.make_node("Identity", ["after"], ["out"]),
        ],
        "turn",
        [value("step", TensorProto.INT64), value("going", TensorProto.BOOL), value("state")],
        [value("goes", TensorProto.BOOL), value("after"), value("out")],
    )
    row = helper.make_graph(
        [
            helper.make_node("Add", ["sum", "row"], ["more"]),
            helper.make_node("Mul", ["more", "half"], ["shown"]),
        ],
        "row",
        [value("sum"), value("row")],
        [value("more"), value("shown")],
    )
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(operator, ["all"], [f"{name}_y"])], name, [], [value(f"{name}_y")]
        )
        for name, operator in (("then", "Tanh"), ("else", "Neg"))
    }
    return helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Loop", ["turns", "yes", "x"], ["last", "all"], body=turn),
                helper.make_node("ReduceSum", ["all"], ["total"], keepdims=0),
                helper.make_node("Greater", ["total", "nothing"], ["positive"]),
                helper.make_node("If", ["positive"], ["chosen"], **branches),
                helper.make_node("Scan", ["last", "chosen"], ["sums", "y"], body=row, num_scan_inputs=1),
            ],
            "bodies",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
            [value("sums"), value("y")],
            [
                numpy_helper.from_array(np.float32(0.5).reshape(()), "half"),
                numpy_helper.from_array(np.float32(0.0).reshape(()), "nothing"),
                numpy_helper.from_array(np.int64(3).reshape(()), "turns"),
                numpy_helper.from_array(np.array(True), "yes"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_loops_and_branches(sign):
    model = bodies()
    x = (sign * np.array([10, 2, 3, 4])).astype(np.float32)
    for ours, theirs in zip(
        GraphModule(model, "b.onnx")(torch.from_numpy(x)), by_runtime(model, x), strict=True
    ):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6)


def test_inspect_knows_the_operators_without_pytorch():
    told = {(domain, name) for domain, names in supported.OPERATORS.items() for name in names}
    assert told == registered()
    assert REAL | set(KINDS) == supported.KINDS


def test_unsupported_operators_are_named_together():
    graph = one("Unique", real(2, 3)).graph
    graph.node.add(op_type="DeformConv", output=["m"])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises(SourceError, match=r"strange.onnx: uses DeformConv, Unique, which training"):
        GraphModule(model, "strange.onnx")


def test_what_an_operator_cannot_do_is_named():
    model = one("Resize", real(2, 3, 8), None, np.array([1, 1, 2], np.float32), mode="cubic")
    with pytest.raises(SourceError, match=r"Resize of mode cubic.*'y0'"):
        GraphModule(model, "cubic.onnx")(torch.zeros(2, 3, 8))


def test_local_functions_are_inlined():
    inner = helper.make_function(
        "own",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    graph = helper.make_graph(
        [helper.make_node("Twice", ["x"], ["y"], domain="own")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    model = helper.make_model(
        graph, functions=[inner], opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    )
    onnx.checker.check_model(model)
    assert GraphModule(model, "f.onnx")(torch.tensor([1.0, 2.0]))[0].tolist() == [2.0, 4.0]


@pytest.mark.parametrize("constants", [(), (np.float32(0.5).reshape(()),)], ids=["Sqrt", "Pow"])
def test_the_gradient_of_roots_is_finite_at_silence(constants):
    x = np.array([0.0, 4.0], np.float32)
    module = GraphModule(one("Pow" if constants else "Sqrt", x, *constants), "one.onnx")
    given = torch.from_numpy(x).requires_grad_()
    (answer,) = module(given)
    assert answer.tolist() == [0.0, 2.0]
    assert torch.autograd.grad(answer.sum(), given)[0].tolist() == [0.0, 0.25]
