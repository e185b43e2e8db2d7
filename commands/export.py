"""`earmark export`: from a trained model to a bundle."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from .console import say, say_json, tell
from .derived_options import Derived, derived_options
from .graph_options import GraphOptions, can_be_trained_over, load_graph
from .next_steps import next_steps
from .options import examples, folder_option, refuse_given
from .paths import is_bundle
from .settings_options import Given, settings_options, words_of

if TYPE_CHECKING:
    from ..export.source.exportable import Exportable
    from ..runtime.bundle.manifest import Manifest


@click.command(
    epilog=examples(
        "earmark export run -o bundle",
        "earmark export model.onnx -o bundle --labels labels.txt --sample-rate 16000",
        "earmark export bundle --web page",
        "earmark export bundle --layout triton models",
    )
)
@click.argument("source")
@click.option(
    "-o",
    "--output",
    "out",
    metavar="BUNDLE",
    type=click.Path(path_type=Path),
    help="Folder of the new bundle.",
)
@derived_options
@click.option("--name", help="Name of the bundle (by default the source's).")
@click.option("--force", is_flag=True, help="Replace the bundle if it exists.")
@folder_option(
    "--sound", "DIR", "Real clips (up to 5) that parity is measured with, besides synthesised sound."
)
@click.option(
    "--window", metavar="SECONDS", type=float, help="Longest sound classified at once (the source's window)."
)
@click.option(
    "--aggregate",
    type=click.Choice(["mean", "max", "lme"]),
    help="How scores of a long sound's windows are joined (max where several labels may hold, else mean).",
)
@click.option(
    "--hop",
    metavar="SECONDS",
    type=float,
    help="From one window of a long sound to the next (half a window).",
)
@click.option("--licence", metavar="TEXT", help="Licence of the weights, for manifest and card.")
@click.option("--attribution", metavar="TEXT", help="Whom to credit, for manifest and card.")
@click.option("--no-decoder", is_flag=True, help="Leave the decoder out: no masks, a smaller bundle.")
@folder_option("--decoder", "RUN", "The decoder that earmark train lmac SOURCE -o RUN has trained over it.")
@click.option("--no-interpreter", is_flag=True, help="Leave the interpreter out: no components.")
@folder_option(
    "--interpreter", "RUN", "The interpreter that earmark train l2i SOURCE -o RUN has trained over it."
)
@folder_option(
    "--apex", "RUN", "The rotation of channels that earmark train apex SOURCE -o RUN has learnt over it."
)
@click.option("--int8", is_flag=True, help="Add an 8-bit classifier, for detect --int8 and segments.")
@folder_option("--calibration", "DIR", "Real clips that --int8 takes its ranges from, 80 or more.")
@settings_options(GraphOptions)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the synthesised sound."
)
@click.option("--json", "as_json", is_flag=True, help="The manifest as one JSON document on stdout.")
def export(
    source: str,
    out: Path | None,
    derived: Derived,
    name: str | None,
    force: bool,
    sound: Path | None,
    window: float | None,
    aggregate: Literal["mean", "max", "lme"] | None,
    hop: float | None,
    licence: str | None,
    attribution: str | None,
    no_decoder: bool,
    decoder: Path | None,
    no_interpreter: bool,
    interpreter: Path | None,
    apex: Path | None,
    int8: bool,
    calibration: Path | None,
    seed: int,
    given: Given[GraphOptions],
    as_json: bool,
) -> None:
    """Export SOURCE to a bundle.

    SOURCE is a run directory, the output folder of SpeechBrain's ESC-50 interpret recipe,
    the folder of a Hugging Face model, a checkpoint of PANNs (labels.txt beside it),
    module:factory (see earmark.export.Adapter), or an .onnx file that takes waveforms
    (or, with --frontend, features) and gives a score a label. All but the last need the extra "export",
    which --decoder and --interpreter need for an .onnx file, too.
    With --fused, --layout or --web it may be a bundle.
    """
    if no_decoder and decoder is not None:
        raise click.UsageError("--decoder and --no-decoder exclude each other")
    if no_interpreter and interpreter is not None:
        raise click.UsageError("--interpreter and --no-interpreter exclude each other")
    if int8 != (calibration is not None):
        raise click.UsageError("--int8 and --calibration DIR belong together")
    if is_bundle(source):
        if not derived or out is not None:
            raise click.UsageError(f"{source} is a bundle already: SOURCE is what it was exported from")
        derived.write(Path(source), say, force=force)
        return
    if out is None:
        raise click.UsageError("Missing option '-o' / '--output'.")
    from ..export.bundle.target import check_target
    from ..export.exporting import export_bundle
    from ..export.sources import require_packages
    from ..export.sources.foreign import refuse_foreign

    opened: Exportable | str = source
    told, trainable = "", True
    if Path(source).suffix.lower() == ".onnx":
        refuse_given("is for sources in PyTorch; an .onnx file has none", "no_decoder", "no_interpreter")
        # Before the graph is read, which may take long.
        check_target(out, force=force)
        require_packages("onnxruntime")
        opened = load_graph(source, window, given.settings())
        told = shlex.join([*words_of(given), *([] if window is None else ["--window", f"{window:g}"])])
        trainable = can_be_trained_over(opened)
        window = None
    else:
        refuse_foreign(source)
        if given:
            raise click.UsageError(f"{given.first} is for an .onnx file; this source says it itself")
    manifest = export_bundle(
        opened,
        out,
        name=name,
        force=force,
        decoder=decoder or not no_decoder,
        interpreter=interpreter or not no_interpreter,
        apex=apex,
        window_seconds=window,
        aggregate=aggregate,
        hop_seconds=hop,
        sounds=sound,
        calibration=calibration,
        licence=licence,
        attribution=attribution,
        seed=seed,
        progress=_progress,
        on_doubt=lambda doubt: tell(f"warning: {source}: {doubt}"),
    )
    # With --json, stdout is for that.
    derived.write(out, (lambda _: None) if as_json else say, force=force)
    if as_json:
        import msgspec

        say_json(msgspec.to_builtins(manifest), indent=2)
        return
    _say_facts(manifest, out)
    for step in next_steps(manifest, out, source, told=told, trainable=trainable):
        say(f"  next     {step}")


def _say_facts(manifest: Manifest, out: Path) -> None:
    """What was exported, and how far it is from its source."""
    what = "values" if manifest.task == "regression" else "labels"
    explains = ", ".join([*manifest.explainers, "segments where named"])
    say(f"{out}: {manifest.name}, {len(manifest.labels)} {what}, explains by {explains}")
    meaning = {
        "single_label": "softmax: one label holds",
        "multi_label": "sigmoid: several labels may hold",
        "regression": "values, as the model gives them",
    }[manifest.task]
    say(f"  scores   {meaning}; those of a long sound's windows are joined by {manifest.window.aggregate}")
    samples = round(manifest.window.seconds * manifest.sample_rate)
    say(f"  window   {manifest.window.seconds:.4g} s ({samples} samples at {manifest.sample_rate} Hz)")
    for output, one in manifest.parity.fp32.items():
        say(f"  {output:<8} differs by at most {one.max_abs:.1e} (limit {one.limit:.0e})")
    quantised = manifest.parity.int8
    if quantised is not None:
        say(
            f"  int8     labels agree in {100 * quantised.labels.agreement:.1f} %, ranks by "
            f"{quantised.ranks.spearman:.4f}"
        )


def _progress(text: str) -> None:
    """Say what is being done, on a terminal."""
    if sys.stderr.isatty():
        tell(f"earmark: {text}")
