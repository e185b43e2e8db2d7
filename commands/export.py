"""`earmark export`: from a trained model to a bundle, and what is derived from one."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .console import say, say_json, tell
from .graph_options import GraphOptions, can_be_trained_over, load_graph
from .next_steps import next_steps
from .options import examples, folder_option, refuse_given, with_options
from .paths import is_bundle
from .settings_options import Given, settings_options, words_of

if TYPE_CHECKING:
    from ..export.source.exportable import Exportable
    from ..runtime.bundle.manifest import Manifest
    from ..runtime.bundle.open import Bundle

_Command = Callable[..., Any]
_Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Derived:
    """What is to be derived from a bundle; None: not asked for.

    fused: file of one graph; layout: kind and folder of a model repository
    web: folder of a page; example: a sound it offers; package: onnxruntime-web, packed or as a folder
    """

    fused: Path | None
    layout: tuple[Literal["triton"], Path] | None
    web: Path | None
    example: Path | None
    package: Path | None

    def __bool__(self) -> bool:
        return any(one is not None for one in (self.fused, self.layout, self.web))

    def write(self, path: Path, say: _Say, *, force: bool) -> None:
        """Write what was asked for, and say how far its answers are from those of the bundle at `path`."""
        from ..runtime.opening import open_bundle

        for step in (self._write_fused, self._write_repository, self._write_page):
            step(open_bundle(path), say, force)

    def _write_fused(self, bundle: Bundle, say: _Say, force: bool) -> None:
        if self.fused is None:
            return
        from ..export.fused.fuse import fuse

        differences = fuse(bundle, self.fused, force=force)
        say(f"{self.fused}: one graph; {_agreement(differences)}")

    def _write_repository(self, bundle: Bundle, say: _Say, force: bool) -> None:
        if self.layout is None:
            return
        from ..export.fused.triton import model_name, write_repository

        _, folder = self.layout
        differences = write_repository(bundle, folder, force=force)
        name = model_name(bundle.manifest.name)
        say(f"{folder}: a model repository with the model {name}; {_agreement(differences)}")
        say(f"  next     tritonserver --model-repository {shlex.quote(str(folder))}")

    def _write_page(self, bundle: Bundle, say: _Say, force: bool) -> None:
        if self.web is None:
            return
        from ..export.web.write import write_page
        from ..runtime.explainer import SHIPPED

        example = self.example
        if example is None and bundle.path.resolve() == SHIPPED.resolve():
            example = SHIPPED.with_name("example.flac")
        written = write_page(bundle, self.web, force=force, example=example, package=self.package)
        parts = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in written.bytes_of.items())
        say(f"{self.web}: a page of {sum(written.bytes_of.values()) / 1e6:.1f} MB ({parts})")
        say(f"  {_agreement(written.differences)}")
        say(f"  next     python -m http.server -d {shlex.quote(str(self.web))}")


def derived_options(command: _Command) -> _Command:
    """Add --fused, --layout, --web and what belongs to it; the command gets them as `derived`."""

    @wraps(command)
    def run(*arguments: Any, **given: Any) -> Any:
        names = ("fused", "layout", "web", "example", "package")
        derived = Derived(**{name: given.pop(name) for name in names})
        if derived.web is None and (derived.example is not None or derived.package is not None):
            raise click.UsageError("--example and --onnxruntime-web are for the page of --web DIR")
        return command(*arguments, derived=derived, **given)

    return with_options(run, _OPTIONS)


_OPTIONS = (
    click.option(
        "--fused",
        metavar="OUT.onnx",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Also write the bundle as one graph: waveform in; scores, mask and kept sound out.",
    ),
    click.option(
        "--layout",
        metavar="triton DIR",
        type=(click.Choice(["triton"]), click.Path(file_okay=False, path_type=Path)),
        help="Also write that graph into a model repository of NVIDIA Triton.",
    ),
    click.option(
        "--web",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="Also write the bundle as a web page that explains sound in the browser, for any static host.",
    ),
    click.option(
        "--example",
        metavar="SOUND",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A sound that the page of --web offers to begin with.",
    ),
    click.option(
        "--onnxruntime-web",
        "package",
        metavar="PATH",
        type=click.Path(exists=True, path_type=Path),
        help="The npm package for --web, packed or as a folder (by default npm fetches it).",
    ),
)


def _agreement(differences: Mapping[str, float]) -> str:
    listed = ", ".join(f"{name} {far:.1e}" for name, far in differences.items())
    return f"differs from the bundle by at most {listed}"


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
