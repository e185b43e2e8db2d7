"""Damaged bundles, opened, explained with and verified: refused in one clear line, or answered as before.

    python benchmarks/fuzz/bundles.py --cases 100000 --seed 1 --jobs 2 --out FOLDER

Half of the damaged bundles get true hashes again, as a stranger would give them. Faults are crashes, hangs,
memory, exceptions that are no EarmarkError, unclear messages, and in silence: damage that is not noticed
though hashes are wrong, numbers that are not finite or out of range, control characters in the answer,
a bundle that `verify` passes and `explain` refuses, or passes although its scores are others.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import harness  # before numpy: it sets the number of threads

# isort: split
import array_damage
import numpy as np
from bundle_damage import MANIFEST, Damaged
from click.testing import CliRunner
from harness import SilentError, Verdict, note, refusal
from subject import RATE, build

import earmark
from earmark.cli import main as cli
from earmark.commands.answer import Display, answer
from earmark.commands.console import say
from earmark.errors import EarmarkError
from earmark.runtime.results.result import Result
from earmark.runtime.verify import verify

# Scores and mask of a bundle that passes `verify`: within what it allows, and a little.
_TOLERANCE = 1e-3


class AnswerNumbers(NamedTuple):
    """What a bundle says of the sound; nothing where it has no such explanation.

    logits: [K]; mask: [T, F]; components: their relevance
    """

    logits: np.ndarray
    mask: np.ndarray
    components: np.ndarray


class Bundles:
    """The cases: damage a copy of the bundle, then see what becomes of it."""

    def __init__(self, sources: list[Path]) -> None:
        self.sources = sources
        self.file = sources[0].parent / "data" / "hum" / "hum1.wav"
        with np.load(sources[0] / "golden.npz") as golden:
            # As the front end gets it, hence what `verify` asks about; long enough for every method.
            self.sound = golden["waveform_2"][0]
        self.expected: dict[Path, AnswerNumbers] = {}
        array_damage.bomb()  # once, in the parent

    def __call__(self, seed: int, index: int, folder: Path) -> Verdict:
        """One case."""
        draw = random.Random(f"{seed}:{index}")
        bundle = folder / "bundle"
        bundle.mkdir()
        one = Damaged(draw.choice(self.sources), bundle, draw)
        remembered = draw.random() < 0.05
        if remembered:
            self.explain(bundle, draw)
        for _ in range(draw.choice([1, 1, 1, 2, 3])):
            one.step()
        signed = draw.random() < 0.6
        if signed:
            try:
                one.sign()
            except (
                OSError,
                ValueError,
                LookupError,
                TypeError,
                AttributeError,
                RecursionError,
                EarmarkError,
            ):
                signed = False
        where = "; ".join(one.steps) + (" signed" if signed else "") + (" remembered" if remembered else "")
        note(folder, where)
        try:
            return self._judge(one, signed, where, draw, verify_first=remembered or draw.random() < 0.5)
        except SilentError as fault:
            return Verdict("silent", str(fault), where)

    def _judge(
        self, one: Damaged, signed: bool, where: str, draw: random.Random, *, verify_first: bool
    ) -> Verdict:
        """A bundle that is remembered as whole is believed until `verify` has looked: then `verify_first`."""
        # Whoever asks knows the bundle: a file's name in it says enough.
        names = (str(one.folder), *(Path(name).name for name in one.names))
        verified, verdict = False, Verdict("ok", "", where)
        refused: Verdict | None = None
        for what in ("verify", "explain") if verify_first else ("explain", "verify"):
            try:
                if what == "verify":
                    _, checks = verify(one.folder, "cpu")
                    verified = all(check.passed for check in checks)
                else:
                    found = self.explain(one.folder, draw)
            except SilentError:
                raise
            except Exception as error:
                verdict = refusal(error, names, where)
                if verdict.kind != "refused":
                    return Verdict(verdict.kind, f"{what}: {verdict.detail}", where)
                if what == "explain":
                    refused = verdict
        if draw.random() < 0.1:
            _commands(one.folder, self.file, draw)
        if refused is not None:
            if verified:
                raise SilentError(f"verify passes what explain refuses: {refused.detail}")
            return refused
        self._compare(one, found, verified, signed)
        return verdict

    def explain(self, bundle: Path, draw: random.Random) -> AnswerNumbers:
        """What the bundle says of the sound, checked in itself."""
        with earmark.load(bundle, device="cpu") as explainer:
            result = explainer.explain((self.sound, RATE), rescore=draw.random() < 0.1)
            found = _checked(result, bundle)
            if draw.random() < 0.1:
                settings = {"segments": {"calls": 16, "segment_seconds": 0.05}}
                try:
                    segments = explainer.explain((self.sound, RATE), methods=["segments"], options=settings)
                except EarmarkError:
                    # Damage may leave the model with windows too short for segments.
                    return found
                json.dumps(segments.to_dict(), allow_nan=False)
            if draw.random() < 0.01:
                result.save(bundle.parent / "saved")
        return found

    def _compare(self, one: Damaged, found: AnswerNumbers, verified: bool, signed: bool) -> None:
        """Raise SilentError where an answer is another and nothing told of it."""
        if one.manifest_damaged:
            # What the manifest says is so: a bundle is whatever it says, within its limits.
            return
        changed = [
            name for name in one.touched if name != MANIFEST and _differs(one.source, one.folder, name)
        ]
        listed = set(json.loads((one.source / MANIFEST).read_bytes())["files"])
        if not signed and set(changed) & listed:
            raise SilentError(f"wrong hashes, and explained: {sorted(set(changed) & listed)}")
        for name, got, known in zip(AnswerNumbers._fields, found, self.expected[one.source], strict=True):
            difference = float(np.abs(got - known).max(initial=0.0)) if got.shape == known.shape else 9e9
            if verified and difference > _TOLERANCE * max(1.0, float(np.abs(known).max())):
                raise SilentError(f"verify passes, and {name} differ by {difference:.3g}")
            if not signed and difference:
                raise SilentError(f"nothing listed was changed, and {name} differ by {difference:.3g}")


def _differs(source: Path, folder: Path, name: str) -> bool:
    """Whether a reader that follows links within the bundle finds another file there."""
    path = folder / name
    return not _within(path, folder) or path.read_bytes() != (source / name).read_bytes()


def _within(path: Path, folder: Path) -> bool:
    try:
        return path.is_file() and path.resolve(strict=True).is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False


def _checked(result: Result, bundle: Path) -> AnswerNumbers:
    """The result's numbers, once they were looked at. Raises SilentError."""
    json.dumps(result.to_dict(), allow_nan=False)
    with contextlib.redirect_stdout(io.StringIO()) as written:
        say(*answer("sound", result, Display()))
    text = written.getvalue()
    if any(ord(one) < 32 and one != "\n" for one in text) or "\x7f" in text:
        raise SilentError(f"control characters in the answer: {text[:200]!r}")
    if "nan" in text.split() or "inf" in text.split() or "+nan" in text:
        raise SilentError(f"no number in the answer: {text[:200]!r}")
    scores = np.array([score for _, score in result.predictions])
    if not ((scores >= 0) & (scores <= 1)).all() or not np.isfinite(result.logits).all():
        raise SilentError(f"scores {scores[:4]}, logits {result.logits[:4]}")
    mask = np.zeros(0) if result.mask is None else np.asarray(result.mask.values)
    if result.mask is not None:
        if not ((mask >= 0) & (mask <= 1)).all():
            raise SilentError("a mask outside of 0..1")
        if not (np.isfinite(result.mask.audio).all() and np.isfinite(result.mask.residual).all()):
            raise SilentError("sound that is not finite")
    relevance = np.zeros(0) if result.components is None else np.asarray(result.components.relevance)
    if not np.isfinite(relevance).all():
        raise SilentError("components that are not finite")
    for ones in (result.prototypes or {}).values():
        for rank, one in enumerate(ones):
            if not -1.001 <= one.similarity <= 1.001:
                raise SilentError(f"a similarity of {one.similarity}")
            if one.sound is not None:
                if one.sound.exists() and not _within(one.sound, bundle):
                    raise SilentError(f"plays {one.sound.name!r}, which is no file of the bundle")
                if rank == 0:
                    one.audio()
    return AnswerNumbers(result.logits, mask, relevance)


