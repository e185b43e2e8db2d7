"""What the numbers of a stranger's graph are: logits, probabilities, or no scores at all. Never torch.

What is certainly wrong is refused; what only looks wrong is said (`doubts`), and the export goes on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ....errors import SourceError
from ...source.exportable import FloatArray
from .graph import Scores, Task, WaveInput

# Sums of float32 probabilities leave 1 by less.
_SUM_TOLERANCE = 1e-3
# Logits beyond this are rare; ages, counts and Hertz are not.
_LARGEST_LOGIT = 100.0
# Operators that hand their values on as they are.
_PASSING = frozenset(
    ["Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout"]
)
# Operators after which values are neither logits nor probabilities.
_BENT = frozenset(["Relu", "Abs", "Exp", "Sqrt", "Softplus", "Tanh", "Softsign", "Floor", "Round", "Elu"])
_FEATURES = re.compile(
    r"mel|mfcc|fbank|filterbank|spec|stft|embed|coeff|cepstr|(^|_)(bands?|bins?|freqs?|frames?)($|_)"
)


@dataclass(frozen=True)
class ScoreOutput:
    """The output that holds one score a label, and the graph's other outputs."""

    name: str
    others: tuple[str, ...]


def score_output(path: Path, found: Mapping[str, Any], classes: int, wanted: str | None) -> ScoreOutput:
    """Choose among the outputs of one sound. Raises SourceError listing what there is."""
    told = ", ".join(
        f"{name} {list(np.shape(value))} {getattr(value, 'dtype', type(value).__name__)}"
        for name, value in found.items()
    )
    if wanted is not None and wanted not in found:
        raise SourceError(f"{path}: has no output {wanted!r}; it has {told}")
    good = [
        name
        for name, value in found.items()
        if list(np.shape(value)) in ([1, classes], [classes])
        and getattr(value, "dtype", None) == np.float32
        and wanted in (None, name)
    ]
    if len(good) == 1:
        return ScoreOutput(good[0], tuple(name for name in found if name != good[0]))
    if good:
        raise SourceError(
            f"{path}: several outputs could be the scores ({told}); name one by --scores-output"
        )
    raise SourceError(
        f"{path}: none of its outputs ({told}) is float32 [batch, {classes}] for {classes} labels; "
        "scores of frames must be joined inside the graph, every score needs its label, and other types a "
        "Cast to float32"
    )


def last_operator(model: onnx.ModelProto, output: str) -> str:
    """The operator that makes the values of `output`; "" where none does."""
    makers = {name: node for node in model.graph.node for name in node.output}
    name = output
    # A graph has no cycles, but a damaged one may.
    for _ in range(len(makers) + 1):
        node = makers.get(name)
        if node is None or not node.input:
            return ""
        if node.op_type not in _PASSING:
            return str(node.op_type)
        name = node.input[0]
    return ""


def checked_scores(path: Path, values: FloatArray, scores: Scores | None, task: Task, last: str) -> Scores:
    """What the scores [n, K] of n sounds are, as told. Raises SourceError where they look otherwise.

    last: the operator that makes them
    """
    single = task == "single_label"
    bounded = bool(values.min() >= 0 and values.max() <= 1 + _SUM_TOLERANCE)
    total = np.exp(values).sum(axis=1) if values.max() <= _SUM_TOLERANCE else np.array(np.inf)
    normal = bool(bounded and np.abs(values.sum(axis=1) - 1).max() <= _SUM_TOLERANCE)
    log_normal = bool(np.abs(total - 1).max() <= _SUM_TOLERANCE)
    several = values.shape[1] > 1
    if scores != "logits" and not single and several and (normal or log_normal):
        raise SourceError(
            f"{path}: its probabilities sum to 1, so one label holds at a time; leave --task multi_label "
            "out, or say --scores logits if they are none"
        )
    if scores is None and last in {"Sigmoid", "HardSigmoid"} and single:
        raise SourceError(
            f"{path}: it ends in {last}, so its scores are probabilities of which several may be high; say "
            "--task multi_label --scores probabilities"
        )
    if scores is None and (normal or (not single and bounded) or last == "Softmax"):
        raise SourceError(
            f"{path}: its scores look like probabilities; say --scores probabilities (or logits)"
        )
    if scores is None and bounded:
        raise SourceError(
            f"{path}: its scores lie in 0..1 and do not sum to 1, as probabilities where several labels may "
            "hold; say --task multi_label --scores probabilities, or --scores logits if they are logits"
        )
    if scores is None and last in _BENT:
        raise SourceError(
            f"{path}: it ends in {last}, so its scores are neither logits nor probabilities; export it with "
            "logits as output, or say --scores logits if softmax or sigmoid of them is meant"
        )
    lengths = np.linalg.norm(values.astype(np.float64), axis=1)
    if scores is None and values.shape[1] > 2 and np.abs(lengths - 1).max() <= _SUM_TOLERANCE:
        raise SourceError(
            f"{path}: its outputs are vectors of length 1, as embeddings are; export it with its classifier, "
            "or say --scores logits if they are logits"
        )
    if scores == "probabilities" and not bounded:
        raise SourceError(f"{path}: its scores leave 0..1, so they are no probabilities; say --scores logits")
    if scores == "probabilities" and single and not normal:
        raise SourceError(
            f"{path}: its probabilities do not sum to 1; say --task multi_label if several labels may hold"
        )
    if scores == "log_probabilities" and (values.max() > _SUM_TOLERANCE or (single and not log_normal)):
        raise SourceError(f"{path}: its scores are no logarithms of probabilities; say --scores logits")
    return scores or "logits"


