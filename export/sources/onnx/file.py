"""Source: an .onnx file that takes waveforms and gives logits or probabilities. Never torch."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx

from ....errors import MissingDependencyError, SourceError
from ....runtime.audio.lengths import longest_window, samples_of
from ....runtime.bundle.manifest import AnalysisSpec, Level, StageSpec, WindowSpec, aggregate_of
from ....runtime.inference.onnx_runtime import cpu_session
from ...bundle.parity import LIMIT
from ...bundle.sounds import synthesise
from ...frontends.frontend import Frontend
from ...graphs.embeddings import embeddings_model
from ...graphs.files import Dims, save_graph, stage_spec
from ...source.exportable import Exportable, FloatArray
from .entry import Entry, WaveInput, feature_input, wave_input
from .feature_map import TAP, GraphMap, MapRequest, find_map, with_output
from .graph import Scores, Task, classifier_graph, opset_of, read_model
from .scores import checked_scores, doubts, last_operators, same_width, score_output

# Lengths in seconds that are tried for the shortest sound that a graph of any length takes.
_LENGTHS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
# The listenable STFT's window: about this long, a power of two.
_FRAME_SECONDS = 0.032


class Original:
    """The file itself in onnxruntime on the CPU: the reference that the bundle is measured against."""

    def __init__(self, path: Path, entry: Entry, model: onnx.ModelProto | None = None) -> None:
        """Open the file, or `model` in its place. Raises SourceError where onnxruntime cannot run it."""
        self.path, self.entry = path, entry
        try:
            self._session = cpu_session(path if model is None else model.SerializeToString())
        except MissingDependencyError:
            raise
        except Exception as error:
            # onnxruntime's errors have no common base.
            raise SourceError(f"{path}: onnxruntime cannot run it ({_line(error)})") from error
        self.output = ""

    def run(self, sound: FloatArray, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Every output (or those named) for one sound [N]. Raises SourceError where it fails.

        Rows of one sound are run one by one, and their outputs joined as their scores are.
        """
        names = list(outputs) if outputs else [value.name for value in self._session.get_outputs()]
        fed, join = self.entry.feed(sound), self.entry.join
        rows = [fed] if join is None else list(fed[:, None])
        try:
            answers = [self._session.run(names, {self.entry.name: row}) for row in rows]
        except Exception as error:
            raise SourceError(f"{self.path}: fails on {len(sound)} samples ({_line(error)})") from error
        if join is None:
            return dict(zip(names, answers[0], strict=True))
        how = np.mean if join == "mean" else np.max
        return {name: how(each, axis=0) for name, each in zip(names, zip(*answers, strict=True), strict=True)}

    def scores(self, sound: FloatArray) -> FloatArray:
        """The scores [K] of one sound [N], as the graph gives them."""
        own_scores: FloatArray = np.asarray(self.run(sound, [self.output])[self.output]).reshape(-1)
        return own_scores

    def shape(self, sound: FloatArray) -> tuple[int, ...]:
        """Of the scores of one sound."""
        return np.shape(self.run(sound, [self.output])[self.output])


