"""Events found against false detections at every threshold: `detect` in several ways, and cutting by hand.

    python benchmarks/detect_curves.py BUNDLE SCORES FIELD [FIELD ...] [--ways "NAME;NAME"] [--psds]

FIELD is a folder of `earmark data field` with the parts tune and test. Every recording is classified once a
level, every quarter of a window, and its scores are kept in the folder SCORES; the other hops are taken from
these. For each way a threshold is chosen on `tune`: the highest with which at least as many events are found
there as cutting by hand finds with a score of 0.5. That threshold is then judged on `test`, beside cutting
by hand there: how many more events it finds and how many more false detections it has. Then, by the curves
of `test` alone, how many more false ones at as many events as cutting by hand finds with 0.5, and on average
from half as many events as both ways can find to all of these. Intervals draw whole scenes.

Found: events that share time with a detection of their label. False: detections that share time with no event
of their label; of another label: those of them that share time with an event. Cutting by hand is one window
behind the other, its best label, neighbours merged.

With --psds the polyphonic sound detection score of each way on `test` as well, by the package psds_eval,
which needs an environment with "numpy<2.4" "pandas<3", in DCASE's two settings: placed well (detections and
events intersect by 0.7), and told apart (by 0.1, with a penalty for events of another label).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from measuring import run_main

import earmark
from earmark.evaluation.detections.counts import Occurrence, overlapping
from earmark.evaluation.detections.evaluate import read_truth
from earmark.evaluation.statistics import bootstrap
from earmark.runtime.audio.listing import list_sound_files
from earmark.runtime.detections.merging import Merger
from earmark.runtime.detections.settings import DetectionSettings
from earmark.runtime.explainer import engine_of
from earmark.runtime.scores.windows import WindowScores

HAND = "by hand"
# Finer where scores of a softmax crowd.
THRESHOLDS = np.round(1 / (1 + np.exp(-np.arange(-20, 41) / 10)), 4)
FINEST = 4
# DCASE's settings of the PSDS: how much of detections and events must intersect, how much of a detection with
# an event of another label is a cross-trigger; the weight of these; of the labels' deviation; false an hour.
PSDS = {
    "placed": {"dtc_threshold": 0.7, "gtc_threshold": 0.7, "alpha_ct": 0.0},
    "told apart": {"dtc_threshold": 0.1, "gtc_threshold": 0.1, "alpha_ct": 0.5},
}
PSDS_MOST_FALSE = 100.0


@dataclass(frozen=True)
class Way:
    """How windows become detections.

    hop: of how many quarters of a window
    leave: share of the threshold at which a detection is left
    smooth, gap, shortest: in windows
    level: over what the gain of the model's pipeline is measured
    """

    hop: int = FINEST // 2
    leave: float = 0.75
    smooth: float = 0.0
    gap: float = 0.0
    shortest: float = 0.0
    top: int | None = None
    level: Literal["window", "recording"] = "window"


WAYS = {
    HAND: Way(hop=FINEST, leave=1.0, top=1),
    "no overlap": Way(hop=FINEST),
    "the defaults": Way(),
    "leave at 0.5": Way(leave=0.5),
    "leave at 1": Way(leave=1.0),
    "two windows or more": Way(shortest=0.75),
    "a quarter": Way(hop=1),
    "a quarter, smooth 0.5": Way(hop=1, smooth=0.5),
    "a quarter, smooth 1": Way(hop=1, smooth=1.0),
    "recording's level": Way(level="recording"),
}


@dataclass(frozen=True)
class Scene:
    """A recording, its true events, and the scores of its windows by level, every eighth of a window."""

    name: str
    seconds: float
    events: Sequence[Occurrence]
    windows: Mapping[str, WindowScores] = field(repr=False)


def scenes_of(explainer: earmark.Explainer, scores: Path, folder: Path, levels: Sequence[str]) -> list[Scene]:
    """Classify every recording of a part, unless its scores are kept."""
    manifest = engine_of(explainer).manifest
    truth = read_truth(folder / "events.csv", manifest.labels, manifest.name)
    scenes = []
    for path in list_sound_files(folder).files:
        name = path.relative_to(folder).as_posix()
        windows = {}
        for level in levels:
            stem = "-".join((manifest.bundle_id[:10], level, folder.parent.name, folder.name, path.stem))
            kept = scores / f"{stem}.npz"
            if not kept.exists():
                hop_s = manifest.window.seconds / FINEST
                found = explainer.detect(path, methods=[], hop_s=hop_s, level=level, min_score=1.0).windows
                np.savez(kept, start_s=found.start_s, end_s=found.end_s, scores=found.scores)
            with np.load(kept) as arrays:
                windows[level] = WindowScores(tuple(manifest.labels), **arrays)
        events = [event for event in truth if event.recording == name]
        scenes.append(Scene(name, float(windows[levels[0]].end_s[-1]), events, windows))
    return scenes


def detected(scene: Scene, way: Way, threshold: float, window_s: float) -> list[Occurrence]:
    """The detections of one way at one threshold."""
    windows = scene.windows[way.level]
    # The last window ends with the recording, wherever that is.
    chosen = sorted({*range(0, len(windows), way.hop), len(windows) - 1})
    settings = DetectionSettings(
        min_score=threshold,
        leave_score=threshold * way.leave,
        smooth_s=way.smooth * window_s,
        merge_gap_s=way.gap * window_s,
        min_s=way.shortest * window_s,
        top_per_window=way.top,
    )
    merger = Merger(settings.merging(windows.labels, "bundle"))
    events = []
    for number, k in enumerate(chosen):
        events += merger.add(number, windows.start_s[k], windows.end_s[k], windows.scores[k])
    events += merger.finish()
    return [Occurrence(scene.name, windows.labels[one.label], one.start_s, one.end_s) for one in events]


def counts(events: Sequence[Occurrence], got: Sequence[Occurrence]) -> tuple[int, int, int]:
    """Events found, false detections, and how many of these share time with an event of another label."""
    found = false = wrong = 0
    for label in {one.label for one in (*events, *got)}:
        true, here = ([one for one in some if one.label == label] for some in (events, got))
        of_events, of_detections = overlapping(true, here)
        over_any = overlapping(events, here)[1]
        found, false = found + int(of_events.sum()), false + int((~of_detections).sum())
        wrong += int((~of_detections & over_any).sum())
    return found, false, wrong


def curve(scenes: Sequence[Scene], way: Way, window_s: float) -> np.ndarray:
    """`counts` [thresholds, scenes, 3]."""
    return np.array(
        [
            [counts(one.events, detected(one, way, float(score), window_s)) for one in scenes]
            for score in THRESHOLDS
        ]
    )


def psds(scenes: Sequence[Scene], way: Way, window_s: float) -> dict[str, float]:
    """The polyphonic sound detection scores of one way, PSDS -> 0..1."""
    import pandas as pd
    from psds_eval import PSDSEval

    def table(rows: Sequence[Occurrence]) -> pd.DataFrame:
        columns = ["filename", "event_label", "onset", "offset", "level_db"]
        return pd.DataFrame(rows, columns=columns)[["filename", "onset", "offset", "event_label"]]

    truth = table([event for scene in scenes for event in scene.events])
    lengths = pd.DataFrame([(one.name, one.seconds) for one in scenes], columns=["filename", "duration"])
    points = [
        table([event for one in scenes for event in detected(one, way, float(score), window_s)])
        for score in THRESHOLDS[::3]
    ]
    scores = {}
    for name, how in PSDS.items():
        thresholds = {key: value for key, value in how.items() if key != "alpha_ct"}
        judge = PSDSEval(ground_truth=truth, metadata=lengths, cttc_threshold=0.3, **thresholds)
        for point in points:
            judge.add_operating_point(point)
        scores[name] = judge.psds(how["alpha_ct"], 1.0, PSDS_MOST_FALSE).value
    return scores


def false_at(curve_: np.ndarray, found: float | np.ndarray) -> np.ndarray:
    """False detections at so many found events, between the points [thresholds, ...] of a curve."""
    # From the highest threshold down; of several with as many found the highest.
    levels, first = np.unique(curve_[::-1, 0], return_index=True)
    return np.interp(found, levels, curve_[::-1, 1][first])


def more_false(way: np.ndarray, hand: np.ndarray, at: float | None) -> float:
    """How many more false detections a curve has, at so many found events.

    None: the mean over eleven levels, from half as many as both curves find at best to all of these.
    """
    most = min(way[:, 0].max(), hand[:, 0].max())
    levels = np.linspace(0.5 * most, most, 11) if at is None else np.array([at])
    return float((false_at(way, levels) - false_at(hand, levels)).mean())


def report(name: str, events: int, tune: Mapping[str, np.ndarray], test: Mapping[str, np.ndarray]) -> None:
    """Print how each way does at the threshold chosen on `tune`, and along its curve on `test`."""
    half = int(np.abs(THRESHOLDS - 0.5).argmin())
    target = tune[HAND][half, :, 0].sum()
    hand = test[HAND]
    scenes = hand.shape[1]
    print(f"\n{name}: {scenes} scenes to judge, {events} events; by hand at 0.5 finds {target} on tune")
    head = ("way", "at 0.5", "score", "found", "false", "more found", "more false", "at equal found", "along")
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for way, of_tune in tune.items():
        sums = of_tune.sum(axis=1)
        at = half if way == HAND else int(np.flatnonzero(sums[:, 0] >= target)[-1])
        here = test[way]
        gaps = [bootstrap(here[at, :, k] - hand[half, :, k], statistic=np.sum) for k in (0, 1)]
        for equal in (True, False):

            def along(drawn: np.ndarray, here: np.ndarray = here, equal: bool = equal) -> float:
                rows = drawn.astype(np.intp)
                mine, theirs = here[:, rows].sum(axis=1), hand[:, rows].sum(axis=1)
                return more_false(mine, theirs, theirs[half, 0] if equal else None)

            gaps.append(bootstrap(np.arange(scenes), statistic=along, repeats=1000))
        found, false, _ = here[at].sum(axis=0)
        cells = [f"{one:+.1f}" for one in gaps]
        fixed = "{}, {} false, {} of another label".format(*here[half].sum(axis=0))
        print(f"| {way} | {fixed} | {THRESHOLDS[at]:.3f} | {found} | {false} | {' | '.join(cells)} |")


def main(
    bundle: Path, scores: Path, fields: Sequence[Path], *, psds_: bool = False, ways: str = ";".join(WAYS)
) -> None:
    """Run and print."""
    scores.mkdir(parents=True, exist_ok=True)
    explainer = earmark.load(bundle, device="cpu")
    window_s = engine_of(explainer).manifest.window.seconds
    chosen = {key: way for key, way in WAYS.items() if key in (HAND, *ways.split(";"))}
    levels = sorted({way.level for way in chosen.values()}, reverse=True)
    curves: dict[str, dict[str, np.ndarray]] = {}
    for part in ("tune", "test"):
        scenes = [one for path in fields for one in scenes_of(explainer, scores, path / part, levels)]
        curves[part] = {key: curve(scenes, way, window_s) for key, way in chosen.items()}
    events = sum(len(scene.events) for scene in scenes)
    report(" ".join(path.name for path in fields), events, curves["tune"], curves["test"])
    if psds_:
        print("\n| way | " + " | ".join(f"PSDS, {name}" for name in PSDS) + " |\n|---|---|---|")
        for key, way in chosen.items():
            values = psds(scenes, way, window_s)
            print(f"| {key} | " + " | ".join(f"{value:.3f}" for value in values.values()) + " |", flush=True)


if __name__ == "__main__":
    run_main(main)
