"""`detect` against cutting by hand: events planted in scenes, of clips that the model was not trained on.

    python benchmarks/detect_by_hand.py BUNDLE ESC10 [--fold 4] [--scenes 8]

A scene is 5 minutes of brown noise with 16 clips of one fold, 20 dB above it, none overlapping another. By
hand: windows one behind the other, every one that reaches the threshold is an answer. Events found: a right
answer overlaps them. False: answers that overlap no event of their label. F1 is event-based (onset within
0.5 s, offset within 0.5 s or a fifth of the length, one to one).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

import earmark
from earmark.evaluation.data.folder import load_sound
from earmark.runtime.explainer import engine_of

SECONDS, EVENTS, SLOT_S = 300, 16, 9
LEVEL, SNR_DB = 0.01, 20.0
COLLAR_S = 0.5

Event = tuple[str, float, float]


def scene(data: Path, fold: int, rate: int, seed: int) -> tuple[np.ndarray, list[Event]]:
    """The waveform, and what lies in it."""
    random = np.random.default_rng(seed)
    wave = lfilter([1], [1, -0.98], random.normal(size=SECONDS * rate)).astype(np.float32)
    wave *= LEVEL / np.sqrt(np.mean(wave**2))
    paths = sorted(data.glob(f"*/{fold}-*"))
    slots = np.sort(random.choice(np.arange(0, SECONDS - SLOT_S, SLOT_S), EVENTS, replace=False))
    events = []
    for index, slot in zip(random.choice(len(paths), EVENTS, replace=False), slots, strict=True):
        clip = load_sound(paths[index], rate)
        # Clips are padded with digital silence, which is no event.
        sounding = np.flatnonzero(np.abs(clip) > 1e-4 * np.abs(clip).max())
        clip = clip[sounding[0] : sounding[-1] + 1]
        clip *= LEVEL * 10 ** (SNR_DB / 20) / np.sqrt(np.mean(clip**2))
        first = round((slot + random.uniform(0, 3)) * rate)
        wave[first : first + len(clip)] += clip
        events.append((paths[index].parent.name, first / rate, (first + len(clip)) / rate))
    return wave, events


def counts(answers: list[Event], events: list[Event]) -> np.ndarray:
    """Events found, false answers, answers, events matched within the collar, events."""
    found, matched = set(), set()
    false = 0
    for label, start, end in answers:
        over = [k for k, (name, a, b) in enumerate(events) if name == label and a < end and start < b]
        found.update(over)
        false += not over
        for k in over:
            length = events[k][2] - events[k][1]
            near = abs(start - events[k][1]) <= COLLAR_S
            if near and abs(end - events[k][2]) <= max(COLLAR_S, 0.2 * length) and k not in matched:
                matched.add(k)
                break
    return np.array([len(found), false, len(answers), len(matched), len(events)])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--fold", type=int, default=4)
    parser.add_argument("--scenes", type=int, default=8)
    options = parser.parse_args()
    explainer = earmark.load(options.bundle, device="cpu")
    manifest = engine_of(explainer).manifest
    rate, window_s = manifest.sample_rate, manifest.window.seconds
    ways = {
        "detect, no overlap": {"hop_s": window_s},
        "detect, half": {"hop_s": window_s / 2},
        "detect, three quarters": {"hop_s": window_s / 4},
        "... min_s": {"hop_s": window_s / 4, "min_s": 3 * window_s / 8},
        "... leave_score .3, gap 1 s": {"hop_s": window_s / 4, "leave_score": 0.3, "merge_gap_s": 1.0},
    }
    scenes = [scene(options.data, options.fold, rate, seed) for seed in range(options.scenes)]
    print(f"{'score':<6}{'':<30}{'found':>9}{'false':>7}{'answers':>9}{'F1':>7}")
    for min_score in (0.4, 0.5, 0.6, 0.7):
        totals: dict[str, np.ndarray] = {}
        for wave, events in scenes:
            windows = explainer.detect(wave, rate, methods=[], hop_s=window_s).windows
            hand = [
                (windows.labels[int(row.argmax())], start, end)
                for start, end, row in zip(windows.start_s, windows.end_s, windows.scores, strict=True)
                if row.max() >= min_score
            ]
            given = {"by hand": hand}
            for name, way in ways.items():
                asked = {"min_score": min_score, "leave_score": min_score, **way}
                detections = explainer.detect(wave, rate, methods=[], **asked)
                given[name] = [(one.label, one.start_s, one.end_s) for one in detections]
            for name, answers in given.items():
                totals[name] = totals.get(name, np.zeros(5, int)) + counts(answers, events)
        for name, (found, false, answers, matched, events_) in totals.items():
            f1 = 2 * matched / (answers + events_)
            print(f"{min_score:<6}{name:<30}{f'{found}/{events_}':>9}{false:>7}{answers:>9}{f1:>7.3f}")


if __name__ == "__main__":
    main()
