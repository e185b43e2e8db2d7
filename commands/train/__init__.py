"""`earmark train`: what is learnt from a folder of sound, a recipe a file (PyTorch)."""

from __future__ import annotations

import click

from ..lazy_group import LazyGroup
from ..options import examples

RECIPES = {
    "classifier": "A compact classifier.",
    "lmac": "An L-MAC decoder, which masks what a classifier listens to.",
    "l2i": "An L2I interpreter: components that explain a classifier.",
    "apex": "A rotation of channels, for prototypes that mean one thing each.",
}


@click.group(
    cls=LazyGroup,
    module=f"{__name__}.{{name}}",
    lines=RECIPES,
    epilog=examples("earmark train classifier data -o run", "earmark train lmac run data"),
)
def train() -> None:
    """Train a classifier or what explains it from a folder of sound (needs the export extra)."""
