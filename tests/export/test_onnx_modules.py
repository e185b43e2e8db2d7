"""Every operator of `GraphModule` against ONNX Runtime, and its gradient against finite differences."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from saved_graph import node

from earmark.errors import SourceError

torch = pytest.importorskip("torch")

from one_operator import by_runtime, case, check_gradient, check_values, one, real, whole  # noqa: E402

from earmark.export.onnx_modules import supported  # noqa: E402
from earmark.export.onnx_modules.module import GraphModule  # noqa: E402
from earmark.export.onnx_modules.operators import KINDS, REAL, registered  # noqa: E402

IMAGE, SOUND, ROWS = (2, 3, 6, 7), (2, 3, 17), (2, 5)


SMOOTH = [
    *(case(name, IMAGE) for name in ("Erf", "Exp", "Neg", "Sigmoid", "Softplus")),
    *(case(name, IMAGE) for name in ("Tanh", "Sin", "Cos", "Softsign", "Mish")),
    *(case(n, IMAGE) for n in ("Relu", "Abs", "LeakyRelu", "Elu", "Selu", "Celu")),
    *(case(n, IMAGE) for n in ("HardSigmoid", "HardSwish", "ThresholdedRelu")),
    case("Gelu", IMAGE),
    case("Gelu", IMAGE, id="Gelu-tanh", approximate="tanh"),
    case("PRelu", IMAGE, real(3, 1, 1)),
    *(case(n, IMAGE, real(7)) for n in ("Add", "Sub", "Mul", "Div")),
    *(case(n, IMAGE, real(3, 1, 1), real(7)) for n in ("Max", "Min", "Sum", "Mean")),
    case("Pow", IMAGE, np.float32(2.0).reshape(())),
    case("Clip", IMAGE, np.float32(-0.5).reshape(()), np.float32(0.4).reshape(())),
    case("Clip", IMAGE, None, np.float32(0.4).reshape(()), id="Clip-high"),
    # Layers.
    case("Conv", IMAGE, real(4, 3, 3, 3), real(4), pads=[1, 1, 1, 1]),
    case(
        "Conv",
        IMAGE,
        real(6, 1, 2, 3),
        id="Conv-group",
        group=3,
        strides=[2, 1],
        pads=[1, 0, 0, 1],
        dilations=[1, 2],
    ),
    case("Conv", SOUND, real(4, 3, 4), real(4), id="Conv-same", auto_pad="SAME_UPPER", strides=[3]),
    case("Conv", SOUND, real(4, 3, 4), id="Conv-lower", auto_pad="SAME_LOWER"),
    case("ConvTranspose", SOUND, real(3, 4, 4), real(4), strides=[2], pads=[1, 1], output_padding=[1]),
    case("ConvTranspose", IMAGE, real(3, 2, 3, 2), id="ConvTranspose-2d", strides=[2, 3]),
    case("MaxPool", IMAGE, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    case("MaxPool", SOUND, id="MaxPool-ceil", kernel_shape=[3], strides=[2], ceil_mode=1),
    case("AveragePool", IMAGE, kernel_shape=[2, 3], strides=[2, 2]),
    case("AveragePool", IMAGE, id="AveragePool-pads", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
    case(
        "AveragePool",
        IMAGE,
        id="AveragePool-ceil",
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
        strides=[2, 2],
        count_include_pad=1,
        ceil_mode=1,
    ),
    case("AveragePool", IMAGE, id="AveragePool-19", kernel_shape=[2, 2], dilations=[2, 3]),
    *(case(n, IMAGE) for n in ("GlobalAveragePool", "GlobalMaxPool")),
    case("BatchNormalization", IMAGE, real(3), real(3), real(3), real(3) ** 2 + 0.5),
    case("InstanceNormalization", IMAGE, real(3), real(3), epsilon=1e-3),
    case("LayerNormalization", SOUND, real(17), real(17)),
    case("LayerNormalization", SOUND, real(3, 17), id="LayerNormalization-axis", axis=1),
    case("LpNormalization", SOUND, axis=1),
    # Products.
    case("MatMul", SOUND, real(17, 4)),
    case("Gemm", ROWS, real(4, 5), real(4), transB=1, alpha=0.5, beta=2.0),
    case("Einsum", SOUND, real(3, 4), equation="bct,cd->bdt"),
    # Reductions.
    *(
        case(f"Reduce{n}", IMAGE, whole(1, -1), id=n, keepdims=0)
        for n in ("Mean", "Sum", "Max", "Min", "L1", "L2", "SumSquare", "LogSumExp", "Prod")
    ),
    case("ReduceMean", IMAGE, id="Mean-all"),
    *(case(n, SOUND, axis=1) for n in ("Softmax", "LogSoftmax")),
    case("CumSum", SOUND, np.int64(2).reshape(()), reverse=1, exclusive=1),
    # Shapes.
    case("Reshape", IMAGE, whole(0, -1, 7)),
    case("Flatten", IMAGE, axis=2),
    case("Transpose", IMAGE, perm=[0, 3, 1, 2]),
    case("Unsqueeze", SOUND, whole(0, -1)),
    case("Squeeze", (2, 1, 3, 1), whole(-1)),
    case("Slice", SOUND, whole(-9, 0), whole(100, 2), whole(2, 1), whole(2, 1)),
    case("Slice", SOUND, whole(-1), whole(-1000), whole(2), whole(-2), id="Slice-backwards"),
    case("Slice", SOUND, whole(12), whole(3), whole(2), whole(-3), id="Slice-back-part"),
    case("Gather", SOUND, whole(0, -1, 2, 2).reshape(2, 2), axis=1),
    case("GatherElements", ROWS, whole(0, -1, 2, 1).reshape(2, 2), axis=1),
    case("GatherND", SOUND, whole(0, 1, 1, 2).reshape(2, 2)),
    case("ScatterND", ROWS, whole(1).reshape(1, 1), real(1, 5)),
    case("GatherND", (2, 3, 4), whole(0, 2, 1, 1).reshape(2, 2, 1), id="GatherND-b", batch_dims=1),
    *(
        case(
            "ScatterND",
            (3, 4, 2),
            whole(2, 1, 0, -1).reshape(2, 2),
            real(2, 2),
            id=f"ScatterND-{how}",
            reduction=how,
        )
        for how in ("none", "add", "mul", "max", "min")
    ),
    *(
        case(
            "ScatterElements",
            ROWS,
            whole(4, -2, 0, 2).reshape(2, 2),
            real(2, 2),
            id=f"ScatterElements-{how}",
            axis=1,
            reduction=how,
        )
        for how in ("none", "add", "mul", "max", "min")
    ),
    case("Scatter", ROWS, whole(1, 0, 0, 1).reshape(2, 2), real(2, 2), opset=10),
    case("ReverseSequence", (4, 3, 2), whole(1, 4, 3)),
    case("ReverseSequence", (3, 4, 2), whole(1, 4, 3), id="ReverseSequence-rows", batch_axis=0, time_axis=1),
    case("Compress", SOUND, np.array([True, False, True]), axis=1),
    case("Compress", ROWS, np.array([False, True, False, True]), id="Compress-all"),
    case("LpPool", IMAGE, kernel_shape=[2, 3], strides=[1, 2], pads=[1, 0, 0, 1]),
    case("LpPool", SOUND, id="LpPool-3", kernel_shape=[3], p=3),
    case("GlobalLpPool", IMAGE, p=3),
    case("Shrink", IMAGE, lambd=0.3, bias=0.2),
    case("Expand", (2, 1, 3), whole(4, 1, 5, 1)),
    case("Tile", ROWS, whole(2, 3)),
    case("Trilu", SOUND, np.int64(1).reshape(()), upper=0),
    case("Pad", IMAGE, whole(0, 0, 1, -2, 0, 1, 0, 3), np.float32(0.5).reshape(())),
    case("Pad", IMAGE, whole(2, 3, 1, 4), None, whole(-1, 2), id="Pad-reflect", mode="reflect"),
    case("Pad", SOUND, whole(2, 3), None, whole(2), id="Pad-edge", mode="edge"),
    case("Pad", SOUND, whole(2, 3), None, whole(2), id="Pad-wrap", mode="wrap"),
    case("Resize", IMAGE, None, None, whole(2, 3, 9, 4), id="Resize-nearest", mode="nearest"),
    case(
        "Resize",
        IMAGE,
        None,
        np.array([1, 1, 2, 1.5], np.float32),
        id="Resize-linear",
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    ),
    case(
        "Resize",
        SOUND,
        None,
        None,
        whole(2, 3, 33),
        id="Resize-corners",
        mode="linear",
        coordinate_transformation_mode="align_corners",
    ),
    case(
        "Resize",
        SOUND,
        None,
        np.array([1, 1, 3], np.float32),
        id="Resize-floor",
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    ),
    case("DepthToSpace", (1, 8, 2, 3), blocksize=2),
    case("SpaceToDepth", (2, 3, 4, 6), blocksize=2),
    case("Asinh", IMAGE),
    case("MeanVarianceNormalization", IMAGE),
    case("RMSNormalization", SOUND, real(17), opset=23),
    case("DepthToSpace", (1, 8, 2, 3), id="DepthToSpace-CRD", blocksize=2, mode="CRD"),
]


@pytest.mark.parametrize(("operator", "shape", "constants", "attributes"), SMOOTH)
def test_operator_and_gradient(operator, shape, constants, attributes):
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    check_gradient(check_values(one(operator, x, *constants, **attributes), x), x)


DISCRETE = [
    *(case(n, real(2, 5), real(5)) for n in ("Greater", "Less", "Equal", "LessOrEqual")),
    *(case(n, real(2, 5) * 3) for n in ("Floor", "Ceil", "Round", "Sign", "IsNaN")),
    case("Not", real(5) > 0),
    case("Div", whole(7, -7, 9), whole(2, 2, -4), id="Div-whole"),
    case("Mod", whole(7, -7, 9), whole(2, 3, -4)),
    case("Shape", real(2, 5, 3), start=1),
    case("Size", real(2, 5, 3)),
    case("ArgMax", real(2, 5, 3), axis=1, keepdims=0),
    case("TopK", real(2, 5), whole(3), outputs=2),
    case("Split", real(2, 7), axis=1, num_outputs=3, outputs=3),
    case("Split", real(2, 7), whole(2, 5), id="Split-sizes", axis=1, outputs=2),
    case("Cast", real(5) * 3, to=TensorProto.INT64),
    case("Where", real(2, 5) > 0, real(5), real(2, 1)),
    case("ConstantOfShape", whole(2, 3)),
    case("Range", np.array(2, np.int64), np.int64(9).reshape(()), np.int64(3).reshape(())),
    case("NonZero", whole(0, 3, 0, 1)),
    case("OneHot", whole(0, -1, 2), np.int64(4).reshape(()), np.array([0.5, 2], np.float32)),
    case("Softmax", real(2, 3, 4), id="Softmax-12", axis=1, opset=12),
    case(
        "OneHot",
        whole(0, -1, 2),
        np.int64(4).reshape(()),
        np.array([0.5, 2], np.float32),
        id="OneHot-0",
        axis=0,
    ),
    *(case(f"Bitwise{n}", whole(5, 12), whole(6)) for n in ("And", "Or", "Xor")),
    case("BitwiseNot", whole(5, -12)),
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
            node("Cast", "step", "at", to=TensorProto.FLOAT),
            node("Mul", "state half", "less"),
            node("Add", "less at", "after"),
            node("Identity", "going", "goes"),
            node("Identity", "after", "out"),
        ],
        "turn",
        [value("step", TensorProto.INT64), value("going", TensorProto.BOOL), value("state")],
        [value("goes", TensorProto.BOOL), value("after"), value("out")],
    )
    row = helper.make_graph(
        [node("Add", "sum row", "more"), node("Mul", "more half", "shown")],
        "row",
        [value("sum"), value("row")],
        [value("more"), value("shown")],
    )
    branches = {
        f"{name}_branch": helper.make_graph(
            [node(operator, "all", f"{name}_y")], name, [], [value(f"{name}_y")]
        )
        for name, operator in (("then", "Tanh"), ("else", "Neg"))
    }
    return helper.make_model(
        helper.make_graph(
            [
                node("Loop", "turns yes x", "last all", body=turn),
                node("ReduceSum", "all", "total", keepdims=0),
                node("Greater", "total nothing", "positive"),
                node("If", "positive", "chosen", **branches),
                node("Scan", "last chosen", "sums y", body=row, num_scan_inputs=1),
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
        "own", "Twice", ["a"], ["b"], [node("Add", "a a", "b")], [helper.make_opsetid("", 17)]
    )
    graph = helper.make_graph(
        [node("Twice", "x", "y", domain="own")],
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
