"""The drums' classifier: `earmark train classifier` without what takes hits away.

    earmark data drums drums
    python benchmarks/train_drums.py drums/train drums_run

The usual recipe mixes two sounds, silences stretches of time and pushes sound over the window's edge. Each is
good for "is there a dog" and wrong for "how many kicks": the label no longer counts what is heard. Everything
else, and the run directory, is as usual.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from earmark.export.training import classifier
from earmark.export.training.augmentation import place
from earmark.export.training.settings import ClassifierSettings


def _whole(sound: Any, samples: int, random: np.random.Generator) -> Any:
    """Nothing is pushed over an edge."""
    return place(sound, samples, random, shift=0.0)


def _heard(logmel: torch.Tensor, _random: np.random.Generator) -> torch.Tensor:
    """Nothing is silenced."""
    return logmel


@click.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--epochs", default=14, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(data: Path, run: Path, epochs: int, threads: int, seed: int) -> None:
    """Train on DATA, leave the run directory RUN."""
    torch.set_num_threads(threads)
    classifier.place = _whole
    classifier.mask_stretches = _heard
    settings = ClassifierSettings(
        window=4.0, width=16, epochs=epochs, seed=seed, mixup=0.0, label_smoothing=0.0
    )
    summary = classifier.train_classifier(data, run, settings)
    click.echo(f"{run}: {summary['parameters']} parameters, {summary['clips']} clips", err=True)


if __name__ == "__main__":
    main()
