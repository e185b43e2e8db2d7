"""Benchmark sets with the truth of their events, made by a seeded command: `earmark data NAME OUT`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import DataError
from .parts import Options, Recipe, write_set

__all__ = ["DATASETS", "Dataset", "Options", "make"]


@dataclass(frozen=True)
class Dataset:
    """A set that can be made.

    summary: a line for people; recipe: module:class; training: options of `earmark train classifier` that
    serve it on two cores, None of a set without a part to train on; sources: what it is mixed from, and under
    which terms; uses: options that only some sets have a use for
    """

    summary: str
    recipe: str
    training: str | None
    sources: str
    uses: frozenset[str] = frozenset()


_ESC = "ESC-10 (K. J. Piczak, CC BY 3.0, authors of the clips in its own table)"
_FSDD = "Free Spoken Digit Dataset (Z. Jackson and contributors, CC BY-SA 4.0)"
DATASETS = {
    "keyword": Dataset(
        "Is seven among the digits spoken, in noise or scenes; by speaker. Needs --speech, may have --from.",
        ".spoken:Keyword",
        "--window 3 --sample-rate 8000 --width 16 --epochs 24",
        f"{_FSDD}; scenes: {_ESC}",
        frozenset({"speech", "speakers", "sounds"}),
    ),
    "digits": Dataset(
        "Which digit is spoken, beside babble; by speaker. Needs --speech.",
        ".spoken:Digits",
        "--window 1.5 --sample-rate 8000 --width 16 --epochs 24",
        _FSDD,
        frozenset({"speech", "speakers"}),
    ),
    "speakers": Dataset(
        "Who speaks a digit, beside babble; by take. Needs --speech.",
        ".spoken:Speakers",
        "--window 1.5 --sample-rate 8000 --width 16 --epochs 24",
        _FSDD,
        frozenset({"speech"}),
    ),
    "events": Dataset(
        "Dog, rooster, sneeze, baby in loud scenes; by fold. Needs --from.",
        ".events:Events",
        "--window 5 --width 16 --epochs 32",
        _ESC,
        frozenset({"sounds", "folds"}),
    ),
    "drums": Dataset(
        "Ten hits end to end, the label counts the kicks; synthesised. Needs nothing.",
        ".drums:Drums",
        "--window 4 --width 16 --epochs 24",
        "none: synthesised",
    ),
    "mixtures": Dataset(
        "Two classes sound in every clip, for classifiers of several labels; by fold. Needs --from.",
        ".mixtures:Mixtures",
        "--multi-label --window 5 --epochs 40",
        "the sounds given with --from, under their own terms",
        frozenset({"sounds", "folds"}),
    ),
    "clever_hans": Dataset(
        "One class always coughs in training. Synthesised, or from recordings with --from.",
        ".clever_hans:CleverHans",
        "--window 3 --width 16 --epochs 20",
        f"none: synthesised; with --from: {_ESC}",
        frozenset({"sounds", "folds"}),
    ),
    "field": Dataset(
        "Events planted in scenes of minutes at stated levels. Synthesised, or clips with --from.",
        ".field:Field",
        None,
        "none: synthesised; with --from: the clips given, under their own terms",
        frozenset({"sounds", "folds", "scenes"}),
    ),
}


def make(name: str, out: str | Path, options: Options | None = None) -> dict[str, int]:
    """Make the set `name` in the new folder `out`; returns part -> clips written.

    The same sources, options and versions of the libraries give the same sounds.
    Raises DataError: no such set, missing or unfit sources, a folder that is not empty.
    """
    options = options or Options()
    info = DATASETS.get(name)
    if info is None:
        raise DataError(f"there is no set {name!r}; there are {', '.join(DATASETS)}")
    module, _, attribute = info.recipe.partition(":")
    recipe: Recipe = getattr(import_module(module, __package__), attribute)(options)
    facts: dict[str, Any] = {
        "set": name,
        "summary": info.summary,
        "seed": options.seed,
        "sources": info.sources,
        "terms": "a mixture is a derived work: the terms of its sources hold for it, clips.jsonl names them",
    }
    if info.training is not None:
        facts["train"] = f"earmark train classifier {Path(out).name}/train -o RUN {info.training}"
    return write_set(recipe, out, options, facts)
