"""Source: an .onnx file that takes waveforms and gives logits or probabilities. Never torch."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx

from ....errors import SourceError
from ....runtime.audio.lengths import longest_window, samples_of
from ....runtime.bundle.graphs import external_tensors
from ....runtime.bundle.manifest import (
    NEXT_STATE,
    STATE,
    AnalysisSpec,
    Level,
    StageSpec,
    Task,
    WindowSpec,
)
from ....runtime.inference.onnx_runtime import cpu_session
from ....runtime.values.arrays import FloatArray
from ...bundle.sounds import synthesise
from ...frontends.frontend import Frontend
from ...graphs.embeddings import write_embeddings
from ...graphs.files import Dims, save_graph, stage_spec
from ...source.exportable import LIMIT, Exportable
from .entry import Entry, feature_input
from .feature_map import GraphMap, MapRequest, ShownTensor
from .given import level_of, rate_of, window_samples
from .graph import Scores, classifier_graph
from .memory import StateRow
from .original import Original
from .outputs import Reduce, score_output
from .precision import limit_of
from .reading import opset_of, read_model
from .scores import checked_scores, doubts, last_operators
from .shown_map import shown_map
from .side_inputs import GivenInputs, SideInput, split_inputs
from .waves import Waves, wave_input

# Lengths in seconds that are tried for the shortest sound that a graph of any length takes.
LENGTHS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
# The listenable STFT's window: about this long, a power of two.
_FRAME_SECONDS = 0.032


@dataclass(frozen=True, kw_only=True)
class OnnxSource(Exportable):
    """A graph from a file: its stages are the waveform itself and the graph, with logits at its end."""

    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")

    model: onnx.ModelProto = field(repr=False, compare=False)
    original: Original = field(repr=False, compare=False)
    scores: Scores = "logits"
    # A tensor of it that is shown as the feature map, and those that a decoder or an interpreter reads.
    shown: GraphMap | None = None
    read: tuple[ShownTensor, ...] = ()
    # Samples beyond which the graph fails: the front end leaves the rest out. None: any length.
    longest: int | None = None

    @property
    def explainers(self) -> list[str]:
        """None runs unasked: `segments`, which every bundle has, asks the model many times."""
        return []

    def write_stages(self, folder: Path) -> list[StageSpec]:
        """Front end and classifier; a graph that takes one sound at a time is looped over the batch."""
        entry = self.original.entry
        border: dict[str, Dims] = {entry.border: entry.dims}
        path = folder / "frontend.onnx"
        front = entry.frontend()
        data = save_graph(front, path)
        stages = [
            stage_spec("frontend", path, data, opset_of(front), {"waveform": ["batch", "samples"]}, border)
        ]
        outputs: dict[str, Dims] = {"logits": ["batch", len(self.labels)]}
        outputs |= {one.tap: one.dims for one in self.taps}
        taken = dict(border)
        if (memory := self.memory) is not None:
            taken[STATE] = outputs[NEXT_STATE] = ["batch", memory.size]
        path = folder / "classifier.onnx"
        alone = self.alone
        weights = self.original.path.parent
        data = save_graph(self.stage(one_by_one=alone), path, weights)
        if not alone and not self._takes_batches(path, folder / "frontend.onnx"):
            for name in (path.name, *data):
                (folder / name).unlink()
            data = save_graph(self.stage(one_by_one=True), path, weights)
        stages.append(stage_spec("classifier", path, data, opset_of(self.model), taken, outputs))
        if self.shown is not None:
            taps = {one.tap: one.dims for one in self.taps}
            stages.append(write_embeddings(folder, self.shown.spec, taps, self.shown.head, self.apex))
        return stages

    def rest(self) -> None:
        """Close the file's session."""
        self.original.rest()

    def fingerprint(self) -> str:
        """sha256 over the file and those that keep its weights."""
        path = self.original.path
        outside = external_tensors(self.model, path)
        held = {one.value for tensor in outside for one in tensor.external_data if one.key == "location"}
        digest = hashlib.sha256()
        for name in [path.name, *sorted(held)]:
            with (path.parent / name).open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    @property
    def memory(self) -> StateRow | None:
        """What goes from window to window; None: windows know nothing of each other."""
        original = self.original
        return StateRow.of(original.sides, original.context, original.entry.front.time_axis + 1)

    @property
    def taps(self) -> list[ShownTensor]:
        """The tensors that the classifier's stage shows beside its logits."""
        return [*([] if self.shown is None else [self.shown.shown]), *self.read]

    @property
    def alone(self) -> bool:
        """Whether the graph takes one sound at a time by its shape, or for its state's sake."""
        return (
            self.memory is not None or not self.original.entry.front.batched or self.original.entry.copies > 1
        )

    def stage(self, *, one_by_one: bool) -> onnx.ModelProto:
        """The graph as the classifier's stage; one sound at a time, or all of a batch at once."""
        return classifier_graph(
            self.model,
            self.original.entry,
            self.original.sides,
            self.original.output,
            len(self.labels),
            self.scores,
            self.task,
            one_by_one=one_by_one,
            shown=self.taps,
            memory=self.memory,
        )

    def _takes_batches(self, path: Path, front: Path) -> bool:
        """Whether the graph in `path` answers to two sounds at once as to each alone."""
        sounds = self.fitted(
            synthesise(2, max(1, samples_of(self.window.seconds, self.sample_rate)), self.sample_rate, 0)
        )
        border = self.original.entry.border
        try:
            features = cpu_session(front).run([border], {"waveform": sounds})[0]
            session = cpu_session(path)
            alone = np.concatenate([session.run(["logits"], {border: one[None]})[0] for one in features])
            together = session.run(["logits"], {border: features})[0]
        except Exception:
            # Whatever stands in the way of a batch: the loop serves every graph.
            return False
        return together.shape == alone.shape and bool(np.abs(together - alone).max() <= LIMIT)

    def fitted(self, waveforms: FloatArray) -> FloatArray:
        """Waveforms [B, N] cropped and padded to what the graph takes."""
        # The front end itself cuts its STFT.
        whole = self.longest is None or self.original.entry.front.analysis is not None
        cropped = waveforms if whole else waveforms[:, : self.longest]
        missing = (self.original.entry.front.samples or 0) - cropped.shape[1]
        return np.pad(cropped, ((0, 0), (0, missing))) if missing > 0 else cropped

    def outputs(self, waveform: FloatArray) -> dict[str, FloatArray]:
        """What the file itself says, sound by sound: "logits", or "scores" where it gives probabilities."""
        own_scores = np.stack([self.original.scores(sound) for sound in self.fitted(waveform)])
        if self.scores == "logits":
            return {"logits": own_scores}
        return {"scores": np.exp(own_scores) if self.scores == "log_probabilities" else own_scores}


