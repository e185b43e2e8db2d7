"""Joins the stages of a bundle into one graph: waveform [B, N] -> scores, logits, mask, kept. Never torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import onnx

from ...errors import BundleError
from ...prototypes_index.atomic import replaced, staged
from ...prototypes_index.durability import naming
from ...runtime.audio.lengths import samples_at_least
from ...runtime.bundle.manifest import Manifest
from ...runtime.bundle.open import Bundle
from ..graphs.files import save_graph
from . import sound
from .check import Agreements, check
from .joining import Joining


def fuse(bundle: Bundle, out: Path, *, force: bool = False) -> Agreements:
    """Write a bundle as one graph, once it agrees with the bundle.

    The graph takes `waveform` [batch, samples], mono at the bundle's rate and the sound's own level, of any
    length, as one window: level, shortest length and the level of the kept sound are inside. It explains the
    class that it predicts.

    Args:
        bundle: The open bundle.
        out: The file of the graph; larger weights lie beside it in `OUT.data`.
        force: Replace the file if it exists.

    Returns:
        Largest differences from the bundle, by output.

    Raises:
        BundleError: The file exists.
        SourceError: The stages cannot be joined.
        ParityError: The graph's answers are not the bundle's.
        WriteError: A file cannot be written.

    """
    if out.exists() and not force:
        raise BundleError(f"{out}: exists; choose another file or replace it with --force")
    model = joined(bundle)
    with naming(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with staged(out.with_name(f"{out.name}.folder")) as folder:
        graph = folder / out.name
        data = save_graph(model, graph)
        found = check(bundle, graph)
        with naming(out):
            for name in (*data, out.name):
                with replaced(out.with_name(name)) as place:
                    shutil.copyfile(folder / name, place)
    return found


def joined(bundle: Bundle) -> onnx.ModelProto:
    """The stages of a bundle as one model.

    Args:
        bundle: The open bundle.

    Returns:
        The model; its weights are in it.

    Raises:
        SourceError: A stage has operators that cannot be brought to one version.

    """
    joining = Joining(bundle)
    manifest, nodes = joining.manifest, joining.nodes
    waveform = joining.take("waveform", ["batch", "samples"])
    samples = nodes.size(waveform, 1)
    level = sound.level(nodes, waveform, manifest.level)
    levelled = waveform if level is None else nodes.add("Div", waveform, level)
    shortest = samples_at_least(manifest.window.minimum_seconds, manifest.sample_rate)
    padded = sound.at_least(nodes, levelled, shortest)
    known = joining.classify(padded)
    known["target"] = nodes.add("ArgMax", known["logits"], axis=1, keepdims=0)
    labels = len(manifest.labels)
    operator = {"multi_label": "Sigmoid", "single_label": "Softmax", "regression": "Identity"}[manifest.task]
    joining.give("scores", nodes.add(operator, known["logits"]), ["batch", labels])
    joining.give("logits", known["logits"], ["batch", labels])
    frames = sound.frames_of(nodes, samples, manifest.analysis)
    if manifest.stage("decoder") is not None:
        mask, whole = joining.mask(known, nodes.size(padded, 1))
        bins = manifest.analysis.n_fft // 2 + 1
        shown = nodes.add("Slice", mask, nodes.whole(0), frames, nodes.whole(1))
        joining.give("mask", shown, ["batch", "frames", bins])
        kept = nodes.add("Slice", whole, nodes.whole(0), samples, nodes.whole(1))
        joining.give("kept", kept if level is None else nodes.add("Mul", kept, level), ["batch", "samples"])
    if manifest.stage("interpreter") is not None:
        outputs = joining.run("interpreter", known)
        count = manifest.components.count if manifest.components is not None else "components"
        active = nodes.add("Slice", outputs["activations"], nodes.whole(0), frames, nodes.whole(2))
        joining.give("activations", active, ["batch", count, "frames"])
    _embeddings(joining, known)
    return joining.model(properties(manifest))


def _embeddings(joining: Joining, known: Mapping[str, str]) -> None:
    """The views of the feature map that prototypes are looked up by, and the channels' contributions."""
    stage = joining.manifest.stage("embeddings")
    if stage is None:
        return
    outputs = joining.run("embeddings", known)
    dims = {tensor.name: tensor.dims for tensor in stage.outputs}
    for name in ("square", "time", "frequency", "contributions"):
        if name in outputs:
            given = name if name == "contributions" else f"embeddings_{name}"
            joining.give(given, outputs[name], list(dims[name]))


def properties(manifest: Manifest) -> dict[str, str]:
    """What a program needs to know of the graph, as the model's metadata: labels as a JSON list."""
    window = manifest.window
    return {
        "name": manifest.name,
        "bundle_id": manifest.bundle_id,
        "task": manifest.task,
        "labels": json.dumps(manifest.labels, ensure_ascii=False),
        "sample_rate": str(manifest.sample_rate),
        "window_seconds": f"{window.seconds:g}",
        "window_hop_seconds": f"{window.hop_seconds:g}",
        "window_aggregate": window.aggregate,
        "mask_hop": str(manifest.analysis.hop),
        "mask_n_fft": str(manifest.analysis.n_fft),
        "licence": manifest.licence,
        "attribution": manifest.attribution,
    }
