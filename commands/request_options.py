"""Options of how sound is explained, and of what `earmark explain -o DIR` writes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

import click

from ..runtime.audio.writing import SoundFormat
from ..runtime.bundle.manifest import Aggregation, LevelOver
from ..runtime.methods.result import AudioKind
from .options import with_options

if TYPE_CHECKING:
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
