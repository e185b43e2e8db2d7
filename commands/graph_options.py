"""What has to be told of an .onnx file that is exported, as options of `earmark export`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import click
from msgspec import Meta

from ..bounds import setting
from .console import tell

if TYPE_CHECKING:
    from ..export.frontends.frontend import Frontend
    from ..export.source.exportable import Exportable
    from ..export.sources.onnx.feature_map import MapRequest


def _fact(description: str, metavar: str | None = None) -> Meta:
    """How a field of any graph is an option."""
    return setting(f"For an .onnx file: {description}", metavar=metavar)


@dataclass(frozen=True, kw_only=True)
class GraphOptions:
    """Facts that other sources know themselves.

    None, or nothing: not told.
    """

    labels: Annotated[str | None, _fact("its labels, in the scores' order.", "FILE|A,B,C")] = None
    sample_rate: Annotated[int | None, _fact("of the sound it takes.", "HZ")] = None
    frontend: Annotated[
        str | None,
        setting(
            "For an .onnx file that takes features: what makes them, a preset, a description (.toml), a "
            "Hugging Face preprocessor_config.json, or another graph (.onnx). See docs/frontends.md.",
            metavar="NAME|FILE",
        ),
    ] = None
    frontend_set: Annotated[
        tuple[str, ...],
        setting(
            "A field of that front end in place of its own, as mel.bins=64 (repeatable).",
            metavar="PART.FIELD=VALUE",
        ),
    ] = ()
    frontend_check: Annotated[
        tuple[Path, Path] | None,
        setting(
            "A clip and the features (.npy) that your own pipeline makes of it: refuse other features.",
            metavar="CLIP FEATURES",
        ),
    ] = None
    input: Annotated[str | None, _fact("which of its inputs takes the sound.", "NAME")] = None
    constant: Annotated[
        tuple[str, ...],
        _fact(
            "what another input always holds, as sr=16000 (repeatable). Sample rates, lengths and masks are "
            "filled in by themselves.",
            "NAME=NUMBER",
        ),
    ] = ()
    state: Annotated[
        tuple[str, ...],
        _fact(
            "a recurrent state at the beginning of every window, as h=zeros, or handed from window to "
            "window, as h=carry or h=carry:OUTPUT (repeatable).",
            "NAME=zeros|carry",
        ),
    ] = ()
    context: Annotated[
        float, _fact("how much of the sound before a window it takes in front of it.", "SECONDS")
    ] = 0.0
    reduce: Annotated[
        Literal["mean", "max", "lme"] | None,
        setting("For an .onnx file that scores frames: how they are joined."),
    ] = None
    scores: Annotated[
        Literal["logits", "probabilities", "log_probabilities"] | None, _fact("what it gives (logits).")
    ] = None
    scores_output: Annotated[str | None, _fact("which of its outputs the scores are.", "NAME")] = None
    task: Annotated[
        Literal["single_label", "multi_label", "regression"] | None,
        _fact("whether several labels may hold, or it gives values (single_label)."),
    ] = None
    level: Annotated[
        Literal["none", "peak", "signed_peak"] | None,
        _fact("the gain its own pipeline applies to sound (none)."),
    ] = None
    feature_map: Annotated[str | None, _fact("the tensor before pooling; prototypes need it.", "TENSOR")] = (
        None
    )
    map_axes: Annotated[
        str | None,
        _fact(
            "that tensor's axes after the batch, c channels, t time, f frequency, n tokens; c alone is an "
            "embedding of the window (ctf).",
            "ORDER",
        ),
    ] = None
    map_tokens: Annotated[
        str | None,
        setting(
            "For an .onnx file with tokens (--map-axes nc): rows of frequency, the axis that varies slowest "
            "(frequency or time), and tokens in front without a place, as 12,frequency,2.",
            metavar="ROWS,ORDER,SKIP",
        ),
    ] = None
    map_bands: Annotated[str | None, _fact("edges of its rows of frequency, ascending.", "HZ,HZ,...")] = None


def load_graph(path: str, window: float | None, options: GraphOptions) -> Exportable:
    """A graph from a file; PyTorch is not needed.

    Args:
        path: The .onnx file.
        window: Longest sound classified at once, in seconds; None: the graph's own.
        options: What was told of it.

    Returns:
        The source.

    Raises:
        click.UsageError: Labels or the sample rate are missing and no config.json of the model is beside the
            graph, or options contradict each other.
        SourceError: The graph cannot be a source.

    """
    from ..export.sources.hugging_face.beside import facts_of, folder_of
    from ..export.sources.hugging_face.config import FILE
    from ..export.sources.onnx.file import load
    from ..export.sources.onnx.given import read_labels
    from ..export.sources.onnx.side_inputs import GivenInputs

    if options.frontend is None and (options.frontend_set or options.frontend_check):
        raise click.UsageError("--frontend-set and --frontend-check belong to --frontend; give it, too")
    frontend = None if options.frontend is None else _frontend(options.frontend, options)
    labels = None if options.labels is None else read_labels(options.labels)
    task, scores = options.task, options.scores
    if labels is None and (folder := folder_of(Path(path))) is not None:
        facts = facts_of(folder)
        labels, task, scores = facts.labels, task or facts.config.task, scores or "logits"
        if frontend is None and options.sample_rate is None:
            frontend, window = facts.frontend, window or facts.window_seconds
        tell(f"earmark: what is not told of {path} is read from {folder / FILE}")
    missing = ["--labels"] if labels is None else []
    if frontend is None and options.sample_rate is None:
        missing.append("--sample-rate")
    if labels is None or missing:
        raise click.UsageError(
            f"{path}: an .onnx file does not say everything; give {' and '.join(missing)} "
            f"(earmark inspect {path} has the whole command)"
        )
    return load(
        path,
        labels=labels,
        sample_rate=options.sample_rate,
        window_seconds=window,
        scores=scores,
        task=task or "single_label",
        level=options.level,
        output=options.scores_output,
        reduce=options.reduce,
        inputs=GivenInputs(
            options.input,
            _pairs("--constant", options.constant),
            _pairs("--state", options.state),
            options.context,
        ),
        feature_map=_map_request(options),
        frontend=frontend,
    )


def can_be_trained_over(source: Exportable) -> bool:
    """Whether `earmark train` can differentiate through a graph from a file."""
    from ..export.sources.onnx.file import OnnxSource
    from ..export.sources.onnx.look import hindrance_of

    if not isinstance(source, OnnxSource):
        return True
    return not hindrance_of(source.model, source.original.output.name)


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE, taken apart. Raises click.UsageError."""
    pairs = dict(text.rpartition("=")[::2] for text in texts)
    if "" in pairs or "" in pairs.values():
        raise click.UsageError(f"{option} {' '.join(texts)}: give NAME=VALUE, NAME of an input")
    return pairs


