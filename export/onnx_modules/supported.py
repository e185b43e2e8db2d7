"""Which operators `GraphModule` has, without PyTorch: what `earmark inspect` tells of a graph."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import TensorProto

# Those that the module runs itself.
CONTROL = frozenset(["Constant", "If", "Loop", "Scan"])
# Those that register themselves, see `operators.py`; a test compares.
OPERATORS: dict[str, frozenset[str]] = {
    "": frozenset(
        {
            *("Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan"),
            *("Atanh", "Attention", "AveragePool", "BatchNormalization", "BitwiseAnd", "BitwiseNot"),
            *("BitwiseOr", "BitwiseXor", "BlackmanWindow", "Cast", "CastLike", "Ceil", "Celu"),
            *("Clip", "Compress", "Concat", "ConstantOfShape", "Conv", "ConvInteger"),
            *("ConvTranspose", "Cos", "Cosh", "CumSum", "DFT", "DepthToSpace", "DequantizeLinear"),
            *("Div", "Dropout", "DynamicQuantizeLinear", "Einsum", "Elu", "Equal", "Erf", "Exp"),
            *("Expand", "Flatten", "Floor", "GRU", "Gather", "GatherElements", "GatherND", "Gelu"),
            *("Gemm", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Greater"),
            *("GreaterOrEqual", "GroupNormalization", "HammingWindow", "HannWindow", "HardSigmoid"),
            *("HardSwish", "Identity", "InstanceNormalization", "IsInf", "IsNaN", "LRN"),
            *("LSTM", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax"),
            *("LpNormalization", "LpPool", "MatMul", "MatMulInteger", "Max", "MaxPool", "Mean"),
            *("MeanVarianceNormalization", "MelWeightMatrix", "Min", "Mish", "Mod", "Mul", "Neg"),
            *("NonZero", "Not", "OneHot", "Or", "PRelu", "Pad", "Pow", "QLinearConv"),
            *("QLinearMatMul", "QuantizeLinear", "RMSNormalization", "RNN", "Range", "Reciprocal"),
            *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean"),
            *("ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Resize"),
            *("ReverseSequence", "RotaryEmbedding", "Round", "STFT", "Scatter", "ScatterElements"),
            *("ScatterND", "Selu", "Shape", "Shrink", "Sigmoid", "Sign"),
            *("SimplifiedLayerNormalization", "Sin", "Sinh", "Size", "Slice", "Softmax", "Softplus"),
            *("Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Swish", "Tan"),
            *("Tanh", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze"),
            *("Upsample", "Where", "Xor"),
        }
    ),
    "com.microsoft": frozenset(
        {
            *("Attention", "BiasGelu", "DequantizeLinear", "DynamicQuantizeLSTM"),
            *("DynamicQuantizeMatMul", "FastGelu", "FusedConv", "FusedGemm", "FusedMatMul"),
            *("Gelu", "MatMulIntegerToFloat", "MatMulNBits"),
            *("MultiHeadAttention", "NhwcMaxPool", "QAttention", "QGemm", "QLinearAdd"),
            *("QLinearAveragePool", "QLinearConcat", "QLinearConv", "QLinearGlobalAveragePool"),
            *("QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid", "QLinearSoftmax", "QuantizeLinear"),
            *("QuickGelu", "RotaryEmbedding", "SkipLayerNormalization"),
            *("SkipSimplifiedLayerNormalization",),
        }
    ),
}
# Types of weights.
KINDS = frozenset(
    {
        *(TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16),
        *(TensorProto.INT64, TensorProto.INT32, TensorProto.INT16, TensorProto.INT8, TensorProto.UINT8),
        *(TensorProto.UINT16, TensorProto.UINT32, TensorProto.INT4, TensorProto.UINT4, TensorProto.BOOL),
    }
)


def unsupported(nodes: Iterable[onnx.NodeProto], weights: Iterable[onnx.TensorProto]) -> list[str]:
    """The operators and types of weights, those of inner graphs included, that are not there, by name."""
    strange: set[str] = set()
    for node in nodes:
        domain = "" if node.domain == "ai.onnx" else node.domain
        control = not domain and node.op_type in CONTROL
        if not control and node.op_type not in OPERATORS.get(domain, ()):
            strange.add(f"{domain}::{node.op_type}" if domain else node.op_type)
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                strange.update(unsupported(inner.node, inner.initializer))
    kinds = {weight.data_type for weight in weights} - KINDS
    strange.update(f"weights of type {TensorProto.DataType.Name(kind).lower()}" for kind in kinds)
    return sorted(strange)
