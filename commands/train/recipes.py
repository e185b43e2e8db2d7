"""The recipes of `earmark train`: a classifier, and what explains it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from ...export.training.apex.settings import ApexSettings
from ...export.training.l2i.settings import L2iSettings
from ...export.training.options import ApexOptions, ClassifierOptions, InterpreterOptions, OverSourceOptions
from ...export.training.settings import ClassifierSettings, LmacSettings
from ...times import duration_text
from ..console import say, tell
from ..options import device_option, examples, folder_option, refuse_given
from ..paths import DataFolder, is_bundle
from ..settings_options import Given, settings_options
from .options import (
    TrainedOver,
    fail_for_left_out,
    over_source_options,
    require_packages,
    settings_of,
    source_options,
    tell_left_out,
    training_device_option,
    training_options,
)


@click.command(epilog=examples("earmark train classifier data -o run"))
@click.argument("data", type=DataFolder())
@click.option("-o", "--out", "run", required=True, type=click.Path(path_type=Path), help="The run directory.")
@folder_option(
    "--background-sounds", "DIR", "Recordings without any of the labels join silence and faint noise."
)
@training_device_option
@settings_options(ClassifierSettings)
@training_options(ClassifierOptions)
def classifier(data: Path, run: Path, options: ClassifierOptions, given: Given[ClassifierSettings]) -> None:
    """Train a compact classifier on DATA, a folder of class folders of sound.

    Clips with several labels, or none, are named by DATA/labels.csv: columns clip and labels, these
    joined by ";". Where a label counts events, take out what changes the count: --mixup 0 --shift 0
    --stretches 0. Exits with 1 where a clip or a folder could not be read and was left out.
    """
    from ...export.training.classifier import train_classifier

    summary = train_classifier(
        data, run, settings_of(given, run, "classifier", resume=options.resume), options
    )
    tell_left_out(summary.left_out)
    figures = ""
    if "accuracy" in summary.figures:
        share = summary.figures["accuracy"]
        figures = f", {share:.1%} of {summary.validation_clips} validation clips right"
    elif "f1" in summary.figures:
        figures = f", F1 {summary.figures['f1']:.3f} on {summary.validation_clips} validation clips"
    tell(f"{run}: {summary.parameters} parameters, {summary.clips} clips{figures}")
    tell(f"next: earmark train lmac {run} {data}")
    fail_for_left_out(summary.left_out)


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
    tell_left_out(summary.left_out)
    measured = summary.figures
    figures = ""
    if measured:
        figures = (
            f"; validation: area {measured['area']:.2f}, AI {measured['average_increase']:.1f} %, "
            f"AD {measured['average_drop']:.1f} %, FF {measured['faithfulness']:.2f}, "
            f"Fid-In {measured['input_fidelity']:.2f}"
        )
    tell(
        f"{run}: decoder of {summary.parameters} parameters, {summary.cost:.0%} of the classifier's "
        f"multiply-adds{figures}"
    )
    for warning in summary.warnings:
        tell(f"warning: {warning}")
    tell(f"next: earmark export {source.exported} -o BUNDLE")
    fail_for_left_out(summary.left_out)


@click.command(epilog=examples("earmark train l2i run data"))
@over_source_options("interpreter")
@folder_option("--dictionary", "RUN", "Take the dictionary of this run instead of learning one.")
@folder_option(
    "--start", "RUN", "Begin with the interpreter and the dictionary of this run, one after the fact."
)
@settings_options(L2iSettings)
@training_options(InterpreterOptions, loose=True)
def l2i(source: TrainedOver, data: Path, options: InterpreterOptions, given: Given[L2iSettings]) -> None:
    """Train an L2I interpreter over the classifier of SOURCE, on the sounds of DATA.

    A dictionary of spectra is learnt by NMF, then how the classifier's feature maps say when each of its
    components sounds, and what that says of the classes. SOURCE is a run directory, or with -o any source
    of earmark export: a PyTorch model, or an .onnx file, which stays as it is. DATA has a folder per label
    where SOURCE is a run directory, else any sounds that the model is for. Without a split of its own the
    interpreter keeps the classifier's. Exits with 1 where a clip or a folder could not be read and was left
    out.
    """
    learns = options.dictionary is None and options.start is None
    if options.dictionary is not None and options.start is not None:
        raise click.UsageError("--start brings its dictionary along: leave --dictionary out")
    if not learns:
        refuse_given("is for learning a dictionary, and one is given", "sparsity", "spectra")
    if given.values.get("by_design"):
        refuse_given("is for an interpreter after the fact, not for one by design", "noise", "patience")
    if given.values.get("interpreter") == "reference":
        refuse_given("is for a compact interpreter; the reference's is that of Cnn14", "width")
    if learns:
        require_packages("sklearn")
    from ...export.training.l2i.recipe import train_l2i

    run = source.run
    settings = settings_of(given, run, "interpreter", resume=options.resume)
    summary = train_l2i(source.opened, data, settings, options)
    tell_left_out(summary.left_out)
    for clip in summary.silent:
        tell(f"left {clip} out of the dictionary: it is silent")
    tell(
        f"{run}: {summary.components} components, {summary.parameters} parameters, {summary.cost:.0%} of the "
        f"classifier's multiply-adds{_validation(summary.figures)}"
    )
    tell(f"next: earmark export {source.exported} -o BUNDLE")
    fail_for_left_out(summary.left_out)


def _validation(figures: Mapping[str, float]) -> str:
    """The figures of the validation clips in a line; nothing without any."""
    if "fidelity_top1" not in figures:
        return ""
    parts = []
    figure = "f1" if "f1" in figures else "accuracy"
    if figure in figures:
        parts.append(f"{figure} {figures[figure]:.1%}")
    if f"by_design_{figure}" in figures:
        parts.append(f"by design {figures[f'by_design_{figure}']:.1%}")
    else:
        parts.append(f"fidelity {figures['fidelity_top1']:.1%} (top 3: {figures['fidelity_top3']:.1%})")
    parts.append(
        f"{figures['selected']:.1f} components selected, whose removal takes "
        f"{figures['faithfulness']:.2f} of the score (random ones: {figures['random_faithfulness']:.2f})"
    )
    return f"; validation: {', '.join(parts)}"


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
