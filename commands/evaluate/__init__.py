"""`earmark evaluate`: what a bundle's explanations are worth, a question a sub-command."""

from __future__ import annotations

import click

from ..options import examples
from .masks import masks
from .tables import detections, events, prototypes, sanity, trust


@click.group(epilog=examples("earmark evaluate masks bundle data"))
def evaluate() -> None:
    """Judge the explanations of a bundle on DATA, a folder of class folders of sound."""


for _question in (masks, events, prototypes, detections, sanity, trust):
    evaluate.add_command(_question)
