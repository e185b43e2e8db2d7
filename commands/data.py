"""`earmark data`: make a seeded benchmark set with the truth of its events."""

from __future__ import annotations

from pathlib import Path

import click

from .console import tell
from .inputs import tell_passed_over
from .options import refuse_given


def _numbers(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    """Folds from "1,2"."""
    if value is None:
        return None
    try:
        return tuple(int(piece) for piece in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: give numbers such as 1,2") from error


def _names(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Speakers or parts from "anna,ben"."""
    return None if value is None else tuple(piece.strip() for piece in value.split(",") if piece.strip())


# Field of the set's options -> parameters of the command that only some sets use.
_OF_SOME_SETS = {
    "sounds": ("sounds",),
    "speech": ("speech",),
    "folds": ("train_folds", "tune_folds", "test_folds"),
    "speakers": ("train_speakers", "tune_speakers", "test_speakers"),
}
_folder = click.Path(file_okay=False, exists=True, path_type=Path)


@click.command()
@click.argument("name")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--from", "sounds", type=_folder, metavar="DIR", help="Sounds to mix, in ESC-10's layout.")
@click.option("--speech", type=_folder, metavar="DIR", help="Spoken digits, named as in FSDD.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Same seed, same sounds.")
@click.option("--parts", callback=_names, metavar="LIST", help="Make these parts only, e.g. test.")
@click.option("--clips", type=click.IntRange(1), metavar="N", help="Training clips a label.")
@click.option("--tune-clips", type=click.IntRange(1), metavar="N", help="Tuning clips a label.")
@click.option("--test-clips", type=click.IntRange(1), metavar="N", help="Test clips a label.")
@click.option("--train-folds", callback=_numbers, metavar="LIST", help="[default: 1,2]")
@click.option("--tune-folds", callback=_numbers, metavar="LIST", help="[default: 3]")
@click.option("--test-folds", callback=_numbers, metavar="LIST", help="[default: 4]")
@click.option("--train-speakers", callback=_names, metavar="LIST", help="All but two by default.")
@click.option("--tune-speakers", callback=_names, metavar="LIST", help="The last but one by name.")
@click.option("--test-speakers", callback=_names, metavar="LIST", help="The last by name.")
def data(
    name: str,
    out: Path,
    sounds: Path | None,
    speech: Path | None,
    seed: int,
    parts: tuple[str, ...] | None,
    clips: int | None,
    tune_clips: int | None,
    test_clips: int | None,
    train_folds: tuple[int, ...] | None,
    tune_folds: tuple[int, ...] | None,
    test_folds: tuple[int, ...] | None,
    train_speakers: tuple[str, ...] | None,
    tune_speakers: tuple[str, ...] | None,
    test_speakers: tuple[str, ...] | None,
) -> None:
    """Make the set NAME in the new folder OUT: keyword, events, drums, mixtures or clever_hans.

    OUT/train, OUT/tune and OUT/test hold a folder a class and events.csv, the truth that
    `earmark evaluate events` reads. No recording, speaker or fold is in two parts.
    """
    from ..evaluation.datasets import DATASETS, Options, make

    if name not in DATASETS:
        raise click.BadParameter(f"{name!r} is not one of {', '.join(DATASETS)}", param_hint="NAME")
    for field, parameters in _OF_SOME_SETS.items():
        if field not in DATASETS[name].uses:
            refuse_given(f"is of no use to the set {name}", *parameters)
    if sounds is None:
        refuse_given("goes with --from", *_OF_SOME_SETS["folds"])
    order = ("train", "tune", "test")
    options = Options(
        sounds=sounds,
        speech=speech,
        seed=seed,
        parts=parts or (),
        clips={p: n for p, n in zip(order, (clips, tune_clips, test_clips), strict=True) if n is not None},
        folds={p: n for p, n in zip(order, (train_folds, tune_folds, test_folds), strict=True) if n},
        speakers={
            p: n for p, n in zip(order, (train_speakers, tune_speakers, test_speakers), strict=True) if n
        },
    )
    if sounds is not None:
        tell_passed_over(sounds)
    counts = make(name, out, options)
    tell(f"{out}: " + ", ".join(f"{count} clips to {part}" for part, count in counts.items()))
    if "train" in counts:
        tell(f"next: earmark train classifier {out / 'train'} -o RUN {DATASETS[name].training}")