@dataclass(frozen=True, kw_only=True)
class OnnxSource(Exportable):
    """A graph from a file: its stages are the waveform itself and the graph, with logits at its end."""

    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")

    model: onnx.ModelProto = field(repr=False, compare=False)
    original: Original = field(repr=False, compare=False)
    scores: Scores = "logits"
    # A tensor of it that is shown as the feature map.
    shown: GraphMap | None = None
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
        if self.shown is not None:
            outputs[TAP] = self.shown.dims
        path = folder / "classifier.onnx"
        data = save_graph(self._graph(one_by_one=not entry.batched), path)
        if entry.batched and not self._takes_batches(path, folder / "frontend.onnx"):
            for name in (path.name, *data):
                (folder / name).unlink()
            data = save_graph(self._graph(one_by_one=True), path)
        stages.append(
            stage_spec(
                "classifier",
                path,
                data,
                opset_of(self.model),
                border,
                outputs,
            )
        )
        if self.shown is not None:
            place = folder / "embeddings.onnx"
            stages.append(embeddings_model(place, self.shown.spec, self.shown.dims, self.shown.head))
        return stages

    def _graph(self, *, one_by_one: bool) -> onnx.ModelProto:
        return classifier_graph(
            self.model,
            self.original.entry,
            self.original.output,
            len(self.labels),
            self.scores,
            self.task,
            one_by_one=one_by_one,
            shown=self.shown,
        )

    def _takes_batches(self, path: Path, front: Path) -> bool:
        """Whether the graph in `path` answers to two sounds at once as to each alone."""
        sounds = self._fitted(
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

    def _fitted(self, waveforms: FloatArray) -> FloatArray:
        """Waveforms [B, N] cropped and padded to what the graph takes."""
        # The front end itself cuts its STFT.
        whole = self.longest is None or self.original.entry.analysis is not None
        cropped = waveforms if whole else waveforms[:, : self.longest]
        missing = (self.original.entry.samples or 0) - cropped.shape[1]
        return np.pad(cropped, ((0, 0), (0, missing))) if missing > 0 else cropped

    def outputs(self, waveform: FloatArray) -> dict[str, FloatArray]:
        """What the file itself says, sound by sound: "logits", or "scores" where it gives probabilities."""
        own_scores = np.stack([self.original.scores(sound) for sound in self._fitted(waveform)])
        if self.scores == "logits" or (self.scores == "log_probabilities" and self.task == "single_label"):
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
    feature_map: MapRequest | None = None,
    frontend: Frontend | None = None,
) -> OnnxSource:
    """Make a source of the graph in `path`.

    labels: in the order of its scores; sample_rate: of the waveforms it takes, in Hz; None: the front end's
    window_seconds: longest sound taken at once; only graphs of a fixed length know their own
    scores: what it gives (None: logits, unless they look like probabilities, which is an error)
    level: the gain that the model's own pipeline applies before it; None: the front end's, or none
    output: which of several outputs holds the scores
    feature_map: a tensor of the graph that is its feature map; None: the bundle has no prototypes
    frontend: what makes the features that the graph takes; None: it takes waveforms
    Raises SourceError, MissingDependencyError (no onnxruntime).
    """
    file = Path(path)
    rate = _rate(file, sample_rate, frontend)
    if not labels:
        raise SourceError(f"{file}: no labels; give one for each of its scores, in their order")
    if len(labels) == 1 and task == "single_label":
        raise SourceError(
            f"{file}: one label that always holds; say --task multi_label for a detector; "
            "the value of a regression is no score, and has no label"
        )
    model = read_model(file)
    entry, samples = _entry(model, file, frontend, rate, window_seconds)
    original = Original(file, entry)
    sounds = list(synthesise(3, samples, rate, 1))
    chosen = score_output(file, original.run(sounds[0]), len(labels), output)
    original.output = chosen.name
    answers = np.stack([original.scores(sound) for sound in sounds])
    if not np.isfinite(answers).all():
        raise SourceError(f"{file}: its scores are not finite for synthesised sound")
    if not np.array_equal(answers[0], original.scores(sounds[0])):
        raise SourceError(f"{file}: answers differently to the same sound; export it in evaluation mode")
    if entry.samples is None:
        shorter = sounds[0][: max(1, samples * 3 // 4)]
        if _takes(original, shorter):
            same_width(file, [original.shape(sounds[0]), original.shape(shorter)])
    kind = checked_scores(file, answers, scores, task, last_operators(model, chosen.name))
    seconds = samples / rate
    minimum = seconds if entry.samples else _minimum_seconds(original, samples, rate)
    longer = synthesise(1, longest_window(samples) + 1, rate, 2)[0]
    longest = samples if entry.samples or not _takes(original, longer) else None
    if isinstance(entry, WaveInput):
        original.entry = replace(entry, longest=longest)
    if feature_map is not None and entry.join is not None:
        raise SourceError(
            f"{file}: takes patches, so its feature map has no place in the sound; leave it out"
        )
    shown = None if feature_map is None else _shown(original, model, feature_map, samples, rate, kind)
    weights = sum(math.prod(weight.dims) for weight in model.graph.initializer)
    return OnnxSource(
        name=file.stem,
        labels=list(labels),
        task=task,
        sample_rate=rate,
        window=WindowSpec(
            seconds=seconds,
            hop_seconds=seconds / 2,
            minimum_seconds=minimum,
            aggregate=aggregate_of(task),
        ),
        analysis=entry.analysis or _analysis(rate),
        rescore="waveform" if entry.analysis is None else "spectrogram",
        level=_level(file, level, frontend),
        description=f"{file.name}: an ONNX graph of {weights} weights that takes {_taken(frontend)}.",
        model=model,
        original=original,
        scores=kind,
        doubts=tuple(doubts(model, entry, chosen, answers, scores)),
        longest=longest,
        feature_map=None if shown is None else shown.spec,
        shown=shown,
    )


def _shown(
    original: Original,
    model: onnx.ModelProto,
    request: MapRequest,
    samples: int,
    rate: int,
    scores: Scores,
) -> GraphMap:
    """The feature map that was asked for, with what the graph answers beside it."""
    wider = Original(original.path, original.entry, with_output(model, request.tensor, original.path))

    def answers(length: int) -> tuple[FloatArray, FloatArray]:
        sound = synthesise(1, length, rate, 4)[0]
        answers = wider.run(sound, [request.tensor, original.output])
        # Probabilities have no linear head to be compared with: the head then is "other".
        logits = np.asarray(answers[original.output]).reshape(-1)
        return np.asarray(answers[request.tensor]), logits if scores == "logits" else np.full_like(
            logits, np.nan
        )

    fixed = original.entry.samples is not None
    return find_map(request, model, original.path, answers, samples, rate, fixed=fixed)


def read_labels(text: str) -> list[str]:
    """Labels from a file with one a line, or from a list with commas. Raises SourceError."""
    path = Path(text)
    # A long list is no name that a file system takes; os.path.isfile answers that with no.
    if "," not in text or os.path.isfile(text):  # noqa: PTH113
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(
                f"{text}: no readable file of labels ({_line(error)}); give one label a line, or a,b,c"
            ) from error
        while lines and not lines[-1].strip():
            lines.pop()
        return [line.strip() for line in lines]
    return [label.strip() for label in text.split(",")]


def _rate(path: Path, given: int | None, frontend: Frontend | None) -> int:
    """The sample rate that was given or is the front end's. Raises SourceError."""
    own = None if frontend is None else frontend.sample_rate
    rate = given or own
    if rate is None:
        raise SourceError(f"{path}: an .onnx file does not say its sample rate; give it")
    if own is not None and given not in (None, own):
        raise SourceError(
            f"{path}: a sample rate of {given} Hz, and {own} Hz in the description of its front end; correct "
            "one of them (sample_rate)"
        )
    if not 1000 <= rate <= 768000:
        raise SourceError(f"{path}: a sample rate of {rate} Hz; give one between 1000 and 768000")
    return rate


def _level(path: Path, given: Level | None, frontend: Frontend | None) -> Level:
    """The level that was given or is the front end's. Raises SourceError where they differ."""
    own = None if frontend is None else frontend.level
    if own not in (None, "none", given) and given is not None:
        raise SourceError(f"{path}: the level {given}, and {own} of its front end; leave the level out")
    return given or own or "none"


def _entry(
    model: onnx.ModelProto, path: Path, frontend: Frontend | None, rate: int, seconds: float | None
) -> tuple[Entry, int]:
    """What the graph takes, and the samples of a window."""
    if frontend is None:
        wave = wave_input(model, path, rate, seconds)
        return wave, _window_samples(path, wave.samples, rate, seconds)
    samples = _window_samples(path, frontend.samples, rate, seconds, frontend.window)
    return feature_input(model, path, frontend, samples, synthesise(1, samples, rate, 1)[0]), samples


def _taken(frontend: Frontend | None) -> str:
    return "waveforms" if frontend is None else f"features made by {frontend}"


def _window_samples(
    path: Path, fixed: int | None, rate: int, seconds: float | None, usual: int | None = None
) -> int:
    """Samples of a window: the graph's own length, else what was asked for, else the usual one."""
    if fixed is not None:
        if seconds is not None and abs(seconds * rate - fixed) > 0.005 * rate:
            raise SourceError(
                f"{path}: takes {fixed} samples, {fixed / rate:g} s at {rate} Hz; leave the "
                "window out, or correct the sample rate"
            )
        return fixed
    if seconds is None and usual is not None:
        return usual
    if seconds is None:
        raise SourceError(f"{path}: takes sound of any length; say the longest taken at once by --window")
    if not (0.02 <= seconds <= 3600):
        raise SourceError(f"{path}: a window of {seconds:g} s; give one between 0.02 and 3600 s")
    return samples_of(seconds, rate)


def _takes(original: Original, sound: FloatArray) -> bool:
    try:
        return bool(np.isfinite(original.scores(sound)).all())
    except SourceError:
        return False


def _minimum_seconds(original: Original, samples: int, rate: int) -> float:
    """The shortest of some lengths from which on every longer one is taken."""
    least = samples / rate
    for seconds in sorted((s for s in _LENGTHS if s * rate < samples), reverse=True):
        if not _takes(original, synthesise(1, max(1, samples_of(seconds, rate)), rate, 3)[0]):
            break
        least = seconds
    return least


def _analysis(rate: int) -> AnalysisSpec:
    """The listenable STFT, which the model itself knows nothing of."""
    n_fft = 2 ** max(5, round(math.log2(_FRAME_SECONDS * rate)))
    return AnalysisSpec(n_fft=n_fft, window_length=n_fft, hop=n_fft // 4, window="hann")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
