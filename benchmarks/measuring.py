"""What benchmarks share: arguments as functions have them, ways that are timed in turn, whole processes."""

from __future__ import annotations

import argparse
import inspect
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

Answer = TypeVar("Answer")
Clock = Callable[[], float]
# By the clock on the wall, and of the processor, which other work on the machine disturbs less.
BOTH: tuple[Clock, ...] = (time.perf_counter, time.process_time)


def given(*ways: Callable[..., Answer]) -> Answer:
    """Call a function, or make settings (a frozen dataclass), with what the command line says.

    Of several functions the first word names one. The help is the script's text. Parameters after `*` are
    options, without a default needed ones (`json_` is --json); those before are arguments. A bool is a flag;
    a sequence takes several words, once or again and again; a sequence of them keeps apart what is given
    each time.
    """
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True) if ways[1:] else None
    for way in ways:
        _add(commands.add_parser(way.__name__, help=way.__doc__) if commands else parser, way)
    words = vars(parser.parse_args())
    answer: Answer = words.pop("way")(**words)
    return answer


def _add(parser: argparse.ArgumentParser, way: Callable[..., object]) -> None:
    """The parameters of a way as arguments and options."""
    hints = get_type_hints(way)
    parser.set_defaults(way=way)
    for name, parameter in inspect.signature(way).parameters.items():
        kind, needed = hints[name], parameter.default is parameter.empty
        # What is not given is left to the function.
        how: dict[str, Any] = {"default": argparse.SUPPRESS}
        while get_args(kind) and get_origin(kind) is not Literal:
            if get_origin(kind) is Sequence:
                how |= {"action": "append" if "nargs" in how else "extend", "nargs": "+"}
            kind = get_args(kind)[0]
        if kind is bool:
            how["action"] = "store_true"
        else:
            how |= {"choices": get_args(kind)} if get_args(kind) else {"type": kind}
        if parameter.kind is parameter.KEYWORD_ONLY:
            option = f"--{name.rstrip('_').replace('_', '-')}"
            parser.add_argument(option, dest=name, required=needed, **how)
        else:
            parser.add_argument(
                name, **(how if needed else {**how, "nargs": "?", "default": parameter.default})
            )


def run_main(*ways: Callable[..., int | None]) -> None:
    """Call one of a script's functions with what the command line says, and end with what it returns."""
    sys.exit(given(*ways))


def in_turn(
    ways: Mapping[str, Callable[[], object]], repeats: int, *, warm: int = 1, clocks: Sequence[Clock] = BOTH
) -> dict[str, np.ndarray]:
    """Call every way once a round, so that what else runs on the machine weighs on all of them alike.

    warm: rounds before those that count
    Returns way -> seconds [repeats, clocks].
    """
    taken: dict[str, list[list[float]]] = {name: [] for name in ways}
    for _ in range(warm + repeats):
        for name, way in ways.items():
            start = [clock() for clock in clocks]
            way()
            taken[name].append([clock() - begun for clock, begun in zip(clocks, start, strict=True)])
    return {name: np.array(rounds[warm:]) for name, rounds in taken.items()}


def print_costs(title: str, ways: Mapping[str, Callable[[], object]], repeats: int) -> None:
    """A row per way: median milliseconds by the clock and of the processor, each also by the first way's."""
    medians = {
        name: 1e3 * np.median(rounds, axis=0) for name, rounds in in_turn(ways, repeats, warm=5).items()
    }
    base = medians[next(iter(medians))]
    print(f"{title:<34}{'clock ms':>10}{'ratio':>8}{'processor':>11}{'ratio':>8}")
    for name, (clock, worked) in medians.items():
        print(f"{name:<34}{clock:>10.2f}{clock / base[0]:>8.3f}{worked:>11.2f}{worked / base[1]:>8.3f}")


def of_a_process(command: Sequence[str], **how: Any) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of one process. Raises SystemExit where it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **how)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024
