"""The table of docs/localisation_results.md: who finds the event, in how many calls, in how many seconds.

    python benchmarks/localisation.py run events BUNDLE OUT/test results.jsonl --clips 30 --reference-clips 12
    python benchmarks/localisation.py table results.jsonl
    python benchmarks/localisation.py plot results.jsonl docs/images/localisation_calls.png

`run` writes a line of JSON a clip and method as soon as it is known, and passes over what the file holds:
stop it and start it again as you like, or run it side by side over parts of the clips (`--every`) into files
of their own, which `table` takes together; it takes records of `earmark evaluate events` as well. Only clips
that the model classifies as labelled are explained, in an order drawn by the seed. The reference's surrogates
share their 3007 calls a fill: they are given the same answers of the model, and each is charged the time that
these took.
"""

from __future__ import annotations

import csv
import json
import math
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from measuring import run_main

import earmark
from earmark.evaluation.data.events import read_events
from earmark.evaluation.data.folder import list_sounds
from earmark.evaluation.localisation.evaluate import (
    EventRecord,
    Localisation,
    segment_edges,
    segment_labels,
)
from earmark.evaluation.localisation.localisers import Importance, LocalisationTask, available, task_of
from earmark.evaluation.settings import Rule
from earmark.evaluation.statistics import average_precision, roc_auc
from earmark.runtime.explainer import engine_of
from earmark.runtime.methods.segments.settings import SegmentSettings

BUDGETS = (50, 100, 200, 400)
FROM_MASK = (40, 200)
# The paper's rows: forest by its unsigned importance, the linear ones by their coefficients.
REFERENCE = {"RF": ("forest", False), "LR": ("least_squares", True), "SHAP": ("kernel_shap", True)}
Rows = Iterator[tuple[str, Importance, float]]


class ResultLine(msgspec.Struct, kw_only=True):
    """A clip and method in a results file, as `run` writes it, or `earmark evaluate events --records`.

    half, overlap90: ROC AUC by the two rules, and the average precision; auc, precision: by the one of
    `evaluate`; null where the clip has not both kinds of segments
    """

    set: str = ""
    part: str = ""
    bundle_id: str = ""
    seed: int = 0
    clip: str
    label: str
    method: str
    recording: str
    correct: bool = True
    calls: int
    seconds: float
    scoring_seconds: float = 0.0
    r2: float | None = None
    pairs: int | None = None
    half: float | None = None
    half_ap: float | None = None
    overlap90: float | None = None
    overlap90_ap: float | None = None
    auc: float | None = None
    precision: float | None = None
    importance: list[float] = []

    @property
    def key(self) -> tuple[str, str, str, int, str, str]:
        """What is done once."""
        return self.set, self.part, self.bundle_id, self.seed, self.clip, self.method

    def record(self, rule: Rule) -> EventRecord:
        """What is judged by a rule."""
        auc, precision = (self.half, self.half_ap) if rule == "half" else (self.overlap90, self.overlap90_ap)
        auc, precision = self.auc if auc is None else auc, self.precision if precision is None else precision
        return EventRecord(
            method=self.method,
            clip=self.clip,
            label=self.label,
            recording=self.recording,
            correct=self.correct,
            auc=math.nan if auc is None else auc,
            precision=math.nan if precision is None else precision,
            calls=self.calls,
            seconds=self.seconds,
        )


