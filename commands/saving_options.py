"""Options of what `earmark explain -o DIR` writes of each sound."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

import click

from ..runtime.audio.writing import SoundFormat
from ..runtime.methods.result import AudioKind
from .options import with_options

if TYPE_CHECKING:
    from ..runtime.results.result import SaveOptions


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
