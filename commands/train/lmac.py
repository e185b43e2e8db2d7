"""`earmark train lmac`: an L-MAC decoder over a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...export.training.settings import LmacSettings
from ..console import tell
from ..inputs import tell_passed_over
from ..settings_options import Given, settings_options
from .options import (
    fail_for_left_out,
    over_source_options,
    require_torch,
    running_options,
    settings_of,
    tell_left_out,
)

if TYPE_CHECKING:
    from ...export.training.device import Device


@click.command()
@over_source_options("decoder")
@settings_options(LmacSettings)
@running_options
def lmac(
    source: str,
    data: Path,
    out: Path | None,
    noise: Path | None,
    device: Device,
    given: Given[LmacSettings],
    resume: bool,
    strict: bool,
    threads: int | None,
    quiet: bool,
) -> None:
    """Train an L-MAC decoder over the classifier of SOURCE, on the sounds of DATA.

    SOURCE is a run directory, or with -o any PyTorch source of earmark export. Without a split of its
    own the decoder keeps the classifier's. Exits with 1 where a clip or a folder could not be read and was
    left out.
    """
    require_torch(threads)
    tell_passed_over(data)
    from ...export.training.lmac.recipe import train_lmac

    run = out or Path(source)
    settings = settings_of(given, run, "decoder", resume=resume)
    summary = train_lmac(
        source,
        data,
        settings,
        out=out,
        noise=noise,
        device=device,
        resume=resume,
        strict=strict,
        quiet=quiet,
    )
    tell_left_out(summary)
    figures = ""
    if "area" in summary:
        figures = (
            f"; validation: area {summary['area']:.2f}, AI {summary['average_increase']:.1f} %, "
            f"AD {summary['average_drop']:.1f} %, FF {summary['faithfulness']:.2f}, "
            f"Fid-In {summary['input_fidelity']:.2f}"
        )
    share = summary["multiply_adds"] / summary["classifier_multiply_adds"]
    tell(
        f"{run}: decoder of {summary['parameters']} parameters, {share:.0%} of the classifier's multiply-adds"
        f"{figures}"
    )
    extra = "" if str(run) == source else f" --decoder {run}"
    tell(f"next: earmark export {source}{extra} -o BUNDLE")
    fail_for_left_out(summary)