def doubts(
    model: onnx.ModelProto, wave: WaveInput, output: ScoreOutput, values: FloatArray, scores: Scores | None
) -> list[str]:
    """What a user should look at before believing the bundle, one line each."""
    said = []
    names = [wave.name, *_dims_of(model, wave.name)]
    features = [name for name in names if _FEATURES.search(name.lower())]
    if features:
        said.append(
            f"its input has the name {features[0]!r}: a bundle feeds it waveforms; if it takes features, put "
            "the front end into the graph"
        )
    if wave.samples is not None and _dense_first(model, wave):
        said.append(
            f"all {wave.samples} values of its input meet one matrix: a bundle feeds it waveforms; if it "
            "takes features or embeddings, put what makes them of sound into the graph"
        )
    if len(values) > 1 and all(np.array_equal(values[0], other) for other in values[1:]):
        said.append("it answers the same to different sounds; is its input sound, at this sample rate?")
    if output.others:
        others = ", ".join(output.others[:6])
        said.append(
            f"its scores are taken from the output {output.name!r}, the others ({others}) are left out"
        )
    if scores is None and values.shape[1] == 1:
        said.append(
            "its one output is read as a logit, of which sigmoid makes a percentage; a regression's value "
            "has none (--scores says what it is)"
        )
    elif scores is None and float(np.abs(values).max()) > _LARGEST_LOGIT:
        said.append(
            f"its outputs reach {float(np.abs(values).max()):.4g}: read as logits they are certainties; a "
            "regression's values are no scores"
        )
    return said


def _dims_of(model: onnx.ModelProto, name: str) -> list[str]:
    """The names of an input's dims."""
    return [
        dim.dim_param
        for value in model.graph.input
        if value.name == name
        for dim in value.type.tensor_type.shape.dim
        if dim.dim_param
    ]


def _dense_first(model: onnx.ModelProto, wave: WaveInput) -> bool:
    """Whether a matrix that is as high as the input is long takes it whole, as none does that hears sound."""
    weights = {one.name: tuple(one.dims) for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    weights[node.output[0]] = numpy_helper.to_array(attribute.t).shape
    reached = {wave.name}
    for node in model.graph.node:
        if not reached.intersection(node.input):
            continue
        if node.op_type in _PASSING:
            reached.update(node.output)
        elif node.op_type in {"MatMul", "Gemm"}:
            shape = weights.get(node.input[1], ()) if len(node.input) > 1 else ()
            if len(shape) == 2 and wave.samples in shape:
                return True
    return False


def same_width(path: Path, shapes: Sequence[tuple[int, ...]]) -> None:
    """The scores of sounds of several lengths are as many. Raises SourceError."""
    if len(set(shapes)) > 1:
        told = " and ".join(str(list(one)) for one in sorted(set(shapes)))
        raise SourceError(
            f"{path}: gives {told} for sounds of unlike length: scores of frames must be joined inside the "
            "graph, to one a label"
        )