def _commands(bundle: Path, sound: Path, draw: random.Random) -> None:
    """A command over the bundle. Raises SilentError where it ends in a defect or steers a terminal."""
    name = draw.choice(["inspect", "inspect --json", "verify", "verify --json", "explain", "explain --json"])
    verb, *flags = name.split()
    words = [verb, "-b", str(bundle), str(sound)] if verb == "explain" else [verb, str(bundle)]
    done = CliRunner().invoke(cli, [*words, *flags])
    text = done.output
    if "a defect in earmark" in text or done.exit_code not in (0, 1):
        raise SilentError(f"earmark {name} ends with {done.exit_code}: {text[-200:]!r}")
    if any(ord(one) < 32 and one != "\n" for one in text):
        raise SilentError(f"earmark {name} writes control characters")
    if flags and done.exit_code == 0:
        json.loads(done.stdout, parse_constant=_no_number)


def _no_number(text: str) -> None:
    raise SilentError(f"{text} in JSON")


def reference(cases: Bundles) -> dict[Path, AnswerNumbers]:
    """What the intact bundles answer."""
    os.environ["XDG_CACHE_HOME"] = str(cases.sources[0].parent / "cache")
    expected = {}
    for source in cases.sources:
        expected[source] = cases.explain(source, random.Random(0))
        _commands(source, cases.file, random.Random(0))
        verify(source, "cpu")
    return expected


def main() -> int:
    """Run."""
    settings = harness.asked()
    with tempfile.TemporaryDirectory(prefix="earmark-subject-", dir=harness.shared_memory()) as name:
        folder = Path(name)
        made = [
            harness.in_child(lambda: build(folder / "flat")),
            harness.in_child(lambda: build(folder / "lists", lists=True)),
        ]
        cases = Bundles(made)
        cases.expected = harness.in_child(lambda: reference(cases))
        return harness.main("bundles", cases, settings, lambda: reference(cases))


if __name__ == "__main__":
    sys.exit(main())
