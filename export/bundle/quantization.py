"""The classifier once more with 8-bit weights and activations, and how far it agrees. Never torch.

Methods that ask for hundreds of scores of one sound (`segments`) need their ranks more than their
digits. Static quantisation by onnxruntime (QDQ, per channel) calibrated on real clips; what stays in
float32 and why is `_kept_float`. Agreement is measured on other clips of the folder and on perturbed
versions of them, as the methods will use it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx

from ...errors import DataError, ParityError, SourceError
from ...printable import first_line
from ...runtime.audio.lengths import samples_of
from ...runtime.bundle.graphs import load_whole
from ...runtime.bundle.manifest import StageSpec
from ...runtime.bundle.parity import Int8Parity, LabelsAgreement, LogitsAgreement, RanksAgreement
from ...runtime.inference.onnx_runtime import import_onnxruntime
from ...runtime.values.arrays import FloatArray
from ..graphs.files import save_graph, stage_spec
from ..graphs.quiet import without_log_warnings
from ..source.exportable import Exportable
from .clips import evenly, find_clips, read_clip
from .int8_explanations import ExplanationsMeter, log_odds, loses
from .parity import ExportedChain
from .sounds import golden_sounds
from .stages import Stages

# Clips that give the ranges, and clips that agreement is measured on.
CALIBRATION_CLIPS = 64
AGREEMENT_CLIPS = 16
_FEWEST_CLIPS = 4
# Perturbed versions of each of the latter, and the length of what is replaced by noise in them.
_PERTURBED = 16
_SEGMENT_SECONDS = 0.1
# Sounds that go through the graphs together.
_BATCH = 4
# Below these an int8 classifier is refused: share of equal labels (perturbed sounds often lie between
# two), mean Spearman correlation.
LABEL_LIMIT = 0.75
RANK_LIMIT = 0.95
# `earmark verify` allows this much more than was seen, on machines with other int8 kernels.
_HEADROOM = 2.0

# What protobuf can hold, with room for what the passes add.
_LARGEST_BYTES = 1900 << 20

_WEIGHTED = frozenset({"Conv", "MatMul", "Gemm"})
# What may stand between layers without leaving 8 bits.
_BETWEEN = frozenset({"Relu", "MaxPool", "AveragePool", "Add"})


class Calibration:
    """The readable, audible clips of a folder: some to calibrate with, others to measure agreement on."""

    def __init__(self, folder: Path, source: Exportable) -> None:
        """Raises DataError, before any long work, where there are too few."""
        self._source = source
        paths = evenly(find_clips(folder), CALIBRATION_CLIPS + AGREEMENT_CLIPS)
        good = [path for path in paths if self._sound(path) is not None]
        if len(good) < _FEWEST_CLIPS:
            raise DataError(
                f"{folder}: {len(good)} clips that can be read and are not silent; calibration needs "
                f"{_FEWEST_CLIPS} at least, better {CALIBRATION_CLIPS + AGREEMENT_CLIPS}"
            )
        step = max(2, len(good) // AGREEMENT_CLIPS)
        self.agreement = good[step - 1 :: step][:AGREEMENT_CLIPS]
        self.calibration = [path for path in good if path not in set(self.agreement)]

    def _sound(self, path: Path) -> FloatArray | None:
        try:
            return read_clip(path, self._source)
        except DataError:
            return None

    def sounds(self, paths: Sequence[Path]) -> Iterator[FloatArray]:
        """One clip [N] after the other: only one is in memory."""
        for path in paths:
            sound = self._sound(path)
            if sound is not None:
                yield sound


def quantise(
    chain: ExportedChain,
    folder: Path,
    stages: Sequence[StageSpec],
    clips: Calibration,
    *,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> tuple[StageSpec, Int8Parity]:
    """Write `classifier_int8.onnx` beside the stages in `folder`; returns its stage and how far it is off.

    chain: the stages in `folder`; clips: real ones, like those the model will be used on
    Raises SourceError (nothing to quantise), ParityError (labels
    or ranks agree too little).
    """
    say = progress or (lambda _: None)
    source, exact = chain.source, chain.classifying
    classifier = next(stage for stage in stages if stage.name == "classifier")
    if len(classifier.inputs) > 1:
        raise SourceError(f"{source.name}: hands its state from window to window; leave --int8 out")
    entry = classifier.inputs[0]
    say(f"int8: calibrating with {len(clips.calibration)} clips")
    random = np.random.default_rng(seed)

    def calibration_sounds() -> Iterator[FloatArray]:
        # Perturbed sounds too: where noise replaces segments, activations leave the range of the clips.
        for sound in clips.sounds(clips.calibration):
            yield from (sound[None], *_perturbed(sound, source.sample_rate, random, 2)[:, None])

    fed = ({entry.name: exact.features(sound)} for sound in calibration_sounds())
    model = _quantised(folder / classifier.file, fed, source.name)
    path = folder / "classifier_int8.onnx"
    data = save_graph(model, path)
    dims = next(output.dims for output in classifier.outputs if output.name == "logits")
    opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    stage = stage_spec("classifier_int8", path, data, opset, {entry.name: entry.dims}, {"logits": dims})
    say(f"int8: measuring on {len(clips.agreement)} clips")
    quick = Stages(folder, [stage])

    def by_int8(features: FloatArray) -> FloatArray:
        return quick.run("classifier_int8", {entry.name: features}, ["logits"])["logits"]

    def both(waveforms: FloatArray) -> tuple[FloatArray, FloatArray]:
        features = exact.features(waveforms)
        return exact.logits(features), by_int8(features)

    explained = ExplanationsMeter(
        source,
        {
            "fp32": lambda waveforms: exact.logits(exact.features(waveforms)),
            "int8": lambda waveforms: by_int8(exact.features(waveforms)),
        },
        seed,
    )
    parity = _agreement(source, clips, both, explained, seed)
    _check(source, parity)
    return stage, parity


def _quantised(path: Path, fed: Iterator[dict[str, FloatArray]], name: str) -> onnx.ModelProto:
    """The graph's logits in QDQ form. Raises SourceError."""
    quantization = import_onnxruntime("quantization")
    preprocess = import_onnxruntime("quantization.shape_inference").quant_pre_process

    class CalibrationReader:
        """What onnxruntime's calibration asks for clips, one at a time."""

        def get_next(self) -> dict[str, FloatArray] | None:
            return next(fed, None)

    with tempfile.TemporaryDirectory() as scratch, without_log_warnings():
        plain, ready, final = (Path(scratch) / f"{part}.onnx" for part in ("plain", "ready", "made"))
        model = load_whole(path)
        # Taps would keep their layers from being fused.
        logits = next(output for output in model.graph.output if output.name == "logits")
        del model.graph.output[:]
        model.graph.output.append(logits)
        # In one file (below protobuf's 2 GB): onnxruntime's passes lose sight of weights beside the graph.
        if model.ByteSize() > _LARGEST_BYTES:
            raise SourceError(
                f"{name}: the classifier is too large to be quantised; export it without --int8"
            )
        plain.write_bytes(model.SerializeToString())
        try:
            preprocess(str(plain), str(ready), skip_symbolic_shape=True)
            model = onnx.load(str(ready))
            for index, node in enumerate(model.graph.node):
                node.name = f"node_{index}"
            kept = _kept_float(model.graph)
            if len(kept) == len(model.graph.node):
                raise SourceError(
                    f"{name}: no layer of the classifier can be quantised; export it without --int8"
                )
            ready.write_bytes(model.SerializeToString())
            quantization.quantize_static(
                str(ready),
                str(final),
                CalibrationReader(),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                # 7-bit weights: without VNNI, x86 saturates the sums of two full products.
                reduce_range=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                op_types_to_quantize=sorted(_WEIGHTED | _BETWEEN),
                nodes_to_exclude=kept,
            )
        except SourceError:
            raise
        except Exception as error:
            # onnxruntime's quantiser raises whatever its passes raise.
            raise SourceError(
                f"{name}: the classifier cannot be quantised ({first_line(error, 160)}); export it without "
                "--int8"
            ) from error
        model = onnx.load(str(final))
    model.producer_name, model.producer_version = "earmark", ""
    del model.metadata_props[:]
    return model


