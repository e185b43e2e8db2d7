"""`earmark train apex`: channels disentangled by a learnt U, for prototypes that mean one thing each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..console import say, tell
from ..inputs import tell_passed_over
from ..options import device_option, refuse_given
from ..paths import DataFolder, is_bundle
from .options import require_torch, settings_of, split_options, tell_left_out


@click.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="RUN|BUNDLE")
@click.argument("data", type=DataFolder(exists=False))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where U and its report go. [default: RUN/apex, or BUNDLE.apex beside the bundle]",
)
@click.option("--invertible", is_flag=True, default=None, help="Any invertible U, not a rotation alone.")
@click.option("--per-view", is_flag=True, default=None, help="A U for each view, not square's for all.")
@click.option("--rounds", type=click.IntRange(1), help="Times that top clips are chosen. [default: 60]")
@click.option("--n-first", type=click.IntRange(1), help="Top clips a channel at first. [default: 100]")
@click.option("--n-last", type=click.IntRange(1), help="And from the middle on. [default: 5]")
@click.option("--polish", type=click.IntRange(0), help="Rounds of judged smaller steps. [default: 20]")
@click.option(
    "--solver",
    type=click.Choice(["exact", "adam"]),
    help="exact: the best rotation for the clips chosen (default); adam: EPIC's steps on A.",
)
@click.option("--steps", type=click.IntRange(1), help="Steps of Adam a round. [default: 20]")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Of Adam. [default: 0.001]")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the feature maps in DIR, for the next training over the same model and sounds.",
)
@click.option("--audio/--no-audio", default=None, help="For a BUNDLE: keep the sounds in its new index.")
@device_option
@split_options
def apex(
    source: Path,
    data: Path,
    out: Path | None,
    cache: Path | None,
    audio: bool | None,
    device: str,
    resume: bool,
    strict: bool,
    threads: int | None,
    quiet: bool,
    **given: Any,
) -> None:
    """Learn U over the feature map of a RUN or a BUNDLE, on the sounds of DATA.

    No prediction changes. A RUN keeps U for earmark export; a BUNDLE gets a new generation of prototypes: the
    index of the sounds that U was learnt from.
    """
    if given["solver"] != "adam" and not resume:
        refuse_given("goes with --solver adam", "steps", "lr")
    if given["solver"] == "adam":
        refuse_given("goes with --solver exact", "polish")
    if not is_bundle(source):
        refuse_given("is for a BUNDLE, which is indexed anew; a RUN is not", "audio")
    require_torch(threads)
    tell_passed_over(data)
    from ...export.training.apex.figures import table_lines
    from ...export.training.apex.recipe import run_directory, train_apex
    from ...export.training.apex.settings import ApexSettings

    run = run_directory(source, out)
    stored = run.read_config().get("training", {}) if resume and run.config_path.exists() else None
    summary = train_apex(
        source,
        data,
        settings_of(ApexSettings, given, stored),
        out=out,
        cache=cache,
        device=device,
        audio=audio,
        resume=resume,
        strict=strict,
        quiet=quiet,
    )
    tell_left_out({"unreadable": summary["left_out"]})
    for note in summary["notes"]:
        tell(f"note: {note}")
    for line in table_lines(summary["purity"]):
        say(line)
    figures = summary["invariance"]
    off = summary["orthogonality"]
    shape = f"condition {summary['condition']:.3g}" if off is None else f"off a rotation by {off:.1e}"
    kept = f"logits kept within {figures['fp64']:.1e} (fp64)"
    if figures["fp32"] is not None:
        kept += f", {figures['fp32']:.1e} (fp32), top-1 the same in {figures['same_top1']:.0%}"
    tell(
        f"{summary['folder']}: U of {summary['channels']} channels in {summary['seconds']:.0f} s, {shape}; "
        f"{kept}; contributions: {summary['head']}"
    )
    index = summary["index"]
    if index is None:
        tell(f"next: earmark export {source} -o BUNDLE, then earmark index BUNDLE {data}")
    else:
        tell(f"{source}: {index.generation}, {index.clips} clips of {index.sources} sounds")