def _frontend(name: str, options: GraphOptions) -> Frontend:
    """The front end that is named, compared with the user's own features where they are given."""
    from ..export.frontends.check import check_features
    from ..export.sources.onnx.frontends import open_frontend

    frontend = open_frontend(name, options.frontend_set, options.sample_rate)
    if options.frontend_check is not None:
        clip, features = options.frontend_check
        tell(f"earmark: {check_features(frontend, clip, features, options.sample_rate)}")
    return frontend


def _map_request(options: GraphOptions) -> MapRequest | None:
    """The tensor that is to be the feature map, where one is named. Raises click.UsageError."""
    from ..export.sources.onnx.feature_map import MapRequest
    from ..export.sources.token_grid import TokenGrid

    bands = options.map_bands
    if options.feature_map is None:
        if bands is not None or options.map_axes is not None or options.map_tokens is not None:
            raise click.UsageError("--map-axes, --map-tokens and --map-bands describe --feature-map; name it")
        return None
    try:
        edges = None if bands is None else [float(edge) for edge in bands.split(",")]
    except ValueError as error:
        raise click.UsageError(f"--map-bands {bands}: give numbers with commas, as 0,500,2000") from error
    tokens = None
    if options.map_tokens is not None:
        grid = re.fullmatch(r"(\d+),(frequency|time),(\d+)", options.map_tokens)
        if grid is None:
            raise click.UsageError(f"--map-tokens {options.map_tokens}: give it as 12,frequency,2")
        order: Literal["frequency", "time"] = "time" if grid[2] == "time" else "frequency"
        tokens = TokenGrid(int(grid[1]), order, int(grid[3]))
    axes = options.map_axes or ("ctf" if tokens is None else "nc")
    return MapRequest(options.feature_map, axes, edges, tokens)
