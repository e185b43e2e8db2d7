"""`earmark train l2i`: components that explain a classifier, or are it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from ...export.training.l2i.settings import L2iSettings
from ...export.training.options import InterpreterOptions
from ..options import examples, folder_option, refuse_given
from ..settings_options import Given, settings_options
from .options import (
    TrainedOver,
    over_source_options,
    require_packages,
    settings_of,
    tell_trained,
    training_options,
)


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
    lines = [f"left {clip} out of the dictionary: it is silent" for clip in summary.silent]
    lines.append(
        f"{run}: {summary.components} components, {summary.parameters} parameters, {summary.cost:.0%} of the "
        f"classifier's multiply-adds{_validation(summary.figures)}"
    )
    tell_trained(summary, lines, f"earmark export {source.exported} -o BUNDLE")


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
