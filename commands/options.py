"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ..errors import WriteError
from .paths import BundleFolder, no_sound

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

bundle_argument: Decorator = click.argument("bundle", type=BundleFolder(), required=False, default=None)


def bundle_option(text: str) -> Decorator:
    """The option that names the bundle of a command."""
    return click.option(
        "-b", "--bundle", envvar="EARMARK_BUNDLE", type=BundleFolder(), metavar="BUNDLE", help=text
    )


def folder_option(name: str, metavar: str, text: str) -> Decorator:
    """An option that names a folder that exists."""
    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    return click.option(name, type=folder, metavar=metavar, help=text)


def file_option(name: str, text: str, parameter: str = "") -> Decorator:
    """An option that names a file, be it there or not; `parameter`: its keyword, if it has another name."""
    file = click.Path(dir_okay=False, path_type=Path)
    return click.option(*filter(None, (name, parameter)), type=file, metavar="FILE", help=text)


def with_options(command: Callable[..., Any], options: Iterable[Decorator]) -> Callable[..., Any]:
    """The command with these options, shown in this order."""
    for option in reversed(tuple(options)):
        command = option(command)
    return command


def require_sound(inputs: Sequence[str], *, needed: bool) -> None:
    """Raise click.UsageError for what is plainly no sound, and where none is given but needed."""
    for argument in inputs:
        if (mistaken := no_sound(argument)) is not None:
            raise click.UsageError(mistaken)
    if needed and not inputs:
        raise click.UsageError("Missing argument INPUT: a sound file, a folder, a pattern, or - for stdin")


def examples(*lines: str) -> str:
    """The end of a command's help: how it is called. Tests parse each line."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def _device(_context: click.Context, parameter: click.Parameter, value: str) -> str:
    """What no machine could know is wrong usage."""
    from ..runtime.inference.devices import DEVICE_PATTERN

    if not DEVICE_PATTERN.fullmatch(value):
        raise click.BadParameter(
            f"{value!r} is not one of auto, cpu, cuda, cuda:N, tensorrt", param=parameter
        )
    return value


device_option: Decorator = click.option(
    "--device",
    callback=_device,
    default="auto",
    show_default=True,
    metavar="D",
    help="auto, cpu, cuda, cuda:N or tensorrt. Only auto falls back; an absent device exits with 3.",
)


def _page(_context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """A page is written at the end: what can be known at the start to prevent it is wrong usage."""
    if value is not None and not value.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {value.absolute().parent}", param=parameter)
    if value is not None:
        from ..runtime.report.page import check_replaceable

        try:
            check_replaceable(value)
        except WriteError as error:
            raise click.BadParameter(str(error), param=parameter) from error
    return value


html_option: Decorator = click.option(
    "--html",
    callback=_page,
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Write one page that shows and plays what was explained; it opens anywhere, offline.",
)

json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


def was_given(name: str) -> bool:
    """Whether an option of the running command was given, and is not at its default."""
    source = click.get_current_context().get_parameter_source(name)
    return source not in {ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP}


def refuse_given(why: str, *names: str) -> None:
    """Raise click.UsageError where one of these options of the running command was given, and `why` not."""
    context = click.get_current_context()
    for parameter in context.command.params:
        if parameter.name in names and was_given(parameter.name or ""):
            raise click.UsageError(f"{max(parameter.opts, key=len)} {why}")


def listed_words(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    """Names parted by commas."""
    if value is None:
        return None
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    if not names:
        raise click.BadParameter("names nothing", context, parameter)
    return names
