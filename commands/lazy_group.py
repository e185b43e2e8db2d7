"""A group of commands, each imported when it is called."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from ..printable import nearest


class LazyGroup(click.Group):
    """Commands by name, with their lines in `--help`; `module` says where they lie, as "commands.{name}"."""

    def __init__(self, *arguments: Any, module: str, lines: Mapping[str, str], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._module, self._lines = module, lines

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which a user meets them."""
        return list(self._lines)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in self._lines:
            return None
        command: click.Command = getattr(import_module(self._module.format(name=cmd_name)), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; of one that there is not, the error names the nearest."""
        word = args[0]
        if word not in self._lines and not word.startswith("-") and not ctx.resilient_parsing:
            near = nearest(word, self._lines, f"{ctx.command_path} --help lists them")
            raise click.UsageError(f"there is no command {word!r}; {near}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._lines.items()))
