"""`earmark train`: what is learnt from a folder of sound, a recipe a file (PyTorch)."""

from __future__ import annotations

import click

from .apex import apex
from .classifier import classifier
from .l2i import l2i
from .lmac import lmac


@click.group()
def train() -> None:
    """Train a classifier or what explains it from a folder of sound (needs the export extra)."""


for _recipe in (classifier, lmac, l2i, apex):
    train.add_command(_recipe)
