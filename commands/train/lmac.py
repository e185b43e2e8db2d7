"""`earmark train lmac`: an L-MAC decoder over a classifier."""

from __future__ import annotations

from pathlib import Path

import click

from ...export.training.options import OverSourceOptions
from ...export.training.settings import LmacSettings
from ..options import examples
from ..settings_options import Given, settings_options
from .options import (
    TrainedOver,
    over_source_options,
    settings_of,
    tell_trained,
    training_options,
)


@click.command(
    epilog=examples("earmark train lmac run data", "earmark train lmac model.onnx data -o decoder")
)
@over_source_options("decoder")
@settings_options(LmacSettings)
@training_options(OverSourceOptions, loose=True)
def lmac(source: TrainedOver, data: Path, options: OverSourceOptions, given: Given[LmacSettings]) -> None:
    """Train an L-MAC decoder over the classifier of SOURCE, on the sounds of DATA.

    SOURCE is a run directory, or with -o any source of earmark export: a PyTorch model, or an .onnx file,
    which stays as it is. DATA has a folder per label where SOURCE is a run directory, else any sounds that
    the model is for. Without a split of its own the decoder keeps the classifier's. Exits with 1 where a
    clip or a folder could not be read and was left out.
    """
    from ...export.training.lmac.recipe import train_lmac

    run = source.run
    settings = settings_of(given, run, "decoder", resume=options.resume)
    summary = train_lmac(source.opened, data, settings, options)
    measured = summary.figures
    figures = ""
    if measured:
        figures = (
            f"; validation: area {measured['area']:.2f}, AI {measured['average_increase']:.1f} %, "
            f"AD {measured['average_drop']:.1f} %, FF {measured['faithfulness']:.2f}, "
            f"Fid-In {measured['input_fidelity']:.2f}"
        )
    line = (
        f"{run}: decoder of {summary.parameters} parameters, {summary.cost:.0%} of the classifier's "
        f"multiply-adds{figures}"
    )
    tell_trained(summary, [line], f"earmark export {source.exported} -o BUNDLE")
