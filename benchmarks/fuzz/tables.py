"""Damaged tables alone: a generation of prototypes without its bundle, labels.csv, events and attributions.

    python benchmarks/fuzz/tables.py --cases 100000 --seed 1 --jobs 2 --out FOLDER

A generation is opened, checked as by `verify`, and asked everything (every clip, entry and channel, a search
in every view) without the hashes that would have stopped the damage; odd seeds take one that is searched in
lists. Tables of text are read as `evaluate` and `index` read them. Faults are crashes, hangs, memory,
exceptions that are no EarmarkError, unclear messages, and numbers that cannot be.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import harness  # before numpy: it sets the number of threads

# isort: split
import numpy as np
from bundle_damage import Damaged
from byte_damage import damage as damage_bytes
from click.testing import CliRunner
from harness import Verdict, note, refusal
from subject import LABELS, build

from earmark.cli import main as cli
from earmark.evaluation.data.events import read_events
from earmark.evaluation.data.folder import list_sounds
from earmark.prototypes_index.checks import check_generation
from earmark.prototypes_index.generation import Generation
from earmark.prototypes_index.opening import read_generation
from earmark.runtime.bundle.open import read_manifest

_CELLS = (
    "",
    " ",
    "\0",
    "\x1b[31m",
    "nan",
    "inf",
    "-1",
    "1e999",
    "0x10",
    "1_0",
    "٣",
    "../x.wav",
    "/etc/passwd",
    "a;b;;",
    '"',
    '"open',
    "x" * 200_000,
    "\u2028",
    "\r",
    "é",
    "hum/hum0.wav",
    ";" * 5000,
    "..",
    ".",
    "hum",
    "=1+1",
)
_CODINGS = ("utf-8", "utf-8-sig", "utf-16", "latin-1")


class Tables:
    """The cases, over one intact bundle and a folder of sound."""

    def __init__(self, source: Path, data: Path) -> None:
        self.source, self.data = source, data
        self.spec = read_manifest(source).prototypes
        assert self.spec is not None
        self.generation = source / "prototypes" / self.spec.generation

    def __call__(self, seed: int, index: int, folder: Path) -> Verdict:
        """One case."""
        draw = random.Random(f"{seed}:{index}")
        kinds: tuple[Callable[[random.Random, Path], Verdict], ...] = (
            self._generation,
            self._generation,
            self._labels,
            self._events,
            self._attributions,
        )
        return draw.choice(kinds)(draw, folder)

    def ask_whole(self) -> None:
        """Ask the intact generation everything."""
        _ask(read_generation(self.generation, self.spec), random.Random(0))

    def _generation(self, draw: random.Random, folder: Path) -> Verdict:
        one = Damaged(self.generation, folder / "generation", draw)
        for _ in range(draw.choice([1, 1, 2])):
            one.step(("bytes", "exchanged", "special", "table", "search", "lines", "info"))
        where = "; ".join(one.steps)
        note(folder, where)
        try:
            generation = read_generation(one.folder, self.spec)
            check_generation(generation)
            wrong = _ask(generation, draw)
        except Exception as error:
            return refusal(error, (str(one.folder),), where)
        return Verdict("silent", wrong, where) if wrong else Verdict("ok", where=where)

    def _labels(self, draw: random.Random, folder: Path) -> Verdict:
        rows = [
            ["clip", "labels"],
            *([name, ";".join(sorted({name.split("/")[0], "hum"}))] for name in self._clips()),
        ]
        where = self._write(folder / "labels.csv", rows, draw)
        # The clips themselves, under the damaged table.
        for name in self._clips():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).symlink_to(self.data / name)
        try:
            found = list_sounds(folder, fewest_classes=1)
        except Exception as error:
            return refusal(error, (str(folder), "labels.csv"), f"labels.csv: {where}")
        lost = [clip.name for clip in found.clips if not clip.path.is_file()]
        return (
            Verdict("silent", f"clips that are not there: {lost}", where)
            if lost
            else Verdict("ok", where=where)
        )

    def _events(self, draw: random.Random, folder: Path) -> Verdict:
        rows = [["clip", "label", "start_s", "end_s"]]
        rows += [[name, name.split("/")[0], "0.1", "0.25"] for name in self._clips()]
        where = self._write(folder / "events.csv", rows, draw)
        try:
            found = read_events(folder / "events.csv", list_sounds(self.data, fewest_classes=1), LABELS)
        except Exception as error:
            return refusal(error, (str(folder), str(self.data)), f"events.csv: {where}")
        for clip in found.clips:
            for event in clip.events:
                if not 0 <= event.start_s < event.end_s <= clip.seconds:
                    return Verdict("silent", f"an event from {event.start_s} to {event.end_s} s", where)
        return Verdict("ok", where=where)

    def _attributions(self, draw: random.Random, folder: Path) -> Verdict:
        """Read by `earmark index`, which stops at the empty folder of sound."""
        rows = [["file", "author", "licence"], *([name, "somebody", "CC0"] for name in self._clips())]
        where = f"attributions: {self._write(folder / 'a.csv', rows, draw)}"
        (folder / "data").mkdir()
        arguments = ["index", str(self.source), str(folder / "data"), "--attribution", str(folder / "a.csv")]
        result = CliRunner().invoke(cli, arguments)
        if "defect in earmark" in result.output or result.exit_code not in (1, 2):
            return Verdict("defect", f"exit {result.exit_code}: {result.output[-200:]!r}", where)
        return Verdict("refused", result.output[-200:], where)

    def _clips(self) -> list[str]:
        return sorted(path.relative_to(self.data).as_posix() for path in self.data.rglob("*.wav"))

    def _write(self, path: Path, rows: list[list[str]], draw: random.Random) -> str:
        """Write a damaged table of text and say what was done to it."""
        if draw.random() < 0.7:
            row = draw.choice(rows)
            at = draw.randrange(len(row))
            row[at] = draw.choice(_CELLS)
            if draw.random() < 0.2:
                del row[at]
            where = f"cell {row[at][:20]!r}" if at < len(row) else "cell gone"
            lines = [",".join(row) for row in rows]
            content = (draw.choice(["\n", "\r\n", "\r"]).join(lines) + "\n").encode(
                draw.choice(_CODINGS), "replace"
            )
        else:
            content, where = damage_bytes("\n".join(",".join(row) for row in rows).encode(), draw)
        path.write_bytes(content)
        return where


def _ask(generation: Generation, draw: random.Random) -> str:
    """Ask a generation everything; what cannot be, "" where all is well."""
    queries = np.random.default_rng(draw.randrange(1000))
    for clip in generation.all_clips():
        if not all(
            isinstance(value, (int, float)) and abs(value) < 1e12
            for value in (clip.offset_s, clip.duration_s)
        ):
            return f"a clip at {clip.offset_s!r} of {clip.duration_s!r} s"
    for view in generation.views:
        for row in range(len(generation.entries(view))):
            entry = generation.entry(view, row)
            numbers = [entry.start_s, entry.end_s, entry.fmin_hz, entry.fmax_hz, entry.score]
            if not np.isfinite(numbers).all():
                return f"an entry of {view} with {numbers}"
        vectors = queries.standard_normal((2, generation.info.views[view].dimension)).astype(np.float32)
        for match in generation.search(view, vectors, 3):
            if not -1.001 <= match.cosine <= 1.001:
                return f"a cosine of {match.cosine} in {view}"
        for channel in range(generation.info.channels):
            for top in generation.strongest(view, channel):
                generation.entry(view, int(top["entry"]))
                if not np.isfinite(top["score"]):
                    return f"a score of {top['score']} in {view}"
    return ""


def main() -> int:
    """Run."""
    settings = harness.asked()
    with tempfile.TemporaryDirectory(prefix="earmark-subject-", dir=harness.shared_memory()) as folder:
        lists = settings.seed % 2 == 1
        bundle = harness.in_child(lambda: build(Path(folder), lists=lists))
        tables = Tables(bundle, Path(folder) / "data")
        return harness.main("tables", tables, settings, tables.ask_whole)


if __name__ == "__main__":
    sys.exit(main())
