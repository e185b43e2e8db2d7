"""Runs seeded cases in forked children with limits, and counts what became of them.

A case is a function of (seed, index, folder) that returns a `Verdict`. The parent imports everything once and
holds no session and no thread; a child does a group of cases and tells of each before and after, so that a
crash or a hang is put down to the case that caused it and the rest of the group runs in another child.
"""

from __future__ import annotations

import collections
import contextlib
import faulthandler
import gc
import importlib
import json
import os
import pickle
import re
import resource
import selectors
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from report import GOOD, HEADER, FuzzReport

# One thread an operator: a child dies without waiting for others, and cases are compared bit by bit.
os.environ["EARMARK_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.path.append(str(Path(__file__).parents[1]))

from measuring import given

# Faulty cases kept as files for each kind of fault.
_KEPT = 3


@dataclass(frozen=True)
class Verdict:
    """What became of a case.

    kind: ok; refused: one clear line of an `EarmarkError`; unclear: an error that is not one clear line with
        the file's name; defect: any other exception; silent: a wrong answer that nothing tells of; crash: a
        signal; hang: no end within the time; memory: more than the limit
    detail: one line; where: what was done to the input
    """

    kind: str
    detail: str = ""
    where: str = ""

    @property
    def signature(self) -> str:
        """Kind and detail without what differs between cases of one fault, and for sounds their container."""
        text = re.sub(r"/\S+|'[^']*'|\"[^\"]*\"|\(.*|\[.*|0x[0-9a-f]+|[-+]?\d[\d.e+-]*", "#", self.detail)
        group = re.split(r"[ (:]", self.where)[0]
        return f"{self.kind}: {text[:110]}" + (f" ({group})" if group.isupper() else "")


class SilentError(Exception):
    """An answer that is wrong in silence."""


@dataclass(frozen=True)
class CaseLimits:
    """Of one case: wall clock, resident memory beyond the parent's, address space beyond the parent's."""

    seconds: float = 20.0
    resident_mb: int = 1024
    address_mb: int = 8192


Case = Callable[[int, int, Path], Verdict]


def refusal(error: BaseException, names: tuple[str, ...], where: str) -> Verdict:
    """The verdict over an exception that a call of earmark raised.

    names: of which the message must hold one, so that the user knows which file is meant
    """
    from earmark.errors import EarmarkError

    text = str(error)
    if isinstance(error, MemoryError) or re.search(
        r"bad.?alloc|unable to allocate|std::length_error", text, re.I
    ):
        return Verdict("memory", f"{type(error).__name__}: {text[:200]}", where)
    if not isinstance(error, EarmarkError):
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.name}"
        return Verdict("defect", f"{type(error).__name__} in {place}: {text[:200]!r}", where)
    if not text.strip() or any(unicodedata.category(one) in {"Cc", "Cs", "Zl", "Zp"} for one in text):
        return Verdict("unclear", f"no printable line: {text[:200]!r}", where)
    if len(text) > 1500:
        return Verdict("unclear", f"{len(text)} characters: {text[:200]}", where)
    if not any(name in text for name in names):
        return Verdict("unclear", f"names no file: {text[:200]}", where)
    return Verdict("refused", text[:200], where)


@dataclass(frozen=True, kw_only=True)
class FuzzSettings:
    """What every fuzzer is asked for.

    cases: how many, from the number `first` on; minutes: stop after so many, whatever is left
    jobs: children at once; case: this one alone, whose files are kept; seconds: limit of one case
    out: folder for the files of faulty cases and report.json
    """

    cases: int = 1000
    seed: int = 0
    first: int = 0
    minutes: float | None = None
    jobs: int = 1
    case: int | None = None
    out: Path | None = None
    seconds: float = CaseLimits.seconds


def asked() -> FuzzSettings:
    """What the command line asks for."""
    return given(FuzzSettings)


