"""`earmark train lmac`: an L-MAC decoder over a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..console import tell
from ..inputs import tell_passed_over
from ..paths import DataFolder
from .options import require_torch, settings_of, shared_options, stored_settings, tell_left_out


@click.command()
@click.argument("source")
@click.argument("data", type=DataFolder(exists=False))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Where the decoder goes, if not SOURCE.",
)
@click.option(
    "--decoder",
    type=click.Choice(["compact", "reference"]),
    help="compact: at most a tenth of the classifier's multiply-adds (default); reference: L-MAC's shape, "
    "nine times them.",
)
@click.option(
    "--targets",
    type=click.Choice(["predicted", "any"]),
    help="Whom the mask speaks for: the predicted class (default), or any that is asked for.",
)
@click.option("--guided", is_flag=True, default=None, help="The paper's guided fine-tuning.")
@click.option(
    "--noise",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Mix in recordings of noise from DIR instead of synthesised noise.",
)
@click.option("--area-weight", type=click.FloatRange(0), help="Higher: smaller masks. [default: 15]")
@click.option(
    "--patience", type=click.IntRange(0), help="Epochs without a better one before the end; 0: all."
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="A GPU trains in mixed precision.",
)
@shared_options
def lmac(
    source: str,
    data: Path,
    out: Path | None,
    noise: Path | None,
    device: Any,
    resume: bool,
    strict: bool,
    threads: int | None,
    quiet: bool,
    **given: Any,
) -> None:
    """Train an L-MAC decoder over the classifier of SOURCE, on the sounds of DATA.

    SOURCE is a run directory, or with -o any PyTorch source of earmark export. Without a split of its
    own the decoder keeps the classifier's.
    """
    require_torch(threads)
    tell_passed_over(data)
    from ...export.training.lmac.recipe import train_lmac
    from ...export.training.settings import LmacSettings

    run = out or Path(source)
    settings = settings_of(LmacSettings, given, stored_settings(run, "decoder", resume))
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
