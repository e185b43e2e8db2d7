"""Graphs of one operator: their answers beside ONNX Runtime's, their gradients beside finite differences."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import helper, numpy_helper

from earmark.export.onnx_modules.module import GraphModule

A = np.random.default_rng(0)


def whole(*values):
    return np.array(values, np.int64)


def real(*shape):
    return A.standard_normal(shape).astype(np.float32)


def case(operator, x, *constants, id="", **attributes):  # noqa: A002 (as pytest.param has it)
    """A parameter set: the operator, the shape or the value of what it is fed, and as in `one`."""
    return pytest.param(operator, x, constants, attributes, id=id or operator)


def one(operator, x, *constants, opset=20, domain="", outputs=1, **attributes):
    """A graph of one operator: its first input is fed, the others are constants (None: left out)."""
    names = [f"c{n}" if value is not None else "" for n, value in enumerate(constants)]
    node = helper.make_node(
        operator, ["x", *names], [f"y{n}" for n in range(outputs)], domain=domain, **attributes
    )
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), list(x.shape))],
        [helper.make_value_info(f"y{n}", helper.make_tensor_type_proto(0, None)) for n in range(outputs)],
        [numpy_helper.from_array(v, n) for n, v in zip(names, constants, strict=True) if v is not None],
    )
    for value in graph.output:
        value.ClearField("type")
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def by_runtime(model, x):
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )


def check_values(model, x, *, rtol=1e-4, atol=1e-5):
    """The graph as a module, which answers to x as ONNX Runtime does."""
    module = GraphModule(model, "one.onnx")
    for ours, theirs in zip(module(torch.from_numpy(x)), by_runtime(model, x), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours.numpy(), theirs.astype(ours.numpy().dtype), rtol=rtol, atol=atol)
    return module


def check_gradient(module, x):
    """In float64 throughout: the module's buffers are, and so is what they give."""
    exact = module.double()
    given = torch.from_numpy(x).double().requires_grad_()
    answers = [one for one in exact(given) if one.numel()]
    assert all(answer.dtype == torch.float64 for answer in answers)
    direction = torch.from_numpy(np.random.default_rng(2).standard_normal(x.shape))
    (gradient,) = torch.autograd.grad(weighed(answers), given)
    step = 1e-6
    with torch.no_grad():
        above, below = (float(weighed(exact(given + way * direction))) for way in (step, -step))
    slope = (above - below) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-5)


def weighed(answers):
    """A sum of all answers, each value with a weight of its own."""
    return sum(
        (one * torch.linspace(0.5, 1.5, one.numel()).double().reshape(one.shape)).sum() for one in answers
    )
