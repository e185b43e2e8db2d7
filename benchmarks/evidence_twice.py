"""Evidence that occurs twice: pairs of segments on real clips, against removing the true events.

    python benchmarks/evidence_twice.py BUNDLE DATA [--clips 20]

DATA has events.csv. Of every clip that is classified as labelled and has two events of its label, the true
events are silenced one by one and together: the interaction I = d(A) + d(B) - d(A and B) of the log-odds, and
by it whether either suffices, both are needed, or they add up. Beside it stands what `segments` says of the
pair of stretches that overlaps these events. Clips with one event should have no interacting pair.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from measuring import run_main

import earmark
from earmark.evaluation.data.events import read_events
from earmark.evaluation.data.folder import list_sounds
from earmark.evaluation.localisation.evaluate import segment_edges
from earmark.evaluation.localisation.localisers import LocalisationTask, task_of
from earmark.runtime.methods.segments.result import SegmentPair


def log_odds(task: LocalisationTask, sounds: list[np.ndarray]) -> np.ndarray:
    """Of the target [B], of sounds [N] each."""
    scores = np.clip(task.probabilities(np.stack(sounds)), 1e-6, 1 - 1e-6)
    return np.log(scores) - np.log1p(-scores)


def oracle(task: LocalisationTask, spans: list[tuple[float, float]]) -> SegmentPair:
    """What removing the true events says."""
    sounds = [task.waveform]
    for chosen in ((0,), (1,), (0, 1)):
        sound = task.waveform.copy()
        for index in chosen:
            start, end = spans[index]
            sound[round(start * task.rate) : round(end * task.rate)] = 0.0
        sounds.append(sound)
    full, *left = log_odds(task, sounds)
    return SegmentPair(spans[0], spans[1], *(float(full - one) for one in left), uncertainty=0.0)


def overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Seconds in common."""
    return max(0.0, min(one[1], other[1]) - max(one[0], other[0]))


def main(bundle: Path, data: Path, *, clips: int = 20, prior: str = "mask") -> None:
    """Print a line a clip, and what agrees; so many clips with one event, and with two."""
    explainer = earmark.load(bundle, device="cpu")
    annotations = read_events(data / "events.csv", list_sounds(data, fewest_classes=1), explainer.labels)
    seen = {1: 0, 2: 0}
    agree, found, alone = 0, 0, 0
    kinds: dict[str, int] = {}
    for number in np.random.default_rng(0).permutation(len(annotations.clips)).tolist():
        clip = annotations.clips[number]
        count = len(clip.events)
        if seen.get(count, clips) >= clips:
            continue
        target = explainer.labels.index(clip.label)
        task, predicted = task_of(explainer, clip.clip.path, None, target, segment_edges(clip.seconds))
        if predicted != target:
            continue
        seen[count] += 1
        options = {"segments": {"fill": "zeros", "prior": prior}}
        result = explainer.explain(
            task.waveform, task.rate, target=clip.label, methods=["segments"], options=options
        ).segments
        if count == 1:
            alone += not result.interacting
            continue
        spans = [(event.start_s, event.end_s) for event in clip.events]
        truth = oracle(task, spans)
        kinds[truth.kind] = kinds.get(truth.kind, 0) + 1
        near = [
            pair
            for pair in result.pairs
            if overlap(pair.first, spans[0]) > 0.0 and overlap(pair.second, spans[1]) > 0.0
        ]
        found += bool(near)
        agree += bool(near) and near[0].kind == truth.kind
        says = f"{near[0].kind} ({near[0].interaction:+.1f})" if near else "no such pair"
        print(f"{clip.clip.name}: true {truth.kind} ({truth.interaction:+.1f}), segments {says}")
    print(f"two events: {seen[2]} clips, true kinds {kinds}; pair found {found}, of the same kind {agree}")
    print(f"one event: {seen[1]} clips, {alone} without an interacting pair")


if __name__ == "__main__":
    run_main(main)
