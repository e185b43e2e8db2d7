"""Options of how sound is explained: of windows, of what is written, and of the methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_args

import click

from ..runtime.audio.writing import SoundFormat
from ..runtime.bundle.manifest import Aggregation, LevelOver
from ..runtime.methods.loading import all_methods, method_of
from ..runtime.methods.result import AudioKind
from .options import with_options
from .settings_options import click_options, given_of

if TYPE_CHECKING:
    from ..runtime.bundle.manifest import Manifest
    from ..runtime.explaining.request import ExplainOptions
    from ..runtime.results.result import SaveOptions


def _positive(_context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0.0 < value < float("inf"):
        raise click.BadParameter(f"{value:g} is no number of seconds above 0", param=parameter)
    return value


def window_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --hop, --aggregate, --level and --timeout to a command; `window_settings` reads them."""
    options = (
        click.option(
            "--hop", type=float, metavar="S", callback=_positive, help="Seconds from one window to the next."
        ),
        click.option(
            "--aggregate",
            type=click.Choice(get_args(Aggregation)),
            help="How scores of windows become those of the sound; lme is log-mean-exp.",
        ),
        click.option(
            "--level",
            type=click.Choice(get_args(LevelOver)),
            help="Over what the gain of the model's own pipeline is measured.",
        ),
        click.option(
            "--timeout",
            type=float,
            metavar="S",
            callback=_positive,
            help="Answer after so many seconds per sound, with what there is then.",
        ),
    )
    return with_options(command, options)


def window_settings(given: dict[str, Any]) -> ExplainOptions:
    """Take what was given of `window_options` out of a command's keywords, as `Explainer.explain` has it."""
    return {
        "hop_s": given.pop("hop"),
        "aggregate": given.pop("aggregate"),
        "level": given.pop("level"),
        "timeout_s": given.pop("timeout"),
    }


def saving_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --audio, --audio-format and --arrays to a command; `saving_settings` reads them."""
    options = (
        click.option(
            "--audio",
            type=click.Choice(get_args(AudioKind)),
            default="full",
            show_default=True,
            help="Sound in DIR: none, clips where the evidence lies, or all that is kept and removed.",
        ),
        click.option(
            "--audio-format",
            type=click.Choice(get_args(SoundFormat)),
            default="wav",
            show_default=True,
            help="Of that sound: flac and wav16 have 16 bits, wav has 32-bit floats.",
        ),
        click.option("--arrays", is_flag=True, help="Write arrays.npz, too: Result.load reads DIR again."),
    )
    return with_options(command, options)


def saving_settings(given: dict[str, Any]) -> SaveOptions:
    """Take what was given of `saving_options` out of a command's keywords, as `Result.save` has it."""
    return {
        "arrays": given.pop("arrays"),
        "audio": given.pop("audio"),
        "format": given.pop("audio_format"),
    }


class MethodCommand(click.Command):
    """A command that has the options of every method; what is given of them reaches it by keyword."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters, then those of the methods, then --help."""
        own = super().get_params(ctx)
        more: list[click.Parameter] = []
        for method in all_methods():
            for option in click_options(method.options):
                option.help = f"{method.name}: {(option.help or '')[:1].lower()}{(option.help or '')[1:]}"
                more.append(option)
        return [*own[:-1], *more, *own[-1:]]


def method_settings(
    asked: Sequence[str] | None, given: Mapping[str, Any], option: str = "-m"
) -> dict[str, dict[str, Any]]:
    """`options` for `Explainer.explain` out of what was given on the command line.

    asked: the methods that run; None: those that do so by default; option: which names them
    Raises click.UsageError for options of a method that does not run, and for values that do not fit;
    MissingDependencyError where a package is missing.
    """
    settings: dict[str, dict[str, Any]] = {}
    for method in all_methods():
        mine = given_of(method.options, given)
        runs = not method.on_request if asked is None else method.name in asked
        if mine and not runs:
            raise click.UsageError(
                f"{mine.first} is an option of the method {method.name}: add {option} {method.name}"
            )
        if runs:
            mine.settings().require()
            settings[method.name] = dict(mine.values)
    return {name: values for name, values in settings.items() if values or takes_progress(name)}


def refuse_options(settings: Mapping[str, Any], given: Mapping[str, Any], manifest: Manifest) -> None:
    """Raise click.UsageError for options of a method that the bundle does not have.

    settings: as `method_settings` made them of `given`; manifest: of the bundle that is asked
    """
    able = [method.name for method in all_methods() if method.available(manifest)]
    for method in all_methods():
        mine = given_of(method.options, given)
        if mine and method.name in settings and method.name not in able:
            raise click.UsageError(
                f"{mine.first} is an option of the method {method.name}, which this bundle does not have; "
                f"it has {', '.join(able) or 'none'}"
            )


def takes_progress(name: str) -> bool:
    """Whether the method tells how far it is: its options have `progress`."""
    return any(field.name == "progress" for field in fields(method_of(name).options))