def _kept_float(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that stay in float32.

    - A front end: whatever leads to a logarithm that further layers follow. Amplitudes of sound span
      more than 8 bits (with all layers quantised a trained classifier's ranks fell to 0.64).
    - The first layer, which sees that spectrum, and the last, which makes the logits: both are cheap,
      and with the first in 8 bits the logits differed seven times as much.
    - Everything before the first and after the last layer that is quantised, such as pooling over time.
    """
    constants = {weight.name for weight in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    before: dict[str, set[str]] = {}
    for node in graph.node:
        sources = [makers[name] for name in node.input if name in makers]
        before[node.name] = {one.name for one in sources}.union(*(before[one.name] for one in sources))

    def layer(node: onnx.NodeProto) -> bool:
        return node.op_type in _WEIGHTED and node.input[1] in constants

    logarithms = [node.name for node in graph.node if node.op_type == "Log"]
    led = {at for at in logarithms if any(layer(node) and at in before[node.name] for node in graph.node)}
    front = led.union(*(before[at] for at in led))
    layers = [node for node in graph.node if layer(node) and node.name not in front]
    body = {node.name for node in layers[1:]}
    if len(layers) > 2 and layers[-1].op_type != "Conv":
        body.discard(layers[-1].name)
    inner = {name for at in body for name in before[at] if before[name] & {one.name for one in layers}}
    # The last layer's own activation is fused with it.
    last = {
        node.name
        for node in graph.node
        if node.op_type == "Relu" and node.input[0] in makers and makers[node.input[0]].name in body
    }
    quantised = (
        body | last | {node.name for node in graph.node if node.op_type in _BETWEEN and node.name in inner}
    )
    return [node.name for node in graph.node if node.name not in quantised]


def _agreement(
    source: Exportable,
    clips: Calibration,
    both: Callable[[FloatArray], tuple[FloatArray, FloatArray]],
    explained: ExplanationsMeter,
    seed: int,
) -> Int8Parity:
    """Logits, labels and ranks of both classifiers over clips and perturbed clips, and what segments find."""
    from scipy.stats import spearmanr

    random = np.random.default_rng(seed)
    largest, total, labels, ranks = 0.0, 0.0, [], []
    for sound in clips.sounds(clips.agreement):
        sounds = np.concatenate([sound[None], _perturbed(sound, source.sample_rate, random, _PERTURBED)])
        parts = [both(sounds[at : at + _BATCH]) for at in range(0, len(sounds), _BATCH)]
        fp32, int8 = (np.concatenate(side) for side in zip(*parts, strict=True))
        difference = np.abs(fp32 - int8)
        largest = max(largest, float(difference.max()))
        total += float(difference.mean())
        target = int(fp32[0].argmax())
        explained.add(sound, target)
        if source.task == "single_label":
            labels.append(float(np.mean(fp32.argmax(axis=1) == int8.argmax(axis=1))))
        else:
            labels.append(float(np.mean((fp32 > 0) == (int8 > 0))))
        exact, quick = (log_odds(side, target, source.task)[1:] for side in (fp32, int8))
        if np.ptp(exact) > 0 and np.ptp(quick) > 0:
            ranks.append(float(spearmanr(exact, quick).statistic))
    for golden in golden_sounds(source, seed):
        fp32, int8 = both(golden)
        largest = max(largest, float(np.abs(fp32 - int8).max()))
    return Int8Parity(
        logits=LogitsAgreement(max_abs=largest, mean_abs=total / len(labels), limit=_HEADROOM * largest),
        labels=LabelsAgreement(agreement=float(np.mean(labels)), limit=LABEL_LIMIT),
        ranks=RanksAgreement(
            spearman=float(np.mean(ranks)) if ranks else 1.0,
            least=min(ranks, default=1.0),
            limit=RANK_LIMIT,
        ),
        calibration_clips=len(clips.calibration),
        clips=len(labels),
        perturbed=_PERTURBED * len(labels),
        explanations=explained.agreement(),
    )


def _perturbed(sound: FloatArray, rate: int, random: np.random.Generator, count: int) -> FloatArray:
    """The sound [N] with random shares of its segments replaced by noise of its own loudness, [count, N]."""
    length = max(1, min(samples_of(_SEGMENT_SECONDS, rate), len(sound) // 8))
    segments = -(-len(sound) // length)
    share = random.uniform(0.1, 0.8, (count, 1))
    kept = np.repeat(random.random((count, segments)) >= share, length, axis=1)[:, : len(sound)]
    noise = random.standard_normal((count, len(sound))) * sound.std()
    return np.where(kept, sound, noise).astype(np.float32)


def _check(source: Exportable, parity: Int8Parity) -> None:
    """Raise ParityError where labels, ranks or explanations agree too little to be of use."""
    labels, ranks = parity.labels.agreement, parity.ranks.spearman
    if not np.isfinite(parity.logits.max_abs) or not labels >= LABEL_LIMIT or not ranks >= RANK_LIMIT:
        raise ParityError(
            f"{source.name}: the int8 classifier agrees with fp32 in {100 * labels:.1f} % of labels (at "
            f"least {100 * LABEL_LIMIT:g} %) and by {ranks:.3f} in ranks (at least {RANK_LIMIT:g}); nothing "
            "was written. Calibrate with more clips, like those of its use, or export without --int8"
        )
    explained = parity.explanations
    if explained is not None and loses(explained):
        raise ParityError(
            f"{source.name}: segments that ask the int8 classifier are less faithful than by fp32: FF "
            f"changes by {explained.ff_change.mean:.3f}, AD by {explained.ad_change.mean:.3f} (at most "
            f"{explained.limit:g} may be lost); nothing was written. Export without --int8"
        )
