"""The command `earmark`: parses, calls one function, prints. One verb, one file in `commands/`."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from . import __version__
from .commands.console import (
    CommandError,
    open_standard_streams,
    stdout_failed,
    stopping_in_order,
    tell,
    tell_traceback,
)
from .commands.lazy_group import LazyGroup
from .commands.options import examples
from .errors import DeviceError, EarmarkError, as_earmark_error

# Verb -> its line in `earmark --help`. The module of that name in `commands/` holds the command.
VERBS = {
    "explain": "Say what a sound is classified as, and why.",
    "detect": "Find where labels occur in recordings, and why.",
    "train": "Train a classifier or a decoder from a folder of sound (PyTorch).",
    "export": "Turn a trained source into a bundle (PyTorch).",
    "index": "Build or extend the prototypes of a bundle.",
    "data": "Make a seeded benchmark set with the truth of its events.",
    "evaluate": "Judge a bundle's explanations on a folder of sound.",
    "serve": "Serve the page that explains live, and JSON over HTTP.",
    "inspect": "Show what a bundle holds.",
    "verify": "Check every hash of a bundle and recompute its golden outputs.",
    "doctor": "Show what this machine can run, and what stands in the way.",
}


class Verbs(LazyGroup):
    """The verbs, whose errors become one line."""

    def main(self, *arguments: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a whole command line; every way it can end is an exit code and at most one line on stderr."""
        run: Callable[..., Any] = super().main
        if not standalone_mode:
            return run(*arguments, standalone_mode=False, **extra)
        open_standard_streams()
        try:
            with stopping_in_order():
                ended = run(*arguments, standalone_mode=False, **extra)
            sys.exit(ended if isinstance(ended, int) else 0)
        except click.Abort:
            tell("Aborted!")
            sys.exit(1)
        except click.ClickException as error:
            sys.exit(_told(error))
        except OSError as error:
            # Help and version are written by click itself.
            failed = stdout_failed(error)
            sys.exit(_told(failed) if isinstance(failed, click.ClickException) else failed.exit_code)
        except click.exceptions.Exit as ended:
            sys.exit(ended.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; exit 1 when something failed, 3 when the device asked for is not there."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except DeviceError as error:
            raise CommandError(str(error), exit_code=3) from error
        except EarmarkError as error:
            raise CommandError(str(error)) from error
        except Exception as error:
            if os.environ.get("EARMARK_DEBUG") and not isinstance(error, OSError):
                tell_traceback(error)
            raise CommandError(str(as_earmark_error(error))) from error


def _told(error: click.ClickException) -> int:
    """The exit code of an error, after it was shown; where stderr is gone it is not."""
    shown = io.StringIO()
    error.show(shown)
    for line in shown.getvalue().rstrip("\n").split("\n"):
        tell(line)
    return error.exit_code


@click.group(
    cls=Verbs,
    module=f"{__package__}.commands.{{name}}",
    lines=VERBS,
    epilog=examples("earmark explain", "earmark explain clip.wav -b bundle -o out", "earmark train --help"),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="earmark")
def main() -> None:
    """Explain audio classifiers where they run.

    Data goes to stdout, everything else to stderr. Exit codes: 0 all good, 1 something failed,
    2 wrong usage, 3 the device asked for is not there.
    """


if __name__ == "__main__":
    main()
