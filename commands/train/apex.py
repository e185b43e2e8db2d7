"""`earmark train apex`: channels disentangled by a learnt U, for prototypes that mean one thing each."""

from __future__ import annotations

from pathlib import Path

import click

from ...export.training.apex.settings import ApexSettings
from ...export.training.options import ApexOptions
from ...times import duration_text
from ..console import say, tell
from ..options import device_option, examples, refuse_given
from ..paths import DataFolder, is_bundle
from ..settings_options import Given, settings_options
from .options import fail_for_left_out, settings_of, tell_left_out, training_options


@click.command(epilog=examples("earmark train apex run data"))
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RUN|BUNDLE")
@click.argument("data", type=DataFolder())
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where U and its report go. [default: RUN/apex, or BUNDLE.apex beside the bundle]",
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the feature maps in DIR, for the next training over the same model and sounds.",
)
@click.option("--audio/--no-audio", default=None, help="For a BUNDLE: keep the sounds in its new index.")
@device_option
@settings_options(ApexSettings)
@training_options(ApexOptions)
def apex(source: Path, data: Path, options: ApexOptions, given: Given[ApexSettings]) -> None:
    """Learn U over the feature map of a RUN or a BUNDLE, on the sounds of DATA.

    No prediction changes. A RUN keeps U for earmark export; a BUNDLE gets a new generation of prototypes: the
    index of the sounds that U was learnt from. Exits with 1 where a clip or a folder could not be read and
    was left out.
    """
    if not is_bundle(source):
        refuse_given("is for a BUNDLE, which is indexed anew; a RUN is not", "audio")
    from ...export.training.apex.figures import table_lines
    from ...export.training.apex.recipe import run_directory, train_apex

    run = run_directory(source, options.out)
    summary = train_apex(source, data, settings_of(given, run.path, "apex", resume=options.resume), options)
    tell_left_out(summary.left_out)
    report = summary.report
    for note in report.notes:
        tell(f"note: {note}")
    for line in table_lines(report.purity):
        say(line)
    figures = report.invariance
    kept = f"logits kept within {figures.fp64:.1e} (fp64)"
    if figures.fp32 is not None:
        kept += f", {figures.fp32:.1e} (fp32), top-1 the same in {figures.same_top1:.0%}"
    tell(
        f"{summary.folder}: U of {report.channels} channels in {duration_text(report.seconds)}, "
        f"off a rotation by {report.orthogonality:.1e}; {kept}; contributions: {report.head}"
    )
    index = summary.index
    if index is None:
        tell(f"next: earmark export {source} -o BUNDLE, then earmark index BUNDLE {data}")
    else:
        tell(f"{source}: {index.generation}, {index.clips} clips of {index.sources} sounds")
    fail_for_left_out(summary.left_out)