def load(
    path: str | Path,
    *,
    labels: Sequence[str],
    sample_rate: int | None = None,
    window_seconds: float | None = None,
    scores: Scores | None = None,
    task: Task = "single_label",
    level: Level | None = None,
    output: str | None = None,
    reduce: Reduce | None = None,
    feature_map: MapRequest | None = None,
    frontend: Frontend | None = None,
    inputs: GivenInputs | None = None,
) -> OnnxSource:
    """Make a source of the graph in `path`.

    Args:
        path: The .onnx file.
        labels: In the order of its scores; of a regression the names of its values.
        sample_rate: Of the waveforms it takes, in Hz; None: the front end's.
        window_seconds: Longest sound taken at once; only graphs of a fixed length know their own.
        scores: What it gives (None: logits, unless they look like probabilities, which is an error).
        task: Whether several labels may hold, or its outputs are values of a regression.
        level: The gain that the model's own pipeline applies before it; None: the front end's, or none.
        output: Which of several outputs holds the scores.
        reduce: How scores of frames are joined; None: it gives one score a label.
        feature_map: A tensor of the graph that is its feature map; None: the bundle has no prototypes.
        frontend: What makes the features that the graph takes; None: it takes waveforms.
        inputs: What is known of inputs beside the sound.

    Returns:
        The source.

    Raises:
        SourceError: The graph cannot be a source, or is not what was said of it.
        MissingDependencyError: No onnxruntime is installed.

    """
    file = Path(path)
    rate = rate_of(file, sample_rate, frontend)
    if not labels:
        raise SourceError(f"{file}: no labels; give one for each of its scores, in their order")
    if len(labels) == 1 and task == "single_label":
        raise SourceError(
            f"{file}: one label that always holds; say --task multi_label for a detector, or --task "
            "regression for a value"
        )
    model = read_model(file)
    given = inputs or GivenInputs()
    value, sides = split_inputs(model, file, rate, given)
    entry, samples = _entry(value, model, file, frontend, rate, window_seconds)
    context = samples_of(given.context_seconds, rate)
    original = Original(file, model, entry, sides, context)
    carrying = StateRow.of(sides, context, entry.front.time_axis + 1) is not None
    if carrying and not isinstance(entry.front, Waves):
        raise SourceError(
            f"{file}: takes features, whose frames cross the borders of windows; carry the state of a "
            "graph that takes the sound itself, or begin every window with --state NAME=zeros"
        )
    sounds = list(synthesise(3, samples, rate, 1))
    batch = entry.copies if entry.front.batched else None
    chosen = score_output(file, _answers(original, sounds[0]), len(labels), output, reduce, batch)
    original.output = chosen
    answers = np.stack([original.scores(sound) for sound in sounds])
    if not np.isfinite(answers).all():
        raise SourceError(f"{file}: its scores are not finite for synthesised sound")
    if not np.array_equal(answers[0], original.scores(sounds[0])):
        raise SourceError(f"{file}: answers differently to the same sound; export it in evaluation mode")
    kind = checked_scores(file, answers, scores, task, last_operators(model, chosen.name))
    seconds = samples / rate
    minimum = seconds if entry.front.samples or carrying else _minimum_seconds(original, samples, rate)
    beyond = (longest_window(samples) + 1, 2 * samples)
    any_length = all(_takes(original, synthesise(1, length, rate, 2)[0]) for length in beyond)
    longest = samples if entry.front.samples or carrying or not any_length else None
    if isinstance(entry.front, Waves):
        original.entry = replace(entry, front=replace(entry.front, longest=longest))
    if feature_map is not None and entry.front.join is not None:
        raise SourceError(
            f"{file}: takes patches, so its feature map has no place in the sound; leave it out"
        )
    shown = (
        None if feature_map is None else shown_map(original, model, feature_map, samples, rate, kind, task)
    )
    original.rest()
    weights = sum(math.prod(weight.dims) for weight in model.graph.initializer)
    return OnnxSource(
        name=file.stem,
        labels=list(labels),
        task=task,
        sample_rate=rate,
        window=WindowSpec.usual(seconds, minimum, task, seconds if carrying else None),
        analysis=entry.front.analysis or _analysis(rate),
        rescore="waveform" if entry.front.analysis is None else "spectrogram",
        level=level_of(file, level, frontend),
        description=f"{file.name}: an ONNX graph of {weights} weights that takes {_taken(frontend)}.",
        model=model,
        original=original,
        scores=kind,
        parity_limit=limit_of(model),
        doubts=(
            *_filled(sides, entry),
            *doubts(model, entry, chosen, answers, scores, task),
            *([shown.doubt] if shown is not None and shown.doubt else []),
        ),
        longest=longest,
        feature_map=None if shown is None else shown.spec,
        shown=shown,
    )


