"""`earmark evaluate`: what a bundle's explanations are worth, a question a sub-command."""

from __future__ import annotations

import click

from ..options import examples
from .masks import masks
from .tables import detections, events, prototypes, sanity, trust


class Questions(click.Group):
    """Sub-commands. Without one, the options of before: those of `masks`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the sub-command in where none is named: `BUNDLE DATA [--events CSV | --prototypes]`."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            if any(word.partition("=")[0] == "--events" for word in args):
                args = ["events", *args]
            elif "--prototypes" in args:
                args = ["prototypes", *(word for word in args if word != "--prototypes")]
            else:
                args = ["masks", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Questions, epilog=examples("earmark evaluate masks bundle data"))
def evaluate() -> None:
    """Judge the explanations of a bundle on DATA, a folder of class folders of sound.

    Without the name of a sub-command, masks are judged.
    """


for _question in (masks, events, prototypes, detections, sanity, trust):
    evaluate.add_command(_question)
