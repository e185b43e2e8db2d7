"""What a graph in a file seems to be, without running it, for `earmark inspect model.onnx`. Never torch."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import onnx
from onnx import helper, inliner

from ....errors import SourceError
from ...onnx_modules.supported import unsupported
from .candidates import POOLING, Dims, MapCandidate, find_candidates, is_embedding, last_matrix
from .entry import dims_of
from .graph import needed
from .outputs import ScoreOutput, logits_tensor
from .reading import opset_of, read_by, read_model
from .scores import PROBABILITIES, last_operators, measured
from .side_inputs import graph_inputs, is_state, meant
from .waves import wave_input

# The rate that lengths are judged by where none is given.
_RATE = 16000
_SOUND = re.compile(r"wav|audio|sound|speech|signal|pcm|sample|^x$|^input")


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output; dims: numbers, or names where any size goes; meaning: in words; option: for it."""

    name: str
    dtype: str
    dims: Dims
    meaning: str
    option: str = ""


class GraphReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen in a graph.

    Attributes:
        path: The file.
        opset: Version of its default operators.
        nodes: Number of its operators.
        weights: Number of its weights.
        inputs: What it takes.
        outputs: What it gives.
        ends_in: The operators that make its scores, the last one first.
        maps: Candidates for the feature map, the one next to the scores first.
        head: [inputs, labels] of the last matrix before the scores; empty where none was found.
        explanations: What it would be explained by, and what each needs.
        command: The export command to run, with words in capitals where only its user knows.
        training: Commands that train masks and components over it, and export them; empty where
            `explanations` says why there are none.

    """

    path: str
    opset: int
    nodes: int
    weights: int
    inputs: list[Tensor]
    outputs: list[Tensor]
    ends_in: list[str]
    maps: list[MapCandidate]
    head: list[int]
    explanations: list[str]
    command: str
    training: list[str]


def look_at(path: Path) -> GraphReport:
    """Look into a graph.

    Args:
        path: The .onnx file.

    Returns:
        What was seen.

    Raises:
        SourceError: It is no graph that a bundle can carry.

    """
    model = read_model(path)
    dims = _dims(model)
    inputs = _inputs(model, path)
    scores = _scores(model)
    outputs = _outputs(model, dims, scores)
    ends_in = [] if scores is None else list(last_operators(model, scores))
    head, vector = last_matrix(model)
    maps = find_candidates(model, dims, scores, vector)
    told = " ".join(_told(model, inputs, outputs, ends_in, scores))
    hindrance = hindrance_of(model, scores)
    file = shlex.quote(str(path))
    export = f"earmark export {file} -o BUNDLE {told}"
    return GraphReport(
        path=str(path),
        opset=opset_of(model),
        nodes=len(model.graph.node),
        weights=sum(math.prod(weight.dims) for weight in model.graph.initializer),
        inputs=inputs,
        outputs=outputs,
        ends_in=ends_in,
        maps=maps,
        head=head,
        explanations=_explanations(maps, head, hindrance),
        command=f"{export}{_map_options(maps, head)}",
        training=[]
        if hindrance
        else [
            *(f"earmark train {what} {file} DATA -o RUN {told}" for what in ("lmac", "l2i")),
            f"{export} --decoder RUN --interpreter RUN",
        ],
    )


def _dims(model: onnx.ModelProto) -> dict[str, Dims]:
    """Dims of every tensor that they are known of."""
    try:
        known = onnx.shape_inference.infer_shapes(model)
    except Exception:
        # Whatever stands in the way: what is declared is known still.
        known = model
    graph = known.graph
    return {value.name: dims_of(value) for value in (*graph.input, *graph.value_info, *graph.output)}


def _dtype(value: Any) -> str:
    kind = value.type.tensor_type.elem_type
    return helper.tensor_dtype_to_np_dtype(kind).name if kind else value.type.WhichOneof("value") or "unknown"


def _inputs(model: onnx.ModelProto, path: Path) -> list[Tensor]:
    """Every input with what it seems to be."""
    seen = []
    sound_taken = False
    values = graph_inputs(model)
    for value in sorted(values, key=lambda one: not _SOUND.search(one.name.lower())):
        side = meant(value, _RATE) if len(values) > 1 else None
        option = ""
        if side is not None:
            meaning = f"filled in: {str(side).replace(str(_RATE), 'HZ')}"
        elif len(values) > 1 and is_state(value, model):
            meaning = "a recurrent state (carry in place of zeros hands it from window to window)"
            option = f"--state {shlex.quote(value.name)}=zeros"
        elif sound_taken:
            meaning, option = "not known", f"--constant {shlex.quote(value.name)}=NUMBER"
        else:
            meaning, option = _sound(value, model, path)
            sound_taken = True
        seen.append(
            Tensor(name=value.name, dtype=_dtype(value), dims=dims_of(value), meaning=meaning, option=option)
        )
    order = [value.name for value in values]
    return sorted(seen, key=lambda one: order.index(one.name))


def _sound(value: Any, model: onnx.ModelProto, path: Path) -> tuple[str, str]:
    """What the input that is left seems to be, and the option that it needs."""
    dims = dims_of(value)
    fixed = next((one for one in dims[:0:-1] if isinstance(one, int) and one > 1), None)
    try:
        wave = wave_input(value, model, path, _RATE, None)
    except SourceError:
        try:
            # As if its user said that the length is a window.
            wave_input(value, model, path, _RATE, None if fixed is None else fixed / _RATE)
        except SourceError:
            return "features of sound (or no sound)", "--frontend NAME"
        return f"sound of {fixed} samples, if it is sound (features want --frontend)", "--window SECONDS"
    length = "any length" if wave.front.samples is None else f"{wave.front.samples} samples"
    channels = f", {wave.front.channels} channels" if wave.front.channels > 1 else ""
    return f"the sound, {length}{channels}", "" if wave.front.samples is not None else "--window SECONDS"


def _scores(model: onnx.ModelProto) -> str | None:
    """The output that seems to be the scores: of a floating type, a name of scores before the first one."""
    states = {tuple(dims_of(value)) for value in graph_inputs(model)}
    names = [
        value.name
        for value in model.graph.output
        if value.type.tensor_type.elem_type in (1, 10, 11) and tuple(dims_of(value)) not in states
    ]
    called = [name for name in names if re.search(r"logit|prob|score|class|label|pred", name.lower())]
    return next(iter((*called, *names)), None)


def _outputs(model: onnx.ModelProto, dims: Mapping[str, Dims], scores: str | None) -> list[Tensor]:
    seen = []
    for value in model.graph.output:
        own = dims.get(value.name) or dims_of(value)
        meaning, option = "not used", ""
        if scores is not None and value.name == scores:
            frames = len(own) == 3 and own[1] != 1
            meaning = "scores of frames" if frames else "the scores"
            option = "--reduce max" if frames else ""
            # [B, K, 1, 1] of a head of convolutions as well as [B, K] and [B, T, K].
            beyond = [dim for dim in own[1:] if dim != 1]
            labels = beyond[-1] if beyond else 1
            meaning += f", {labels if isinstance(labels, int) else 'K'} label{'' if labels == 1 else 's'}"
            if labels == 1 and not PROBABILITIES.intersection(last_operators(model, scores)):
                meaning += " (if it is a value: --task regression)"
        elif is_embedding(value.name):
            meaning = "an embedding"
        seen.append(Tensor(name=value.name, dtype=_dtype(value), dims=own, meaning=meaning, option=option))
    return seen


def hindrance_of(model: onnx.ModelProto, scores: str | None) -> str:
    """Why no decoder or interpreter can be trained over the graph; "" where nothing is seen.

    Args:
        model: As `read_model` gives it.
        scores: The output that has them.

    """
    if scores is None:
        return "no scores were seen in it"
    if measured(model, scores):
        return "they say what is enough for a label, and its output has the name of a value"
    inlined = inliner.inline_local_functions(model) if model.functions else model
    nodes = needed(inlined.graph.node, scores)
    used = {name for node in nodes for name in read_by(node)}
    weights = [weight for weight in inlined.graph.initializer if weight.name in used]
    if strange := unsupported(nodes, weights):
        return (
            f"training cannot differentiate through {', '.join(strange)}; train over its PyTorch original "
            "(docs/adapters.md)"
        )
    dims = _dims(model)
    made = [name for node in nodes for name in node.output]
    if all(name in dims for name in made) and not any(len(dims[name]) in (3, 4) for name in made):
        return "it has no tensor with an axis of time"
    return ""


def _explanations(maps: list[MapCandidate], head: list[int], hindrance: str) -> list[str]:
    lines = ["segments: always, where named (-m segments)"]
    if hindrance:
        lines.append(f"mask, components: not over this graph: {hindrance}")
    else:
        lines.append("mask, components: after earmark train lmac, train l2i, over sounds of yours")
    if not maps:
        return [*lines, "prototypes: name a tensor before pooling by --feature-map; none was found"]
    sums = "; contributions of channels, where the head is linear behind a mean" if head else ""
    whole = " (of whole windows: it is a vector)" if maps[0].axes == "c" else ""
    return [*lines, f"prototypes: with --feature-map, then earmark index{whole}{sums}"]


def _told(
    model: onnx.ModelProto,
    inputs: list[Tensor],
    outputs: list[Tensor],
    ends_in: list[str],
    scores: str | None,
) -> Iterator[str]:
    """What has to be told of the graph, as far as it tells itself."""
    yield "--labels LABELS.txt --sample-rate HZ"
    options = [one.option for one in (*inputs, *outputs) if one.option]
    single = [one for one in options if one.startswith("--constant")]
    sound = next((one for one in inputs if one.meaning.startswith(("the sound", "features"))), None)
    if single and sound is not None:
        yield f"--input {shlex.quote(sound.name)}"
    yield from options
    own = next((one for one in outputs if one.name == scores), None)
    yield from _score_options(model, ends_in, scores, single=own is not None and " 1 label" in own.meaning)
    if len(outputs) > 1 and scores is not None:
        yield f"--scores-output {shlex.quote(scores)}"


def _map_options(maps: list[MapCandidate], head: list[int]) -> str:
    """The options that name the first candidate."""
    if not maps or not head:
        return ""
    first = maps[0]
    rows = 1 if "f" not in first.axes else first.dims[1 + first.axes.index("f")]
    tokens = f" --map-tokens {first.tokens}" if first.tokens else ""
    bands = " --map-bands HZ,HZ,..." if rows != 1 or tokens else ""
    return f" --feature-map {shlex.quote(first.tensor)} --map-axes {first.axes}{tokens}{bands}"


def _score_options(
    model: onnx.ModelProto, ends_in: list[str], scores: str | None, *, single: bool
) -> Iterator[str]:
    """What the last operators say of the scores; single: there is one label."""
    if scores is None:
        return
    # A mean of probabilities over frames is one.
    last = next((one for one in ends_in if one not in POOLING), "")
    if measured(model, scores):
        yield "--task regression"
        return
    if last in {"Sigmoid", "HardSigmoid"} or logits_tensor(model, ScoreOutput(scores), several=True):
        yield "--task multi_label --scores probabilities"
    elif single:
        # Or --task regression, as its output's meaning says.
        yield "--task multi_label --scores KIND"
    elif last == "Softmax":
        yield "--scores probabilities"
    elif last == "LogSoftmax":
        yield "--scores log_probabilities"
