"""The two graphs of a page: what classifies a window, and what explains a classified one. Never torch.

They are two because the target is chosen over all windows, and asked again for another class. What the first
gives besides logits is what the second takes. Level, padding and the joining of windows are the page's.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto

from ...runtime.audio.lengths import samples_at_least, samples_of
from ...runtime.audio.level import level_of
from ...runtime.bundle.manifest import Manifest, StageSpec
from ...runtime.bundle.open import Bundle
from ...runtime.inference.chain import Chain
from ...runtime.inference.onnx_runtime import cpu_session
from ...runtime.inference.session import Tensors
from ...runtime.inference.tensors import Feeds
from ...runtime.methods.loading import method_of
from ...runtime.methods.prototypes.generation import open_generation
from ...runtime.values.arrays import FloatArray
from ..bundle.sounds import synthesise
from ..bundle.stages import Stages, answers
from ..fused.check import difference, within
from ..fused.fuse import properties
from ..fused.joining import Joining

# What the explaining graph gives that is looked up, beside the mask and what it keeps.
EMBEDDINGS = ("square", "time", "frequency", "contributions", "bias")


class PageGraphs(msgspec.Struct, frozen=True):
    """Both graphs.

    Attributes:
        classify: waveform [B, N] -> logits [B, K] and tensors of `between`.
        explain: tensors of `between`, target [B] and samples [1] -> mask, kept, embeddings; None where the
            bundle has neither a decoder nor prototypes.
        between: What the second takes of the first.

    """

    classify: onnx.ModelProto
    explain: onnx.ModelProto | None
    between: tuple[str, ...]


def graphs_of(bundle: Bundle) -> PageGraphs:
    """The graphs of a page.

    Args:
        bundle: The open bundle.

    Returns:
        Both, with their weights in them.

    Raises:
        SourceError: A stage has operators that cannot be brought to one version.

    """
    manifest = bundle.manifest
    decodes, embeds = manifest.stage("decoder") is not None, manifest.prototypes is not None
    taken = {"stft"} | {
        tensor.name
        for name, wanted in (("decoder", decodes), ("embeddings", embeds))
        for stage in [manifest.stage(name)]
        if wanted and stage is not None
        for tensor in stage.inputs
    } - {"target"}
    between = tuple(sorted(taken))
    dims = _dims(manifest)
    first = Joining(bundle)
    known = first.classify(first.take("waveform", ["batch", "samples"]))
    first.give("logits", known["logits"], dims["logits"])
    for name in between:
        first.give(name, known[name], dims[name])
    facts = properties(manifest)
    return PageGraphs(
        classify=first.model(facts),
        explain=_explaining(bundle, between, decodes, embeds).model(facts) if decodes or embeds else None,
        between=between,
    )


def _explaining(bundle: Bundle, between: tuple[str, ...], decodes: bool, embeds: bool) -> Joining:
    """What explains a window that is classified."""
    manifest, dims = bundle.manifest, _dims(bundle.manifest)
    second = Joining(bundle)
    known = {name: second.take(name, dims[name]) for name in between}
    if decodes:
        known["target"] = second.take("target", ["batch"], TensorProto.INT64)
        samples = second.take("samples", [1], TensorProto.INT64)
        mask, kept = second.mask(known, samples)
        second.give("mask", mask, ["batch", "frames", manifest.analysis.n_fft // 2 + 1])
        second.give("kept", kept, ["batch", "samples"])
    stage = manifest.stage("embeddings")
    if embeds and stage is not None:
        # A generation with a learnt U has a graph of its own.
        graph = open_generation(bundle.path, manifest).graph
        outputs = second.run("embeddings", known, graph)
        for name in EMBEDDINGS:
            if name in outputs:
                second.give(name, outputs[name], dims[name])
    return second


def _dims(manifest: Manifest) -> dict[str, list[int | str]]:
    """Dims of the stages' tensors by name, the listenable STFT among them."""
    bins = manifest.analysis.n_fft // 2 + 1
    given = {tensor.name: list(tensor.dims) for stage in manifest.stages for tensor in stage.outputs}
    return {**given, "stft": ["batch", "frames", bins, 2]}


def check(bundle: Bundle, classify: Path, explain: Path | None) -> dict[str, float]:
    """Compare both graphs with the bundle's stages, on a synthesised sound of one window.

    Args:
        bundle: The open bundle.
        classify: The first graph.
        explain: The second; None where there is none.

    Returns:
        Largest differences by output.

    Raises:
        ParityError: One is above the limit.

    """
    manifest = bundle.manifest
    rate, window = manifest.sample_rate, manifest.window
    length = max(samples_of(window.seconds, rate), samples_at_least(window.minimum_seconds, rate))
    wave = synthesise(1, length, rate, length)
    wave /= level_of(wave[0], manifest.level)
    first = _run(classify, {"waveform": wave})
    given = dict(first)
    expected = _expected(bundle, wave)
    if explain is not None:
        taken = {**first, "target": first["logits"].argmax(axis=1), "samples": np.array([wave.shape[1]])}
        given |= _run(explain, taken)
    found = {name: difference(given[name], one) for name, one in expected.items()}
    return within(found, bundle, "a graph for pages")


def _run(graph: Path, feeds: Feeds) -> Tensors:
    """What a graph gives, by name; of what is fed it takes what it knows."""
    session = cpu_session(graph)
    known = {one.name for one in session.get_inputs()}
    return answers(session, {name: one for name, one in feeds.items() if name in known})


def _expected(bundle: Bundle, wave: FloatArray) -> dict[str, FloatArray]:
    """What the bundle's stages give of a sound [1, N]: logits, mask, kept and embeddings."""
    manifest = bundle.manifest
    stages: dict[str, StageSpec] = {stage.name: stage for stage in manifest.stages}
    sessions = Stages(bundle.path, manifest.stages, ("frontend", "classifier", "decoder"))
    forward = Chain(sessions.run, manifest.analysis, manifest.rescore).forward(wave)
    expected = {"logits": forward.logits}
    if "decoder" in stages:
        expected |= method_of("mask").compute(sessions.run, stages, forward, manifest.mask_gain)
    if manifest.prototypes is not None:
        graph = open_generation(bundle.path, manifest).graph
        embedded = _run(graph, forward.feeds(stages["embeddings"]))
        expected |= {name: embedded[name] for name in EMBEDDINGS if name in embedded}
    return expected
