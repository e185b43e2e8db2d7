"""What benchmarks share: options by a script's own text, and ways that are timed in turn."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Clock = Callable[[], float]
# By the clock on the wall, and of the processor, which other work on the machine disturbs less.
BOTH: tuple[Clock, ...] = (time.perf_counter, time.process_time)


def options_of(text: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the script's text as it stands."""
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


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
