"""`earmark data`: make a seeded benchmark set with the truth of its events."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import click

from .console import tell
from .inputs import tell_passed_over
from .options import examples, listed_words, refuse_given
from .settings_options import whole_numbers

Asked = TypeVar("Asked", int, tuple[int, ...], tuple[str, ...])


def _levels(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    """Decibels from "20,10,0"."""
    if value is None:
        return None
    try:
        levels = tuple(float(piece) for piece in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r}: give decibels such as 20,10,0") from error
    if not all(abs(level) <= _MOST_DB for level in levels):
        raise click.BadParameter(f"{value!r}: give decibels from -{_MOST_DB} to {_MOST_DB}")
    return levels


_MOST_DB = 100
# Field of the set's options -> parameters of the command that only some sets use.
_OF_SOME_SETS = {
    "sounds": ("sounds",),
    "speech": ("speech",),
    "folds": ("train_folds", "tune_folds", "test_folds"),
    "speakers": ("train_speakers", "tune_speakers", "test_speakers"),
    "scenes": ("minutes", "events", "levels", "backgrounds"),
}
_OF_TRAINING = ("clips", "train_folds", "train_speakers")
_folder = click.Path(file_okay=False, exists=True, path_type=Path)


@click.command(epilog=examples("earmark data drums out --seed 1"))
@click.argument("name")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--from", "sounds", type=_folder, metavar="DIR", help="Sounds to mix, in ESC-10's layout.")
@click.option("--speech", type=_folder, metavar="DIR", help="Spoken digits, named as in FSDD.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Same seed, same sounds.")
@click.option("--parts", callback=listed_words, metavar="LIST", help="Make these parts only, e.g. test.")
@click.option("--clips", type=click.IntRange(1), metavar="N", help="Training clips a label.")
@click.option("--tune-clips", type=click.IntRange(1), metavar="N", help="Tuning clips a label; scenes.")
@click.option("--test-clips", type=click.IntRange(1), metavar="N", help="Test clips a label; scenes.")
@click.option("--train-folds", type=whole_numbers, metavar="LIST", help="[default: 1,2]")
@click.option("--tune-folds", type=whole_numbers, metavar="LIST", help="[default: 3]")
@click.option("--test-folds", type=whole_numbers, metavar="LIST", help="[default: 4]")
@click.option("--train-speakers", callback=listed_words, metavar="LIST", help="All but two by default.")
@click.option("--tune-speakers", callback=listed_words, metavar="LIST", help="The last but one by name.")
@click.option("--test-speakers", callback=listed_words, metavar="LIST", help="The last by name.")
@click.option(
    "--minutes", type=click.FloatRange(0, 720, min_open=True), metavar="M", help="Of a scene. [default: 5]"
)
@click.option("--events", type=click.IntRange(1), metavar="N", help="In a scene. [default: 3 a minute]")
@click.option(
    "--levels", callback=_levels, metavar="LIST", help="Of events over the background. [default: 20,10,0 dB]"
)
@click.option(
    "--backgrounds",
    callback=listed_words,
    metavar="LIST",
    help="Such as pink,wind. [default: all but labels]",
)
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
    minutes: float | None,
    events: int | None,
    levels: tuple[float, ...] | None,
    backgrounds: tuple[str, ...] | None,
) -> None:
    """Make the set NAME in the new folder OUT.

    NAME is keyword, digits, speakers, events, drums, mixtures, clever_hans or field. OUT/train, OUT/tune and
    OUT/test hold a folder a class and events.csv, the truth that `earmark evaluate events` reads. No
    recording, speaker or fold is in two parts. The parts tune and test of field hold scenes, for
    `earmark evaluate detections`.
    """
    from ..evaluation.datasets import DATASETS, Options, make

    if name not in DATASETS:
        raise click.BadParameter(f"{name!r} is not one of {', '.join(DATASETS)}", param_hint="NAME")
    for field, parameters in _OF_SOME_SETS.items():
        if field not in DATASETS[name].uses:
            refuse_given(f"is of no use to the set {name}", *parameters)
    if DATASETS[name].training is None:
        refuse_given(f"is of no use to the set {name}: it has no part to train on", *_OF_TRAINING)
    if sounds is None:
        refuse_given("goes with --from", *_OF_SOME_SETS["folds"])
    options = Options(
        sounds=sounds,
        speech=speech,
        seed=seed,
        parts=parts or (),
        clips=_by_part(clips, tune_clips, test_clips),
        folds=_by_part(train_folds, tune_folds, test_folds),
        speakers=_by_part(train_speakers, tune_speakers, test_speakers),
        minutes=minutes,
        events=events,
        levels=levels or (),
        backgrounds=backgrounds or (),
    )
    if sounds is not None:
        tell_passed_over(sounds)
    counts = make(name, out, options)
    what = "scenes" if DATASETS[name].training is None else "clips"
    tell(f"{out}: " + ", ".join(f"{count} {what} to {part}" for part, count in counts.items()))
    if DATASETS[name].training is None:
        tell(f"next: earmark evaluate detections BUNDLE {out / next(reversed(counts))}")
    if "train" in counts:
        tell(f"next: earmark train classifier {out / 'train'} -o RUN {DATASETS[name].training}")


def _by_part(*asked: Asked | None) -> dict[str, Asked]:
    """What is asked of train, tune and test, of those of which it is."""
    return {part: one for part, one in zip(("train", "tune", "test"), asked, strict=True) if one is not None}
