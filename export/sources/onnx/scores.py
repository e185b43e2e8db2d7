"""What the numbers of a stranger's graph are: logits, probabilities, or no scores at all. Never torch.

What is certainly wrong is refused; what only looks wrong is said (`doubts`), and the export goes on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from ....errors import SourceError
from ....runtime.bundle.manifest import Task
from ....runtime.values.arrays import FloatArray
from ...frontends.frontend import Frontend
from .entry import FEATURES, PASSING, Entry, words_of
from .graph import Scores
from .outputs import ScoreOutput
from .reading import graphs_of
from .waves import Waves

# Sums of float32 probabilities leave 1 by less.
_SUM_TOLERANCE = 1e-3
# Logits beyond this are rare; ages, counts and Hertz are not.
_LARGEST_LOGIT = 100.0
# Operators that take their values one by one, or join those of frames: what came before them still tells.
_UNARY = frozenset(
    {
        *("Log", "Neg", "Exp", "Clip", "Abs", "Sqrt", "Reciprocal", "Softplus", "LogSoftmax", "TopK"),
        *("Sigmoid", "HardSigmoid", "Softmax", "ReduceMean", "ReduceMax"),
        *("GlobalAveragePool", "GlobalMaxPool"),
    }
)
_ARITHMETIC = frozenset(["Add", "Sub", "Mul", "Div", "Pow"])
PROBABILITIES = frozenset(["Sigmoid", "HardSigmoid", "Softmax"])
# Operators after which values are neither logits nor probabilities.
_BENT = frozenset(["Relu", "Abs", "Exp", "Sqrt", "Softplus", "Tanh", "Softsign", "Floor", "Round", "Elu"])
# Of outputs, whole words: what a regression gives, and what vectors are called.
_MEASURED = frozenset(
    {
        *("valence", "arousal", "dominance", "age", "loudness", "lufs", "db", "dbfs", "snr", "mos", "pesq"),
        *("stoi", "tempo", "bpm", "pitch", "f0", "hz", "distance", "angle", "azimuth", "elevation"),
        *("duration", "seconds", "regression", "regressor"),
    }
)
_VECTORS = re.compile(r"embed|latent|hidden|feature|(^|_)(repr|representations?|vectors?|codes?)($|_)")
# Of the largest output: what moves less from one synthesised sound to another does not follow them.
_STILL = 0.02
_FEATURES = re.compile(FEATURES)


def last_operators(model: onnx.ModelProto, output: str) -> tuple[str, ...]:
    """The operators that make the values of `output`, the last one first, up to one that mixes values."""
    makers: dict[str, onnx.NodeProto] = {}
    constants: set[str] = set()
    for graph in graphs_of(model.graph):
        constants |= {one.name for one in graph.initializer}
        for node in graph.node:
            makers |= {name: node for name in node.output if name not in makers}
    constants |= {name for name, node in makers.items() if node.op_type == "Constant"}
    kinds: list[str] = []
    name = output
    # A graph has no cycles, but a damaged one may.
    for _ in range(len(makers) + 1):
        maker = makers.get(name)
        if maker is None or not any(maker.input):
            break
        kind, given = str(maker.op_type), [one for one in maker.input if one not in constants]
        if kind == "If":
            # One branch ends as the other.
            inner = next(one.g for one in maker.attribute if one.name == "then_branch")
            name = inner.output[list(maker.output).index(name)].name
            continue
        if kind not in PASSING:
            kinds.append(kind)
            if kind not in _UNARY and not (kind in _ARITHMETIC and len(given) == 1):
                break
        name = given[0] if given else ""
    return tuple(kinds)


def checked_scores(
    path: Path, values: FloatArray, scores: Scores | None, task: Task, operators: Sequence[str]
) -> Scores:
    """What the scores [n, K] of n sounds are, as told. Raises SourceError where they look otherwise.

    operators: those that make them, as `last_operators` tells
    """
    if task == "regression":
        if scores not in (None, "logits"):
            raise SourceError(f"{path}: values of a regression are no {scores}; leave --scores out")
        return "logits"
    last = operators[0] if operators else ""
    single = task == "single_label"
    bounded = bool(values.min() >= 0 and values.max() <= 1 + _SUM_TOLERANCE)
    total = np.exp(values).sum(axis=1) if values.max() <= _SUM_TOLERANCE else np.array(np.inf)
    normal = bool(bounded and np.abs(values.sum(axis=1) - 1).max() <= _SUM_TOLERANCE)
    log_normal = bool(np.abs(total - 1).max() <= _SUM_TOLERANCE)
    several = values.shape[1] > 1
    _check_operators(path, values, scores, task, operators)
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


def _check_operators(
    path: Path, values: FloatArray, scores: Scores | None, task: Task, operators: Sequence[str]
) -> None:
    """Raise SourceError where the last operators sort the scores, or scale or take logarithms of some."""
    if "TopK" in operators:
        raise SourceError(
            f"{path}: its scores come out of TopK, sorted, so that none belongs to one label; export it with "
            "the scores that TopK takes"
        )
    if scores in {None, "probabilities"} and _is_scaled(values, operators):
        raise SourceError(
            f"{path}: its scores are probabilities on another scale ({values.min():.3g} to "
            f"{values.max():.3g}), as percentages are; export it with probabilities in 0..1, or with logits"
        )
    never_above = values.max() <= _SUM_TOLERANCE
    if scores is None and never_above and _is_log(operators) and not _is_normal(values):
        cure = "" if task == "multi_label" else "--task multi_label "
        raise SourceError(
            f"{path}: its scores are logarithms, never above 0, of probabilities that do not sum to 1; "
            f"say {cure}--scores log_probabilities"
        )


def _is_scaled(values: FloatArray, operators: Sequence[str]) -> bool:
    """Whether values [n, K] outside 0..1 are probabilities times something, as percentages are."""
    if values.min() >= 0.0 and values.max() <= 1.0 + _SUM_TOLERANCE:
        return False
    if values.min() >= 0.0 and values.shape[1] > 1 and np.abs(values.sum(axis=1) - 100.0).max() <= 0.1:
        return True
    for at, operator in enumerate(operators):
        if operator in {"Log", "LogSoftmax", "Softplus"}:
            return False
        if operator in PROBABILITIES:
            return bool(_ARITHMETIC.intersection(operators[:at]))
    return False


def _is_log(operators: Sequence[str]) -> bool:
    """Whether a logarithm is taken last: Log, LogSoftmax, or -softplus(-x), the log of a sigmoid."""
    return "Log" in operators or "LogSoftmax" in operators or tuple(operators[:2]) == ("Neg", "Softplus")


def doubts(
    model: onnx.ModelProto,
    entry: Entry[Frontend],
    output: ScoreOutput,
    values: FloatArray,
    scores: Scores | None,
    task: Task,
) -> list[str]:
    """What a user should look at before believing the bundle, one line each."""
    remarks = []
    names = [entry.name, *_dims_of(model, entry.name)]
    features = [name for name in names if _FEATURES.search(name.lower())]
    if features and isinstance(entry.front, Waves):
        remarks.append(
            f"its input has the name {features[0]!r}: a bundle feeds it waveforms; if it takes features, put "
            "the front end into the graph"
        )
    if len(values) > 1 and all(np.array_equal(values[0], other) for other in values[1:]):
        remarks.append("it answers the same to different sounds; is its input sound, at this sample rate?")
    elif scores is None and np.ptp(values, axis=0).max() < _STILL * np.abs(values).max():
        remarks.append(
            f"its outputs hardly move from sound to sound (by {np.ptp(values, axis=0).max():.2g}); is its "
            "input sound, at this sample rate, and are they scores?"
        )
    if output.others:
        others = ", ".join(output.others[:6])
        remarks.append(
            f"its scores are taken from the output {output.name!r}, the others ({others}) are left out"
        )
    if task == "regression":
        return remarks
    if scores is None and values.shape[1] == 1:
        remarks.append(
            "its one output is read as a logit, of which sigmoid makes a percentage; if it is a value, say "
            "--task regression (if it is a score, --scores says which)"
        )
    elif scores is None and (doubt := _named(model, output.name)):
        remarks.append(doubt)
    elif scores is None and float(np.abs(values).max()) > _LARGEST_LOGIT:
        remarks.append(
            f"its outputs reach {float(np.abs(values).max()):.4g}: read as logits they are certainties; "
            "of a regression, say --task regression"
        )
    elif scores is None and values.min() >= 0.0:
        remarks.append(
            f"its outputs are never below 0 ({values.min():.3g} to {values.max():.3g}): logits are; "
            "percentages are none (--scores says what they are), nor are values (--task regression)"
        )
    elif scores is None and values.max() <= 0.0 and not _is_normal(values):
        remarks.append(
            "its outputs are never above 0: if they are logarithms of probabilities, say --task multi_label "
            "--scores log_probabilities"
        )
    return remarks


def _is_normal(values: FloatArray) -> bool:
    """Whether values [n, K] are logarithms of probabilities that sum to 1."""
    return bool(np.abs(np.exp(values).sum(axis=1) - 1).max() <= _SUM_TOLERANCE)


def measured(model: onnx.ModelProto, output: str) -> str | None:
    """The name of an output, or of one of its dims, that is a regression's; None where none is."""
    names = (output, *_dims_of(model, output))
    return next((name for name in names if any(map(_is_measured, words_of(name).split("_")))), None)


def _is_measured(word: str) -> bool:
    """Whether a word names a value; opinion scores are called dnsmos, plcmos, utmos."""
    return word in _MEASURED or word.endswith("mos")


def _named(model: onnx.ModelProto, output: str) -> str | None:
    """What the name of an output, or of its dims, says against scores."""
    if name := measured(model, output):
        return (
            f"its output has the name {name!r}, as a regression's has, whose values are no scores: say "
            "--task regression; if they are scores, --scores says which"
        )
    for name in (output, *_dims_of(model, output)):
        if _VECTORS.search(words_of(name)):
            return (
                f"its output has the name {name!r}, as embeddings have; export it with its classifier, or "
                "say --scores logits if they are logits"
            )
    return None


def _dims_of(model: onnx.ModelProto, name: str) -> list[str]:
    """The names of the dims of an input or output."""
    return [
        dim.dim_param
        for value in (*model.graph.input, *model.graph.output)
        if value.name == name
        for dim in value.type.tensor_type.shape.dim
        if dim.dim_param
    ]