def _answers(original: Original, sound: FloatArray) -> list[dict[str, Any]]:
    """Every output for a sound and, where the graph takes any length, for a shorter one."""
    answers = [original.run(sound)]
    if original.entry.front.samples is None:
        with contextlib.suppress(SourceError):
            answers.append(original.run(sound[: max(1, len(sound) * 3 // 4)]))
    return answers


def _filled(sides: Sequence[SideInput], entry: Entry[Frontend]) -> list[str]:
    """What its user should know of the graph's inputs."""
    remarks = [f"its input {side.name!r} is filled with {side}" for side in sides]
    if isinstance(entry.front, Waves) and entry.front.channels > 1:
        remarks.append(f"it takes {entry.front.channels} channels, which all get the same sound")
    return remarks


def _entry(
    value: Any,
    model: onnx.ModelProto,
    path: Path,
    frontend: Frontend | None,
    rate: int,
    seconds: float | None,
) -> tuple[Entry[Frontend], int]:
    """What the graph takes, and the samples of a window."""
    if frontend is None:
        wave = wave_input(value, model, path, rate, seconds)
        return wave, window_samples(path, wave.front.samples, rate, seconds)
    samples = window_samples(path, frontend.samples, rate, seconds, frontend.window)
    return feature_input(value, path, frontend, samples, synthesise(1, samples, rate, 1)[0]), samples


def _taken(frontend: Frontend | None) -> str:
    return "waveforms" if frontend is None else f"features made by {frontend}"


def _takes(original: Original, sound: FloatArray) -> bool:
    try:
        return bool(np.isfinite(original.scores(sound)).all())
    except SourceError:
        return False


def _minimum_seconds(original: Original, samples: int, rate: int) -> float:
    """The shortest of some lengths from which on every longer one is taken."""
    least = samples / rate
    for seconds in sorted((s for s in LENGTHS if s * rate < samples), reverse=True):
        if not _takes(original, synthesise(1, max(1, samples_of(seconds, rate)), rate, 3)[0]):
            break
        least = seconds
    return least


def _analysis(rate: int) -> AnalysisSpec:
    """The listenable STFT, which the model itself knows nothing of."""
    n_fft = 2 ** max(5, round(math.log2(_FRAME_SECONDS * rate)))
    return AnalysisSpec(n_fft=n_fft, window_length=n_fft, hop=n_fft // 4, window="hann")
