"""What the names of selected components say, and whether they tell two of one sound apart.

    python benchmarks/components_names.py DATA BUNDLE [BUNDLE ...] [--fold 4 ...] [--every N]

Prints the share of each kind among the names of all selected components, the share whose kind and frequencies
read as those of another one of the same sound, and the share that are nearly so: the same kind, and each
frequency within a third of an octave.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from measuring import run_main

import earmark
from earmark.evaluation.data.folder import list_sounds

# Octaves; frequencies below the second, in Hz, count as that.
NEAR, LOWEST_HZ = 1 / 3, 50.0
_NUMBERS = re.compile(r"([\d.]+)(?:-([\d.]+))? (k?)Hz")


def words(name: str) -> str:
    """The kind and its frequencies, without times."""
    return name.split(",", maxsplit=1)[0]


def kind(name: str) -> str:
    """The kind alone."""
    return re.split(r" (?=\d|around|on |at |from )", words(name))[0]


def frequencies(name: str) -> list[float]:
    """All that it names, in Hz."""
    return [
        float(number) * (1000.0 if kilo else 1.0)
        for low, high, kilo in _NUMBERS.findall(words(name))
        for number in (low, high)
        if number
    ]


def alike(first: str, second: str) -> bool:
    """Whether both are of one kind, and frequencies within a third of an octave."""
    ours, theirs = (np.maximum(frequencies(name), LOWEST_HZ) for name in (first, second))
    same = kind(first) == kind(second) and len(ours) == len(theirs)
    return same and bool((np.abs(np.log2(ours / theirs)) <= NEAR).all())


def main(data: Path, bundles: Sequence[Path], *, fold: Sequence[int] = (), every: int = 1) -> None:
    """Run and print."""
    clips = [clip for clip in list_sounds(data).clips if not fold or clip.fold in fold]
    groups: list[list[str]] = []
    for bundle in bundles:
        with earmark.load(bundle, device="cpu") as explainer:
            for clip in clips[::every]:
                found = explainer.explain(clip.path, methods=["components"]).components
                groups.append([found[index].name for index in found.selected])
    names = list(itertools.chain.from_iterable(groups))
    for what, count in Counter(map(kind, names)).most_common():
        print(f"{what:<20}{count / len(names):7.1%}")
    counts = [Counter(map(words, group)) for group in groups]
    same = sum(count for group in counts for count in group.values() if count > 1)
    near = sum(
        any(alike(name, other) for at, other in enumerate(group) if at != index)
        for group in groups
        for index, name in enumerate(group)
    )
    print(f"of {len(names)}: as another of the sound {same / len(names):.1%}, nearly {near / len(names):.1%}")


if __name__ == "__main__":
    run_main(main)
