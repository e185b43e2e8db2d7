"""What detecting costs on top of classifying, and whether memory stays constant.

    python benchmarks/detect_cost.py [--minutes 60] [--events 17] [--repeats 3] [--method mask]...

A FLAC file of faint noise with clips of the shipped bundle's labels planted at random, a few for 1 % of the
windows. In turn: the pass over the windows alone (`Engine.windows`), `detect` without explanations, and
`detect` with them; CPU seconds of the process, medians, so that other processes weigh little. Then the peak
memory of a process that does the last for a tenth of the file, and for all of it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from measuring import in_turn, run_main

import earmark
from earmark.evaluation.synthesis.clips import make_clip
from earmark.runtime.audio.sound import open_sound
from earmark.runtime.explainer import SHIPPED, engine_of

RATE = 16_000
MIN_SCORE = 0.9


def write_recording(path: Path, minutes: float, events: int) -> None:
    """A scene of that length, minute by minute; events never lie across two minutes."""
    random = np.random.default_rng(3)
    labels = earmark.load(SHIPPED, device="cpu").labels
    whole = round(minutes)
    when = sorted(
        zip(random.choice(whole, events, replace=False), random.uniform(1, 56, events), strict=True)
    )
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for minute in range(whole):
            wave = random.normal(0.0, 0.002, 60 * RATE).astype(np.float32)
            for number, (at, start_s) in enumerate(when):
                if at == minute:
                    label = labels[number % len(labels)]
                    clip = make_clip(label, [8, number, 1], snr_db=30.0).waveform
                    wave[round(start_s * RATE) :][: len(clip)] += clip
            file.write(wave)


def peak_memory(path: Path, methods: list[str]) -> float:
    """MB that a process takes that detects in the file."""
    command = [sys.executable, __file__, "--child", str(path), *(f"--method={name}" for name in methods)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(
    *,
    minutes: float = 60.0,
    events: int = 17,
    repeats: int = 3,
    method: Sequence[str] = (),
    child: Path | None = None,
) -> None:
    """Run and print."""
    # One thread: others would spin while they wait, which counts as CPU time.
    explainer = earmark.load(SHIPPED, device="cpu", session_options={"intra_op_num_threads": 1})
    methods = method or explainer.methods
    if child:
        explainer.detect(child, min_score=MIN_SCORE, methods=methods)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    with tempfile.TemporaryDirectory() as folder:
        path, tenth = Path(folder) / "scene.flac", Path(folder) / "tenth.flac"
        write_recording(path, minutes, events)
        write_recording(tenth, minutes / 10, max(1, events // 10))
        explainer.warm_up()
        ways = {
            "classify": lambda: sum(1 for _ in engine_of(explainer).windows(open_sound(path, None, RATE))),
            "detect": lambda: explainer.detect(path, min_score=MIN_SCORE, methods=[]),
            "detect and explain": lambda: explainer.detect(path, min_score=MIN_SCORE, methods=methods),
        }
        taken = in_turn(ways, repeats, clocks=(time.process_time,))
        windows, found = ways["classify"](), ways["detect and explain"]()
        explained = sum(len(one.windows) for one in found)
        print(
            f"{windows} windows, {len(found)} detections over {explained} of them ({explained / windows:.2%})"
        )
        base = np.median(taken["classify"])
        for name, times in taken.items():
            own = np.median(times)
            print(f"{name:<20}{own:>9.2f} s CPU{own / base:>9.3f}")
        few, all_ = (peak_memory(one, methods) for one in (tenth, path))
        print(f"peak memory {few:.0f} MB of a tenth, {all_:.0f} MB of all ({all_ / few:.3f})")


if __name__ == "__main__":
    run_main(main)