def main(name: str, case: Case, settings: FuzzSettings, whole: Callable[[], Any]) -> int:
    """Run what `settings` ask for and print it. Returns the exit code: 1 where a case was a fault.

    whole: does what cases do, with an input that is whole: what it imports is imported here, once for all
    """
    for module in in_child(lambda: (whole(), sorted(sys.modules))[1]):
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    limits = CaseLimits(seconds=settings.seconds)
    out = settings.out or Path(tempfile.mkdtemp(prefix=f"earmark-fuzz-{name}-"))
    out.mkdir(parents=True, exist_ok=True)
    indexes = (
        range(settings.first, settings.first + settings.cases) if settings.case is None else [settings.case]
    )
    report = FuzzReport(name, settings.seed)
    start = time.monotonic()
    deadline = None if settings.minutes is None else start + 60.0 * settings.minutes
    script = f"python {os.path.relpath(sys.argv[0])}"
    for index, verdict, files in Runner(case, settings.seed, limits, settings.jobs).run(
        iter(indexes), deadline
    ):
        report.counts[verdict.kind] += 1
        report.seconds = time.monotonic() - start
        if settings.case is not None:
            _keep(files, out / f"case-{index}")
            print(f"{verdict.kind}: {verdict.where}: {verdict.detail}\nits files: {out / f'case-{index}'}")
        elif verdict.kind not in GOOD:
            seen = report.faults.setdefault(verdict.signature, [])
            if not seen:
                report.details[verdict.signature] = f"{verdict.where}: {verdict.detail}"
                print(
                    f"FAULT {verdict.signature}\n  {script} --seed {settings.seed} --case {index}", flush=True
                )
            if len(seen) < _KEPT:
                _keep(files, out / f"{verdict.kind}-{settings.seed}-{index}")
            seen.append(index)
        if files is not None:
            shutil.rmtree(files, ignore_errors=True)
    (out / "report.json").write_text(json.dumps(asdict(report), indent=1))
    _summary(report, out, script)
    return 1 if report.failures else 0


def _summary(report: FuzzReport, out: Path, script: str) -> None:
    rate = report.cases / max(report.seconds, 1e-9)
    print(f"\n{HEADER}\n{report.row()}\n\n{report.seconds:.0f} s, {rate:.0f} cases a second; files in {out}")
    for signature, indexes in sorted(report.faults.items(), key=lambda item: -len(item[1])):
        print(f"\n{len(indexes)} x {signature}")
        print(f"  {report.details[signature][:400]}")
        print(f"  {script} --seed {report.seed} --case {indexes[0]}")


def _keep(files: Path | None, target: Path) -> None:
    if files is not None and files.exists():
        shutil.rmtree(target, ignore_errors=True)
        # A case may have left pipes and devices, which no copy gets to the end of.
        ignore = lambda folder, names: [n for n in names if not _plain(Path(folder) / n)]  # noqa: E731
        shutil.copytree(files, target, symlinks=True, ignore=ignore)


def _plain(path: Path) -> bool:
    return path.is_symlink() or path.is_file() or path.is_dir()


class Runner:
    """Keeps `jobs` children busy with groups of cases and collects what they tell."""

    _GROUP = 50

    def __init__(self, case: Case, seed: int, limits: CaseLimits, jobs: int) -> None:
        self._case, self._seed, self._limits, self._jobs = case, seed, limits, jobs
        # Memory where the system has it: most of a case's time would go into the disk.
        self._base = Path(tempfile.mkdtemp(prefix="earmark-fuzz-", dir=shared_memory()))

    def run(
        self, indexes: Iterator[int], deadline: float | None
    ) -> Iterator[tuple[int, Verdict, Path | None]]:
        """Give (index, verdict, folder of its files), in the order in which cases end."""
        waiting: collections.deque[list[int]] = collections.deque()
        children: dict[int, _Child] = {}
        selector = selectors.DefaultSelector()
        try:
            while True:
                late = deadline is not None and time.monotonic() > deadline
                while len(children) < self._jobs and not late:
                    group = waiting.popleft() if waiting else list(islice(indexes, self._GROUP))
                    if not group:
                        break
                    child = _Child(self._case, self._seed, group, self._base, self._limits)
                    children[child.pipe] = child
                    selector.register(child.pipe, selectors.EVENT_READ)
                if not children:
                    return
                for key, _ in selector.select(0.5):
                    child = children[key.fd]
                    yield from child.read()
                    if child.ended:
                        selector.unregister(child.pipe)
                        yield from self._buried(children.pop(child.pipe), waiting)
                for child in [one for one in children.values() if one.overdue]:
                    child.kill()
                if late:
                    for child in children.values():
                        child.drop()
        finally:
            for child in children.values():
                child.kill()
                child.bury()
            shutil.rmtree(self._base, ignore_errors=True)

    def _buried(
        self, child: _Child, waiting: collections.deque[list[int]]
    ) -> Iterator[tuple[int, Verdict, Path | None]]:
        verdict = child.bury()
        if verdict is not None:
            yield child.at, verdict, child.folder(child.at)
        if child.left and not child.dropped:
            waiting.append(child.left)


