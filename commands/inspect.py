"""`earmark inspect`: what a bundle holds, without running it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..runtime.scores.labels import listed
from .console import say, say_json
from .next_steps import next_steps
from .options import examples, json_option
from .paths import BundleOrGraph

if TYPE_CHECKING:
    from ..runtime.bundle.manifest import Manifest
    from ..runtime.bundle.parity import Parity

# Labels in the text; --json has them all.
_LABELS = 20


@click.command(epilog=examples("earmark inspect bundle", "earmark inspect model.onnx"))
@click.argument("bundle", type=BundleOrGraph(), required=False, default=None)
@json_option
def inspect(bundle: Path | None, as_json: bool) -> None:
    """Show what BUNDLE holds (the shipped one when none is named).

    Of an .onnx file in its place: what it seems to take and give, how it could be explained, and the
    command that exports it.
    """
    import msgspec

    if bundle is not None and bundle.is_file():
        _inspect_graph(bundle, as_json=as_json)
        return

    from ..runtime.explainer import bundle_path
    from ..runtime.methods.loading import all_methods
    from ..runtime.opening import open_bundle

    opened = open_bundle(bundle_path(bundle))
    told = [method.inspect(opened) for method in all_methods()]
    if as_json:
        document = msgspec.to_builtins(opened.manifest)
        for one in told:
            document |= one.document
        say_json(document, indent=2)
        return
    on_request = [f"{method.name} where named" for method in all_methods() if method.on_request]
    for topic, text in _lines(opened.manifest, on_request, [line for one in told for line in one.lines]):
        say(f"{topic:<12} {text}")
    for step in next_steps(opened.manifest, bundle):
        say(f"{'next':<12} {step}")


def _inspect_graph(path: Path, *, as_json: bool) -> None:
    """Say what a graph seems to be."""
    import msgspec

    from ..export.sources.onnx.look import look_at

    report = look_at(path)
    if as_json:
        say_json(msgspec.to_builtins(report), indent=2)
        return
    say(f"graph        {path}: {report.nodes} operators of opset {report.opset}, {report.weights} weights")
    for topic, tensors in (("input", report.inputs), ("output", report.outputs)):
        for one in tensors:
            option = f" ({one.option})" if one.option else ""
            dims = ", ".join(map(str, one.dims))
            say(f"{topic:<12} {one.name} {one.dtype} [{dims}]: {one.meaning}{option}")
    say(f"ends in      {', '.join(report.ends_in) or 'not known'}")
    for tap in report.maps:
        dims = ", ".join(map(str, tap.dims))
        tokens = f" --map-tokens {tap.tokens}" if tap.tokens else ""
        say(f"feature map  {tap.tensor} [{dims}]: --feature-map {tap.tensor} --map-axes {tap.axes}{tokens}")
    if report.head:
        say(f"head         a matrix of {report.head[0]} inputs and {report.head[1]} labels")
    for line in report.explanations:
        say(f"explained by {line}")
    say(f"next         {report.command}")
    for topic, command in zip(("masks", "components", "then"), report.training, strict=False):
        say(f"{topic:<12} {command}")


def _lines(
    manifest: Manifest, on_request: Sequence[str], of_methods: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """The bundle as lines of (topic, text) for people."""
    window = manifest.window
    yield "bundle", f"{manifest.name} ({manifest.bundle_id[:16]}), schema {manifest.schema_version}"
    what = "values" if manifest.task == "regression" else "labels"
    yield what, f"{len(manifest.labels)} {manifest.task}: {listed(manifest.labels, _LABELS)}"
    yield (
        "sound",
        f"{manifest.sample_rate} Hz, windows of {window.seconds:g} s every {window.hop_seconds:g} s, "
        f"shorter padded to {window.minimum_seconds:g} s, level {manifest.level}",
    )
    analysis = manifest.analysis
    yield (
        "analysis",
        f"STFT {analysis.n_fft}, {analysis.window} {analysis.window_length}, hop {analysis.hop}; "
        f"a masked sound re-enters as {manifest.rescore}",
    )
    for stage in manifest.stages:
        size = sum(manifest.files[name].size for name in (stage.file, *stage.data))
        inputs = ", ".join(f"{tensor.name}{tensor.dims}" for tensor in stage.inputs)
        outputs = ", ".join(tensor.name for tensor in stage.outputs)
        yield stage.name, f"{size / 1e6:.2f} MB, opset {stage.opset}: {inputs} -> {outputs}"
    yield "explainers", ", ".join([*manifest.explainers, *on_request])
    yield from of_methods
    yield from _parity_lines(manifest.parity)
    for name, value in manifest.evaluation.items():
        yield "evaluation", f"{name}: {value}"
    if manifest.source:
        yield "source", manifest.source
    if manifest.licence or manifest.attribution:
        yield "licence", " ".join(filter(None, (manifest.licence, manifest.attribution)))
    yield "made with", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    total = sum(file.size for file in manifest.files.values())
    yield "files", f"{len(manifest.files)}, {total / 1e6:.1f} MB"


def _parity_lines(parity: Parity) -> Iterator[tuple[str, str]]:
    """What was measured at export, in words."""
    import msgspec

    for output, one in parity.fp32.items():
        yield "parity fp32", f"{output} within {one.max_abs:.1e} of the source (limit {one.limit:.0e})"
    if parity.int8 is not None:
        logits = parity.int8.logits
        yield "parity int8", f"logits within {logits.max_abs:.1e} of fp32 (limit {logits.limit:.0e})"
        for name, shares in (("labels", parity.int8.labels), ("ranks", parity.int8.ranks)):
            numbers = msgspec.structs.asdict(shares)
            yield "parity int8", f"{name}: " + ", ".join(f"{key} {one:.3g}" for key, one in numbers.items())
        if (explained := parity.int8.explanations) is not None:
            ff, ad = explained.ff_change, explained.ad_change
            yield (
                "parity int8",
                f"segments: ranks {explained.ranks:.3f}, overlap {explained.overlap:.2f}, FF {ff.mean:+.3f}, "
                f"AD {ad.mean:+.3f} of {explained.clips} clips",
            )
