"""`earmark train l2i`: components that speak for a classifier, or are it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..console import tell
from ..inputs import tell_passed_over
from ..options import refuse_given
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
    help="Where the interpreter goes, if not SOURCE.",
)
@click.option(
    "--by-design",
    is_flag=True,
    default=None,
    help="The components become the classifier, trained with it by the labels.",
)
@click.option(
    "--components",
    type=click.IntRange(1),
    metavar="K",
    help="Of the dictionary. [default: at the knee of the reconstruction error]",
)
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
@click.option(
    "--interpreter",
    type=click.Choice(["compact", "reference"]),
    help="compact: at most 8 % of the classifier's multiply-adds (default); reference: SpeechBrain's "
    "CNN14PSI_stft_2d, over Cnn14.",
)
@click.option("--alpha", type=click.FloatRange(0), help="Weight of the reconstruction. [default: 10]")
@click.option("--beta", type=click.FloatRange(0), help="Weight of the activations' L1. [default: 0.8]")
@click.option(
    "--fidelity-weight",
    type=click.FloatRange(0),
    help="Of the cross-entropy with the classifier's answer. [default: 1; by design, with the labels: 5]",
)
@click.option(
    "--removal-weight",
    type=click.FloatRange(0),
    help="Of the class's score without its components, beyond the paper's loss. [default: 3]",
)
@click.option("--sparsity", type=click.FloatRange(0), help="Of the dictionary. [default: 0.8]")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, max_open=True),
    help="Components of more relevance are selected. [default: 0.2; several labels: 0.3]",
)
@click.option(
    "--noise",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Mix in recordings of noise from DIR instead of synthesised noise.",
)
@click.option(
    "--patience", type=click.IntRange(0), help="Epochs without a better one before the end; 0: all. [default]"
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="A GPU trains in mixed precision.",
)
@shared_options
def l2i(
    source: str,
    data: Path,
    out: Path | None,
    dictionary: Path | None,
    start: Path | None,
    noise: Path | None,
    device: Any,
    resume: bool,
    strict: bool,
    threads: int | None,
    quiet: bool,
    **given: Any,
) -> None:
    """Train an L2I interpreter over the classifier of SOURCE, on the sounds of DATA.

    A dictionary of spectra is learnt by NMF, then how the classifier's feature maps say when each of its
    components sounds, and what that says of the classes. SOURCE is a run directory, or with -o any PyTorch
    source of earmark export. Without a split of its own the interpreter keeps the classifier's.
    """
    if dictionary is not None and start is not None:
        raise click.UsageError("--start brings its dictionary along: leave --dictionary out")
    if dictionary is not None or start is not None:
        refuse_given("is for learning a dictionary, and one is given", "sparsity")
    if given["interpreter"] == "reference":
        refuse_given("is for a compact interpreter; the reference's is that of Cnn14", "width")
    require_torch(threads, *(() if dictionary or start else ("sklearn",)))
    tell_passed_over(data)
    from ...export.training.l2i.recipe import train_l2i
    from ...export.training.l2i.settings import L2iSettings

    run = out or Path(source)
    settings = settings_of(L2iSettings, given, stored_settings(run, "interpreter", resume))
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


def _validation(summary: dict[str, Any]) -> str:
    """What the validation clips said, in a line; nothing without any."""
    if "fidelity_top1" not in summary:
        return ""
    figure = "f1" if "f1" in summary else "accuracy"
    said = f"; validation: {figure} {summary[figure]:.1%}"
    if f"by_design_{figure}" in summary:
        said += f", by design {summary[f'by_design_{figure}']:.1%}"
    else:
        said += f", fidelity {summary['fidelity_top1']:.1%} (top 3: {summary['fidelity_top3']:.1%})"
    return (
        f"{said}, {summary['selected']:.1f} components selected, whose removal takes "
        f"{summary['faithfulness']:.2f} of the score (random ones: {summary['random_faithfulness']:.2f})"
    )