class Replay:
    """The model's answers, remembered by the sounds' checksum, and the seconds that they took."""

    def __init__(self, task: LocalisationTask) -> None:
        self._task = task
        self._known: dict[tuple[int, int], npt.NDArray[np.float64]] = {}
        self.seconds = 0.0

    def __call__(self, sounds: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Probabilities [B]."""
        key = (zlib.crc32(np.ascontiguousarray(sounds).view(np.uint8)), len(sounds))
        if key not in self._known:
            started = time.perf_counter()
            self._known[key] = self._task.probabilities(sounds)
            self.seconds += time.perf_counter() - started
        return self._known[key]


def _segments(task: LocalisationTask, score: Callable[..., Any], **settings: Any) -> tuple[Any, float]:
    started = time.perf_counter()
    result = earmark.segments(score, task.waveform, task.rate, seed=task.seed, **settings)
    return result, time.perf_counter() - started


def _ours(task: LocalisationTask, wanted: Callable[[str], bool]) -> Rows:
    """The smooth surrogate at every budget, by magnitude and by sign, and from the mask on; one other."""
    cases: dict[str, dict[str, Any]] = {f"smooth {calls}": {"calls": calls} for calls in BUDGETS}
    budgets = list(cases)
    for calls in FROM_MASK:
        expected = task.expected(SegmentSettings(calls=calls))
        if expected is not None:
            cases[f"smooth {calls} from the mask"] = {"calls": calls, "expected": expected}
    cases["smooth 200 (ambience)"] = {"calls": 200, "fill": "ambience"}
    cases["KernelSHAP 200"] = {"calls": 200, "surrogate": "kernel_shap"}
    for name, settings in cases.items():
        if not wanted(name):
            continue
        result, seconds = _segments(task, task.probabilities, **settings)
        facts = {"r2": float(result.r2), "pairs": len(result.interacting)}
        by_sign = Importance(result.importance, result.calls, result.scoring_seconds, facts)
        by_magnitude = replace(by_sign, importance=result.magnitude)
        yield name, by_sign if "surrogate" in settings else by_magnitude, seconds
        if name in budgets:
            yield f"{name} signed", by_sign, seconds


def _reference(task: LocalisationTask, wanted: Callable[[str], bool]) -> Rows:
    """The paper's pooled setting."""
    for fill in ("noise", "zeros"):
        replay = Replay(task)
        for name, (surrogate, signed) in REFERENCE.items():
            full = f"{name}-{fill} 3007"
            if not wanted(full):
                continue
            result, _ = _segments(task, replay, preset="bolanos2025", surrogate=surrogate, fill=fill)
            values = result.importance if signed else result.magnitude
            found = Importance(values, result.calls, replay.seconds, {"r2": float(result.r2)})
            yield full, found, result.seconds + replay.seconds


def _others(task: LocalisationTask, wanted: Callable[[str], bool]) -> Rows:
    """Explanations that cost a call, and what knows nothing of the model."""
    for name, localiser in available(task.explainer).items():
        if not name.startswith("segments") and wanted(name):
            started = time.perf_counter()
            found = localiser(task)
            yield name, found, time.perf_counter() - started


def run(
    name: str,
    bundle: Path,
    data: Path,
    results: Path,
    *,
    clips: int = 30,
    reference_clips: int = 12,
    only: str | None = None,
    seed: int = 0,
    every: Sequence[int] = (1, 0),
) -> None:
    """Explain the clips of DATA (with its events.csv) with BUNDLE; NAME is the set's.

    only: these methods, as mask,mask_alone; every: N I for every N-th clip, from the I-th on
    """
    explainer = earmark.load(bundle, device="cpu")
    bundle_id = engine_of(explainer).manifest.bundle_id
    done = {line.key for line in _lines(results)} if results.exists() else set()
    annotations = list(read_events(data / "events.csv", list_sounds(data), explainer.labels).clips)
    # Drawn once more, so that the first few clips are of every label.
    order = np.random.default_rng(seed).permutation(len(annotations))
    chosen = []
    for clip in (annotations[position] for position in order):
        edges = segment_edges(clip.seconds)
        target = explainer.labels.index(clip.label)
        task, predicted = task_of(explainer, clip.clip.path, None, target, edges, seed)
        if predicted == target:
            chosen.append((clip, task))
        if len(chosen) == clips:
            break
    print(f"{name}: {len(chosen)} clips, classified as labelled", file=sys.stderr)
    for part, count in ((_others, clips), (_ours, clips), (_reference, reference_clips)):
        for clip, task in chosen[every[1] : count : every[0]]:

            def wanted(method: str, clip: Any = clip) -> bool:
                if only is not None and method not in only.split(","):
                    return False
                return (name, data.name, bundle_id, seed, clip.clip.name, method) not in done

            for method, found, seconds in part(task, wanted):
                halves, rests = (
                    segment_labels(clip.events, task.edges, rule) for rule in ("half", "overlap90")
                )
                line = ResultLine(
                    set=name,
                    part=data.name,
                    bundle_id=bundle_id,
                    seed=seed,
                    clip=clip.clip.name,
                    label=clip.label,
                    method=method,
                    recording=clip.clip.recording,
                    calls=found.calls,
                    seconds=round(seconds, 4),
                    scoring_seconds=round(found.scoring_seconds, 4),
                    half=roc_auc(halves, found.importance),
                    half_ap=average_precision(halves, found.importance),
                    overlap90=roc_auc(rests, found.importance),
                    overlap90_ap=average_precision(rests, found.importance),
                    importance=[float(f"{value:.5g}") for value in found.importance],
                    **found.facts,
                )
                with results.open("ab") as stream:
                    stream.write(msgspec.json.encode(line) + b"\n")
                done.add(line.key)


def table(
    results: Sequence[Path],
    *,
    rule: Rule = "half",
    same_clips: bool = False,
    markdown: bool = False,
    method: str = "smooth 200",
    together: bool = False,
) -> None:
    """Print a table a set, and the paired difference between a method and the pooled forest.

    same_clips: only those that the reference explained too
    together: all sets as one, the same clips with several bundles
    """
    for name, found in _localisations(results, rule, same_clips, together).items():
        table = found.table()
        shown = table.markdown(intervals=True) if markdown else table.text(intervals=True)
        print(f"\n{name}\n{shown}")
        for other in ("RF-noise 3007", "RF-zeros 3007"):
            if other in found.methods():
                gap = found.difference(method, other)
                print(f"{method} minus {other}: {gap:+.3f}, {gap.count} clips")


def plot(results: Path, picture: Path, *, rule: Rule = "half") -> None:
    """Draw calls against AUC."""
    figure = Figure(figsize=(6.0, 3.4), dpi=110)
    axes = figure.subplots()
    for position, (name, found) in enumerate(_localisations((results,), rule, False).items()):
        rows = {row["method"]: row for row in found.table().rows}
        budgets = [f"smooth {calls}" for calls in BUDGETS if f"smooth {calls}" in rows]
        x = [rows[method]["calls"] for method in budgets]
        y = [rows[method]["auc"].estimate for method in budgets]
        axes.plot(x, y, "o-", color=f"C{position}", label=name.replace("_", " "))
        for method, mark in (("RF-noise 3007", "s"), ("RF-zeros 3007", "D")):
            if method in rows:
                axes.plot(3007, rows[method]["auc"].estimate, mark, color=f"C{position}", mfc="none")
        if "energy" in rows:
            axes.axhline(rows["energy"]["auc"].estimate, color=f"C{position}", lw=0.7, ls=":")
    axes.set_xscale("log")
    axes.set_xticks([50, 100, 200, 400, 3007], ["50", "100", "200", "400", "3007"])
    axes.minorticks_off()
    axes.set_xlabel("calls of the model")
    axes.set_ylabel("mean ROC AUC")
    axes.set_title(
        "lines: smooth; squares, diamonds: forest, noise, zeros; dotted: energy", fontsize=8, loc="left"
    )
    axes.legend(fontsize=8, loc="lower right")
    axes.grid(alpha=0.3)
    _save(figure, picture)


def picture(bundle: Path, data: Path, clip: str, picture: Path, *, label: str | None = None) -> None:
    """Draw the spectrogram of CLIP in DATA, what its segments weigh, and where the events truly lie."""
    explainer = earmark.load(bundle, device="cpu")
    result = explainer.explain(data / clip, target=label, methods=["segments"])
    found = result.segments
    if found is None:
        raise SystemExit("the bundle gives no segments")
    with (data / "events.csv").open(encoding="utf-8") as stream:
        spans = [
            (float(r["start_s"]), float(r["end_s"])) for r in csv.DictReader(stream) if r["clip"] == clip
        ]
    task, _ = task_of(explainer, data / clip, None, 0, segment_edges(result.duration_s))
    figure = Figure(figsize=(6.0, 3.4), dpi=90)
    above, below = figure.subplots(2, 1, sharex=True)
    above.specgram(task.waveform, NFFT=512, Fs=task.rate, noverlap=384, cmap="magma", vmin=-120, vmax=-40)
    above.set_ylabel("Hz")
    score = dict(result.predictions)[result.target]
    above.set_title(f"{Path(clip).parent} clip; explained: {result.target} ({score:.0%})", fontsize=9)
    centres, width = 0.5 * (found.start_s + found.end_s), 0.9 * (found.end_s - found.start_s)
    below.bar(centres, found.importance, width, yerr=found.uncertainty, color="C0", ecolor="0.6")
    for start, end in spans:
        below.axvspan(start, end, color="C1", alpha=0.3, lw=0, label="the cough")
    below.set_ylabel("importance")
    below.set_xlabel("seconds")
    if spans:
        below.legend(fontsize=8, loc="upper right")
    _save(figure, picture)


def _save(figure: Figure, picture: Path) -> None:
    figure.tight_layout()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture)


def _localisations(
    results: Sequence[Path], rule: Rule, same_clips: bool, together: bool = False
) -> dict[str, Localisation]:
    """A localisation a set, or one of all."""
    lines: dict[str, list[ResultLine]] = {}
    for path in results:
        for line in _lines(path):
            own = line.set or path.stem
            name = ", ".join(path.stem for path in results) if together else own
            lines.setdefault(name, []).append(msgspec.structs.replace(line, clip=f"{own}/{line.clip}"))
    found = {}
    for name, some in lines.items():
        both = {line.clip for line in some if line.method.startswith("RF-")} if same_clips else set()
        found[name] = Localisation([line.record(rule) for line in some if not both or line.clip in both])
    return found


def _lines(results: Path) -> Iterator[ResultLine]:
    with results.open(encoding="utf-8") as stream:
        for line in stream:
            yield msgspec.convert(json.loads(line), ResultLine)


if __name__ == "__main__":
    run_main(run, table, plot, picture)
