"""What ONNX Runtime's tools make of a graph: optimised, quantised, in halves."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx_graphs import RATE

KINDS = ("optimised", "qdq", "qoperator", "dynamic", "half")


def variant(kind, graph, path):
    """The graph in a file, as a tool leaves it in another: what takes sound [B, N] stays so.

    Weights have 7 bits: processors without VNNI add two products of bytes in 16.
    """
    if kind == "optimised":
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(path)
        ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    elif kind == "half":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        onnx.save(convert_float_to_float16(onnx.load(graph), keep_io_types=True), path)
    elif kind == "dynamic":
        from onnxruntime.quantization import quantize_dynamic

        quantize_dynamic(graph, path, reduce_range=True)
    else:
        from onnxruntime.quantization import QuantFormat, quantize_static

        how = QuantFormat.QDQ if kind == "qdq" else QuantFormat.QOperator
        quantize_static(graph, path, _Sounds(), quant_format=how, reduce_range=True)
    return path


class _Sounds:
    """Three sounds to calibrate with."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.left = [0.1 * random.standard_normal((1, RATE)).astype(np.float32) for _ in range(3)]

    def get_next(self):
        return {"sound": self.left.pop()} if self.left else None
