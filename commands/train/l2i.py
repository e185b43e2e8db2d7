"""`earmark train l2i`: components that speak for a classifier, or are it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...export.training.l2i.settings import L2iSettings
from ..console import tell
from ..inputs import tell_passed_over
from ..options import refuse_given
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
@over_source_options("interpreter")
@click.option(
    "--dictionary",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="RUN",
    help="Take the dictionary of this run instead of learning one.",
)
@click.option(
    "--start",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="RUN",
    help="Begin with the interpreter and the dictionary of this run, one after the fact.",
)
@settings_options(L2iSettings)
@running_options
def l2i(
    source: str,
    data: Path,
    out: Path | None,
    noise: Path | None,
    device: Device,
    dictionary: Path | None,
    start: Path | None,
    given: Given[L2iSettings],
    resume: bool,
    strict: bool,
    threads: int | None,
    quiet: bool,
) -> None:
    """Train an L2I interpreter over the classifier of SOURCE, on the sounds of DATA.

    A dictionary of spectra is learnt by NMF, then how the classifier's feature maps say when each of its
    components sounds, and what that says of the classes. SOURCE is a run directory, or with -o any PyTorch
    source of earmark export. Without a split of its own the interpreter keeps the classifier's. Exits with 1
    where a clip or a folder could not be read and was left out.
    """
    if dictionary is not None and start is not None:
        raise click.UsageError("--start brings its dictionary along: leave --dictionary out")
    if dictionary is not None or start is not None:
        refuse_given("is for learning a dictionary, and one is given", "sparsity")
    if given.values.get("by_design"):
        refuse_given("is for an interpreter after the fact, not for one by design", "noise", "patience")
    if given.values.get("interpreter") == "reference":
        refuse_given("is for a compact interpreter; the reference's is that of Cnn14", "width")
    require_torch(threads, *(() if dictionary or start else ("sklearn",)))
    tell_passed_over(data)
    from ...export.training.l2i.recipe import train_l2i

    run = out or Path(source)
    settings = settings_of(given, run, "interpreter", resume=resume)
    summary = train_l2i(
        source,
        data,
        settings,
        out=out,
        dictionary=dictionary,
        start=start,
        noise=noise,
        device=device,
        resume=resume,
        strict=strict,
        quiet=quiet,
    )
    tell_left_out(summary)
    for clip in summary["silent"]:
        tell(f"left {clip} out of the dictionary: it is silent")
    share = summary["multiply_adds"] / summary["classifier_multiply_adds"]
    tell(
        f"{run}: {summary['components']} components, {summary['parameters']} parameters, {share:.0%} of the "
        f"classifier's multiply-adds{_validation(summary)}"
    )
    extra = "" if str(run) == source else f" --interpreter {run}"
    tell(f"next: earmark export {source}{extra} -o BUNDLE")
    fail_for_left_out(summary)


def _validation(summary: dict[str, Any]) -> str:
    """What the validation clips said, in a line; nothing without any."""
    if "fidelity_top1" not in summary:
        return ""
    figure = "f1" if "f1" in summary else "accuracy"
    line = f"; validation: {figure} {summary[figure]:.1%}"
    if f"by_design_{figure}" in summary:
        line += f", by design {summary[f'by_design_{figure}']:.1%}"
    else:
        line += f", fidelity {summary['fidelity_top1']:.1%} (top 3: {summary['fidelity_top3']:.1%})"
    return (
        f"{line}, {summary['selected']:.1f} components selected, whose removal takes "
        f"{summary['faithfulness']:.2f} of the score (random ones: {summary['random_faithfulness']:.2f})"
    )