class _Child:
    """A forked process that works through a group of cases."""

    def __init__(self, case: Case, seed: int, group: list[int], base: Path, limits: CaseLimits) -> None:
        self.left, self.at, self.ended = list(group), -1, False
        self._base, self._limits = base, limits
        self._killed = self.dropped = False
        self._text = b""
        self._since: float | None = time.monotonic()
        self._started = False
        self.pipe, writer = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.pipe)
            _work(case, seed, group, base, limits, writer)
        os.close(writer)

    def folder(self, index: int) -> Path:
        return self._base / str(index)

    @property
    def overdue(self) -> bool:
        return not self._killed and time.monotonic() - (self._since or 0.0) > self._limits.seconds

    def read(self) -> Iterator[tuple[int, Verdict, Path | None]]:
        """What it has told since."""
        content = os.read(self.pipe, 1 << 16)
        self.ended = not content
        *lines, self._text = (self._text + content).split(b"\n")
        for line in [] if self.dropped else lines:
            told = json.loads(line)
            self._since = time.monotonic()
            if "start" in told:
                self.at, self._started = told["start"], True
                self.left.remove(self.at)
            else:
                self._started = False
                verdict = Verdict(told["kind"], told["detail"], told["where"])
                yield self.at, verdict, self.folder(self.at)

    def drop(self) -> None:
        """Let it go, with the case at work: time is up."""
        self.dropped = True
        self.kill()

    def kill(self) -> None:
        self._killed = True
        os.kill(self.pid, signal.SIGKILL)

    def bury(self) -> Verdict | None:
        """Wait for its end; a verdict where a case was at work."""
        os.close(self.pipe)
        _, status = os.waitpid(self.pid, 0)
        if not self._started or self.dropped:
            return None
        note = self.folder(self.at).with_suffix(".where")
        where = note.read_text() if note.exists() else ""
        if self._killed:
            return Verdict("hang", f"no end within {self._limits.seconds:g} s", where)
        code = os.waitstatus_to_exitcode(status)
        name = signal.Signals(-code).name if code < 0 else f"exit {code}"
        return Verdict("crash", name, where)


def in_child(function: Callable[[], Any]) -> Any:
    """What `function` returns, called in a child: the parent shall hold no session and no thread."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(pickle.dumps(function()))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        content = pipe.read()
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise SystemExit("the input to damage could not be made")
    return pickle.loads(content)


def note(folder: Path, where: str) -> None:
    """Tell what was done to the input before it is used, for cases that never come back."""
    folder.with_suffix(".where").write_text(where)


def _work(case: Case, seed: int, group: list[int], base: Path, limits: CaseLimits, pipe: int) -> None:
    """The child: never returns."""

    def tell(**what: object) -> None:
        os.write(pipe, json.dumps(what).encode() + b"\n")

    try:
        faulthandler.disable()
        quiet = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(quiet, number)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        address = pages * resource.getpagesize() + (limits.address_mb << 20)
        resource.setrlimit(resource.RLIMIT_AS, (address, address))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
        # The parent's garbage, freed in the middle of a case, would hide as much of the case's own memory.
        gc.freeze()
        before = _peak_mb()
        os.environ["XDG_CACHE_HOME"] = str(base / "cache" / str(os.getpid()))
        for index in group:
            tell(start=index)
            folder = base / str(index)
            folder.mkdir()
            try:
                verdict = case(seed, index, folder)
            except Exception as error:
                # Of the fuzzer itself: never expected.
                verdict = Verdict(
                    "defect", f"the fuzzer: {traceback.format_exc()[-600:]}", type(error).__name__
                )
            used = _peak_mb() - before
            if used > limits.resident_mb and verdict.kind in GOOD:
                verdict = Verdict("memory", f"{used} MB resident; {verdict.detail}", verdict.where)
            if verdict.kind in GOOD:
                shutil.rmtree(folder, ignore_errors=True)
            folder.with_suffix(".where").unlink(missing_ok=True)
            tell(**asdict(verdict))
            if used > limits.resident_mb:
                break
        shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)
    finally:
        os._exit(0)


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def shared_memory() -> str | None:
    """The folder whose files lie in memory, where the system has one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
