"""Recordings in which sounds are planted, for `earmark detect`, and what a run over them leaves."""

import csv
import json
from pathlib import Path

import numpy as np
import soundfile
from command_line import invoke

from earmark.commands.long_run.ledger import LEDGER
from earmark.evaluation.synthesis.clips import make_clip
from earmark.runtime.explainer import SHIPPED

RATE = 16000
WRITTEN = ("--clips", "--format", "csv,raven,audacity,jsonl")
# Recording -> (label, second) of what is planted in it.
PLANTED = {
    "north/20240501_060000": [("bell", 3), ("kick", 10)],
    "north/20240501_070000": [],
    "south/20240501_060000": [("clap", 6)],
}
EXPECTED = [
    ("20240501_060000", "north", "bell"),
    ("20240501_060000", "north", "kick"),
    ("20240501_060000", "south", "clap"),
]


def plant(path, events, seconds=15, seed=0):
    """A faint noise with clips of the benchmark in it."""
    sound = (0.002 * np.random.default_rng(seed).standard_normal(seconds * RATE)).astype(np.float32)
    for number, (label, at) in enumerate(events):
        clip = make_clip(label, [seed, number], snr_db=30.0).waveform[: 2 * RATE]
        sound[at * RATE : at * RATE + len(clip)] += clip
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, RATE)
    return path


def detect(*words, **more):
    """`earmark detect` with the shipped bundle."""
    return invoke("detect", "-b", SHIPPED, "--device", "cpu", "--min-score", 0.8, *words, **more)


def table(folder):
    return list(csv.DictReader((folder / "detections.csv").open(encoding="utf-8")))


def ledger(folder):
    return [json.loads(line) for line in (folder / LEDGER).read_text().splitlines()[1:]]


def found(rows):
    return [(Path(row["file"]).stem, row["site"], row["label"]) for row in rows]
