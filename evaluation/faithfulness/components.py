"""Whether components say what the classifier says, and how much of the sound they hold.

Fidelity (Listen to Interpret, section 4.1) is agreement with the classifier's own decision, whatever the
label: top-k counts windows whose class, by the classifier, is among the k that theta z puts first. With
several labels decisions are sets, and F1 compares them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...runtime.audio.sound import open_sound
from ...runtime.audio.stft import as_complex
from ...runtime.engine import Engine
from ...runtime.inference.window import Window
from ...runtime.methods.components.interpreter import dictionary_of, interpret
from ...runtime.values.arrays import Array, FloatArray, Values
from ..data.folder import Clip, load_sound
from ..report import Cell, Column, Table
from ..statistics import Interval, bootstrap, by_recording
from .conditions import Condition
from .maskers import random_theta, selected

Booleans = npt.NDArray[np.bool_]
# The class that the reference recipe compares with, whatever is predicted.
_RECIPES_CLASS = 0


@dataclass(frozen=True, slots=True)
class Interpreted:
    """One window as classifier and components see it.

    clip, recording, window: which; logits, component_logits [C]: by the classifier and by theta z;
    recipe_logits [C]: by a theta that was never trained; truth [C]: the clip's labels
    selected: components selected for the class that the classifier puts first
    squared_error: mean over cells of (X - W H)^2, X = log1p|STFT|; relative_error: |X - W H| / |X|, NaN in
    silence; clipped 0 and more
    """

    clip: str
    recording: str
    window: int
    logits: FloatArray
    component_logits: FloatArray
    recipe_logits: FloatArray
    truth: Booleans
    selected: int
    squared_error: float
    relative_error: float


def interpret_clips(
    engine: Engine,
    clips: Iterable[Clip],
    condition: Condition,
    *,
    seed: int = 0,
) -> list[Interpreted]:
    """Every window of `clips` under `condition`, in order.

    seed: of the untrained theta
    Raises MethodError where the bundle has no interpreter, DataError (clips).
    """
    manifest, untrained = engine.manifest, random_theta(dictionary_of(engine.graphs), seed)
    interpreted: list[Interpreted] = []
    for clip in clips:
        waveform = condition(clip, load_sound(clip.path, manifest.sample_rate))
        opened = open_sound((waveform, manifest.sample_rate), None, manifest.sample_rate)
        truth = np.array([label in clip.labels for label in manifest.labels])
        for number, window in enumerate(engine.windows(opened)):
            outputs = interpret(engine.graphs, window)
            squared, relative = _errors(engine, window, outputs["activations"])
            target = int(window.logits.argmax())
            interpreted.append(
                Interpreted(
                    clip=clip.name,
                    recording=clip.recording,
                    window=number,
                    logits=window.logits,
                    component_logits=outputs["logits"],
                    recipe_logits=untrained @ outputs["pooled"],
                    truth=truth,
                    selected=len(selected(dictionary_of(engine.graphs), outputs["pooled"], target)),
                    squared_error=squared,
                    relative_error=relative,
                )
            )
    return interpreted


def fidelity_table(
    windows: Sequence[Interpreted], task: str, *, by_design: bool = False, seed: int = 0
) -> Table:
    """What the components say against what the classifier says, with intervals over source recordings.

    Rows: the components; the recipe's setting, an untrained theta over the same dictionary and activations,
    and that one against class 0, as the recipe compares; the classifier, for its own figures.
    """
    several = task == "multi_label"
    columns = [
        Column("method", "says"),
        Column("top1", "top-1", 3, "higher"),
        Column("top3", "top-3", 3, "higher"),
        *([Column("fidelity_f1", "F1 to classifier", 3, "higher")] if several else []),
        Column("f1" if several else "accuracy", "F1 to labels" if several else "accuracy", 3, "higher"),
    ]
    own, said, untrained, truth = (
        np.stack([getattr(one, name) for one in windows])
        for name in ("logits", "component_logits", "recipe_logits", "truth")
    )
    first, recipes = own.argmax(axis=1), np.full(len(windows), _RECIPES_CLASS)
    rows: list[Mapping[str, Cell]] = []
    for name, logits, wanted in (
        ("components", said, first),
        ("recipe: untrained theta", untrained, first),
        ("recipe: untrained theta, against class 0", untrained, recipes),
        ("classifier (by design: the components)" if by_design else "classifier", own, None),
    ):
        row: dict[str, Cell] = {"method": name}
        if wanted is not None:
            for count in (1, 3):
                row[f"top{count}"] = by_recording(_among_first(logits, wanted, count), windows, seed)
        if several and wanted is first:
            row["fidelity_f1"] = _f1(logits > 0.0, own > 0.0, windows, seed)
        # Without any, none of the clips' labels is the model's.
        if truth.any() and wanted is not recipes:
            if several:
                row["f1"] = _f1(logits > 0.0, truth, windows, seed)
            else:
                right = truth[np.arange(len(windows)), logits.argmax(axis=1)]
                row["accuracy"] = by_recording(right, windows, seed)
        rows.append(row)
    return Table(columns, rows)


def component_figures(windows: Sequence[Interpreted], *, seed: int = 0) -> dict[str, Interval]:
    """Mean error of the reconstruction, number of selected components, share of windows without any."""
    values = {
        "squared_error": [one.squared_error for one in windows],
        "relative_error": [one.relative_error for one in windows],
        "selected": [float(one.selected) for one in windows],
        "none_selected": [float(one.selected == 0) for one in windows],
    }
    return {name: by_recording(np.array(some), windows, seed) for name, some in values.items()}


def _errors(engine: Engine, window: Window, activations: FloatArray) -> tuple[float, float]:
    """Mean squared and relative error of W H for one window."""
    spectrum = np.log1p(np.abs(as_complex(window.stft)))
    missed = spectrum - activations.T @ dictionary_of(engine.graphs).columns.T
    norm = float(np.linalg.norm(spectrum))
    relative = float(np.linalg.norm(missed)) / norm if norm > 0.0 else float("nan")
    return float(np.mean(np.square(missed), dtype=np.float64)), relative


def _among_first(logits: FloatArray, wanted: Array, count: int) -> Booleans:
    """Whether the wanted class [n] is among the `count` highest of logits [n, C]; [n]."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    return np.asarray((order == wanted[:, None]).any(axis=1))


def f1(decided: Booleans, wanted: Booleans) -> float:
    """Micro F1 of decisions [n, C]: 2 TP / (2 TP + FP + FN); NaN where nothing is decided or wanted."""
    total = float(decided.sum() + wanted.sum())
    return 2.0 * float((decided & wanted).sum()) / total if total else float("nan")


def _f1(decided: Booleans, wanted: Booleans, windows: Sequence[Interpreted], seed: int) -> Interval:
    """Micro F1 with its interval: whole recordings are drawn, and F1 computed anew."""
    groups = [one.recording for one in windows]

    def of_drawn(drawn: Values) -> float:
        rows = drawn.astype(np.intp)
        return f1(decided[rows], wanted[rows])

    return bootstrap(np.arange(len(windows)), groups, statistic=of_drawn, seed=seed)
