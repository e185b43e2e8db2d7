"""Rebuilds the shipped demo from nothing: `python -m earmark.export.demo OUT`.

Synthesises the sounds, trains a small classifier and its L-MAC decoder, exports them and indexes
part of the training sounds. Every step is seeded and runs on one thread, so that the number of
cores changes nothing; a few minutes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import torch

from ..errors import DataError
from ..evaluation.data.folder import list_sounds
from ..evaluation.settings import TrustSettings
from ..evaluation.synthesis.clips import clip_of, make_clip, write_backgrounds, write_folder
from ..evaluation.synthesis.one_shots import RECIPES
from ..evaluation.trust.evaluate import evaluate_trust
from ..runtime.audio.writing import write_sound
from ..runtime.explainer import load
from .bundle.trust import store_trust
from .bundle.write import write_bundle
from .prototypes.build import index_bundle
from .sources.run import source as run_source
from .training.classifier import train_classifier
from .training.lmac.recipe import train_lmac
from .training.options import ClassifierOptions, OverSourceOptions
from .training.settings import ClassifierSettings, LmacSettings

NAME = "drum one-shots (demo)"
LICENCE = "Apache-2.0"
ATTRIBUTION = "Synthesised, trained and exported by the earmark project; no recording was used."

SEED = 7
CLIPS_PER_CLASS = 100
# Of every kind, without a hit: evidence for nothing.
BACKGROUNDS_PER_KIND = 25
# The prototypes are the first clips of each class, with their sound, and keep the bundle small.
PROTOTYPES_PER_CLASS = 8
# Nothing that is trained on has this seed.
EXAMPLE_SEED = 1_000_008
HELD_OUT_FOLD = 5

CLASSIFIER = ClassifierSettings(
    epochs=16,
    window=2.0,
    width=8,
    mels=48,
    hop_seconds=0.016,
    seed=SEED,
    val_fold=HELD_OUT_FOLD,
    exact=True,
    background=0.25,
)
# The last epoch's weights: a choice between epochs could fall differently on another processor.
DECODER = LmacSettings(epochs=14, width=12, seed=SEED, val_fold=HELD_OUT_FOLD, stop_fraction=0.0, exact=True)


def build(
    out: str | Path,
    *,
    runs: str | Path | None = None,
    classifier: ClassifierSettings = CLASSIFIER,
    decoder: LmacSettings = DECODER,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Build `out/bundle` and `out/example.flac` from nothing and return the bundle's path.

    runs: keeps the run directory (and takes a finished one up again); a temporary one where None
    Raises DataError where `out` holds a bundle already.
    """
    report = say or (lambda _: None)
    folder = Path(out)
    bundle = folder / "bundle"
    if bundle.exists():
        raise DataError(f"{bundle}: exists; remove it or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, _one_thread():
        data = Path(temporary) / "data"
        run = Path(runs or temporary) / "run"
        report(f"synthesising {CLIPS_PER_CLASS} clips of each of {len(RECIPES)} classes")
        write_folder(data, SEED, CLIPS_PER_CLASS)
        backgrounds = Path(temporary) / "backgrounds"
        write_backgrounds(backgrounds, SEED, BACKGROUNDS_PER_KIND)
        report("training the classifier")
        trained = train_classifier(
            data,
            run,
            classifier,
            ClassifierOptions(
                resume=runs is not None,
                name=NAME,
                licence=LICENCE,
                attribution=ATTRIBUTION,
                background_sounds=backgrounds,
            ),
        )
        report(f"  accuracy on the held-out fold {trained.figures['accuracy']:.1%}")
        report("training the decoder")
        train_lmac(run, data, decoder, OverSourceOptions(resume=runs is not None))
        report("exporting")
        source = run_source.load(run)
        clips = [clip_of(label, 0, EXAMPLE_SEED).waveform for label in sorted(RECIPES)]
        write_bundle(source, bundle, clips=clips)
        report("indexing")
        index_bundle(bundle, _prototypes(data, Path(temporary) / "prototypes"), audio=True)
        report("measuring how far masks are to be believed")
        held_out = TrustSettings(fold=HELD_OUT_FOLD)
        measured = evaluate_trust(load(bundle, device="cpu"), list_sounds(data), held_out)
        store_trust(bundle, measured.spec, measured.bundle_id)
    write_example(folder / "example.flac")
    # A writer's lock is no part of what is shipped.
    (bundle / ".lock").unlink(missing_ok=True)
    report(f"written {bundle}")
    return bundle


def write_example(path: Path) -> None:
    """Write the shipped example clip: a snare, struck in the rain."""
    clip = make_clip("snare", EXAMPLE_SEED, background="rain", snr_db=14.0)
    write_sound(path, clip.waveform, clip.sample_rate, "FLAC", "PCM_16")


def _prototypes(data: Path, out: Path) -> Path:
    """A data folder of the first training clips of each class."""
    for kind in sorted(data.iterdir()):
        clips = sorted(kind.glob("*.flac"), key=lambda path: int(path.name.split("-")[1]))
        trained_on = [path for path in clips if not path.name.startswith(f"{HELD_OUT_FOLD}-")]
        (out / kind.name).mkdir(parents=True)
        for path in trained_on[:PROTOTYPES_PER_CLASS]:
            shutil.copy(path, out / kind.name / path.name)
    return out


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums are split over threads, so their number is part of the answer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@click.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--runs", type=click.Path(file_okay=False, path_type=Path), help="Keep the run directory here.")
def main(out: Path, runs: Path | None) -> None:
    """Build OUT/bundle and OUT/example.flac from nothing."""
    build(out, runs=runs, say=lambda text: click.echo(text, err=True))


if __name__ == "__main__":
    main()
