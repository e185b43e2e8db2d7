"""Processes that do the work of a run, one recording at a time; one that dies or stands still is replaced.

A recording that ends its process is tried once more, by a fresh one, since the system may have ended the
first for others' memory. One that does so again, or that keeps a process from going on, is given up with its
reason, and the run goes on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Protocol, TypeVar

from ...errors import EarmarkError, RunError, as_earmark_error
from ...log import logger
from ...runtime.inference.threads import thread_count

Task = TypeVar("Task")
Answer = TypeVar("Answer")
# How far the work on a sound is: seconds of it that are done.
Beat = Callable[[float], None]

# How often the processes are looked at.
_TICK_S = 0.5
_MOST_TRIES = 2
# For a process whose end of the pipe is closed.
_JOIN_S = 5.0
_SPAWN = multiprocessing.get_context("spawn")


_Given_contra = TypeVar("_Given_contra", contravariant=True)
_Made_co = TypeVar("_Made_co", covariant=True)


class Work(Protocol[_Given_contra, _Made_co]):
    """What a process does; it is pickled to get there."""

    def open(self) -> Callable[[_Given_contra, Beat], _Made_co]:
        """What is done once in each process, such as opening a bundle: gives what does a task.

        Whatever that raises ends the run; what a task is to survive, its answer says.
        """


@dataclass(frozen=True)
class Lost(Generic[Task]):
    """A task that no process could finish, and why."""

    task: Task
    reason: str


@dataclass(frozen=True)
class _Raised:
    """What opening or a task raised."""

    error: EarmarkError


class _Open:
    """What a process says once it can begin."""


@dataclass
class _Worker(Generic[Task]):
    """A process and what it is at.

    open: whether it could begin; done_s: how far it last said that it is; since: when that changed
    """

    process: Any
    connection: Connection
    beat: Any
    task: Task
    open: bool = False
    done_s: float = 0.0
    since: float = field(default_factory=time.monotonic)

    def give(self, task: Task) -> None:
        """Let it do a task."""
        self.task, self.done_s, self.since = task, 0.0, time.monotonic()
        self.beat.value = 0.0
        # One that died meanwhile is seen by its end.
        with suppress(OSError):
            self.connection.send(task)

    def look(self) -> None:
        """Note how far it is."""
        if (done_s := self.beat.value) != self.done_s:
            self.done_s, self.since = done_s, time.monotonic()

    def end(self) -> None:
        """Stop it, whatever it is at."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def in_processes(
    work: Work[Task, Answer],
    tasks: Iterable[Task],
    *,
    count: int,
    threads: int | None = None,
    stuck_s: float,
    tick: Callable[[Sequence[float]], None] = lambda _: None,
) -> Iterator[Answer | Lost[Task]]:
    """Do tasks in several processes; answers come as they are ready.

    Args:
        work: What is done.
        tasks: Drawn when a process is free.
        count: How many processes.
        threads: Threads within each (EARMARK_THREADS); None: the CPUs are shared out.
        stuck_s: A process whose beat stands still for so long is ended, and its task is lost.
        tick: Called every half second with how far each process is, in seconds of its sound.

    Yields:
        An answer, or what was lost, for each task.

    Raises:
        EarmarkError: Opening the work failed, a task raised, or processes end before they begin.

    """
    pool = _Pool(work, iter(tasks), threads or max(1, thread_count() // count), stuck_s)
    try:
        yield from pool.run(count, tick)
    finally:
        pool.close()


def in_this_process(
    work: Work[Task, Answer], tasks: Iterable[Task], tick: Callable[[Sequence[float]], None] = lambda _: None
) -> Iterator[Answer]:
    """The same without processes of its own, in the order of the tasks; what ends this one ends the run."""
    do = work.open()
    for task in tasks:
        yield do(task, lambda done_s: tick([done_s]))


class _Pool(Generic[Task, Answer]):
    """The processes of one run."""

    def __init__(self, work: Work[Task, Answer], tasks: Iterator[Task], threads: int, stuck_s: float) -> None:
        self._work, self._tasks, self._threads, self._stuck_s = work, tasks, threads, stuck_s
        self._workers: list[_Worker[Task]] = []
        self._again: deque[Task] = deque()
        self._tries: dict[int, int] = {}

    def run(self, count: int, tick: Callable[[Sequence[float]], None]) -> Iterator[Answer | Lost[Task]]:
        """Every task's answer."""
        while len(self._workers) < count and self._begin():
            pass
        while self._workers:
            ready = wait([worker.connection for worker in self._workers], timeout=_TICK_S)
            for worker in list(self._workers):
                worker.look()
                if worker.connection in ready:
                    yield from self._received(worker)
                elif time.monotonic() - worker.since > self._stuck_s:
                    self._replace(worker)
                    reason = f"nothing of it was done for {self._stuck_s:g} s, so its process was ended"
                    yield self._lost(worker.task, reason)
            tick([worker.done_s for worker in self._workers])

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _begin(self) -> bool:
        """Start a process with the next task; False where there is none."""
        task = self._next()
        if task is None:
            return False
        here, there = _SPAWN.Pipe()
        beat = _SPAWN.Value("d", 0.0, lock=False)
        process = _SPAWN.Process(
            target=_serve, args=(there, beat, self._work, self._threads), daemon=True, name="earmark worker"
        )
        process.start()
        there.close()
        worker = _Worker[Task](process, here, beat, task)
        worker.give(task)
        self._workers.append(worker)
        return True

    def _next(self) -> Task | None:
        return self._again.popleft() if self._again else next(self._tasks, None)

    def _received(self, worker: _Worker[Task]) -> Iterator[Answer | Lost[Task]]:
        """What a process sent, or what follows from its end."""
        try:
            answer = worker.connection.recv()
        except (EOFError, OSError):
            yield from self._ended(worker)
            return
        if isinstance(answer, _Raised):
            raise answer.error
        if isinstance(answer, _Open):
            worker.open = True
            return
        self._tries.pop(id(worker.task), None)
        following = self._next()
        if following is None:
            self._workers.remove(worker)
            worker.end()
        else:
            worker.give(following)
        yield answer

    def _ended(self, worker: _Worker[Task]) -> Iterator[Lost[Task]]:
        """The task of a process that ended by itself: once more, or lost."""
        worker.process.join(_JOIN_S)
        how = _how(worker.process.exitcode)
        if not worker.open:
            raise RunError(f"a process of this run {how} before it could begin: try --jobs 1, or free memory")
        task = worker.task
        tries = self._tries[id(task)] = self._tries.get(id(task), 0) + 1
        if tries < _MOST_TRIES:
            logger.warning("the process that worked on %s %s; it is tried again", task, how)
            self._again.append(task)
        self._replace(worker)
        if tries >= _MOST_TRIES:
            yield self._lost(task, f"the process that worked on it {how}, and so did another one before")

    def _lost(self, task: Task, reason: str) -> Lost[Task]:
        self._tries.pop(id(task), None)
        logger.error("%s is given up: %s", task, reason)
        return Lost(task, reason)

    def _replace(self, worker: _Worker[Task]) -> None:
        self._workers.remove(worker)
        worker.end()
        self._begin()


def _how(code: int | None) -> str:
    """How a process ended."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _serve(connection: Connection, beat: Any, work: Work[Any, Any], threads: int) -> None:
    """The life of a process: tasks in, answers out, until nobody listens."""
    # Ctrl-C goes to all processes of the terminal: the one that started these ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_follow_parent, daemon=True).start()
    os.environ["EARMARK_THREADS"] = str(threads)

    def told(done_s: float) -> None:
        beat.value = done_s

    try:
        do = work.open()
        connection.send(_Open())
        while True:
            task = connection.recv()
            connection.send(do(task, told))
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        with suppress(OSError):
            connection.send(_Raised(_travelling(error)))


def _travelling(error: Exception) -> EarmarkError:
    """An error as it can be pickled: without what caused it."""
    known = as_earmark_error(error)
    known.__cause__ = known.__context__ = None
    return known


def _follow_parent() -> None:
    """End this process with the one that started it, also where that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
