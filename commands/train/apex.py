"""`earmark train apex`: channels disentangled by a learnt U, for prototypes that mean one thing each."""

from __future__ import annotations

from pathlib import Path

import click

from ...export.training.apex.settings import ApexSettings
from ...export.training.options import ApexOptions
from ...times import duration_text
from ..console import say, tell
from ..options import device_option, examples, refuse_given
from ..paths import is_bundle
from ..settings_options import Given, settings_options
from .options import (
    TrainedOver,
    fail_for_left_out,
    settings_of,
    source_options,
    tell_left_out,
    training_options,
)


@click.command(epilog=examples("earmark train apex run data"))
@source_options("apex", "Where U and its report go. [default: RUN/apex, or BUNDLE.apex beside the bundle]")
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
def apex(source: TrainedOver, data: Path, options: ApexOptions, given: Given[ApexSettings]) -> None:
    """Learn U over the feature map of SOURCE, on the sounds of DATA.

    No prediction changes. SOURCE is a bundle, which gets a new generation of prototypes: the index of the
    sounds that U was learnt from; or a run directory, which keeps U for earmark export; or with -o any other
    source of earmark export that has a feature map (an .onnx file with --feature-map). Exits with 1 where a
    clip or a folder could not be read and was left out.
    """
    if not (isinstance(source.opened, str) and is_bundle(source.opened)):
        refuse_given("is for a BUNDLE, which is indexed anew; a source is not", "audio")
    from ...export.training.apex.figures import table_lines
    from ...export.training.apex.recipe import run_directory, train_apex

    run = run_directory(source.opened, options.out)
    settings = settings_of(given, run.path, "apex", resume=options.resume)
    summary = train_apex(source.opened, data, settings, options)
    tell_left_out(summary.left_out)
    report = summary.report
    for note in report.notes:
        tell(f"note: {note}")
    say(*table_lines(report))
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
        tell(f"next: earmark export {source.exported} -o BUNDLE, then earmark index BUNDLE {data}")
    else:
        tell(f"{source.opened}: {index.generation}, {index.clips} clips of {index.sources} sounds")
    fail_for_left_out(summary.left_out)
