"""Checks that a manifest agrees with itself and asks for no more than the table of limits allows."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import msgspec

from ... import limits
from ...errors import BundleError
from ...prototypes_index.facts import check_facts
from ..methods.components.dictionary import check_components
from .graphs import SUFFIX
from .manifest import Manifest

# Of every generation and every view; more where index_info.json says so.
_OF_GENERATION = ("index_info.json", "embeddings.onnx", "clips.npy", "clips.jsonl")
_OF_VIEW = ("entries.npy", "channels.npy", "scores.npy", "tops.npy", "faiss")
# A precision's figures: of an output, or of the measurement as a whole.
_Figure = int | float | None
_Parity = dict[str, dict[str, _Figure | dict[str, _Figure | list[int | float]]]]


def check_structure(manifest: Manifest, path: Path) -> None:
    """Raise BundleError where the manifest at `path` contradicts itself or asks for too much."""
    names = [stage.name for stage in manifest.stages]
    if len(set(names)) != len(names):
        raise BundleError(f"{path}: lists a stage twice")
    for needed in ("frontend", "classifier"):
        if needed not in names:
            raise BundleError(f"{path}: lacks the stage {needed}; export the bundle again")
    if len(set(manifest.labels)) != len(manifest.labels):
        raise BundleError(f"{path}: a label stands twice")
    if "mask" in manifest.explainers and ("decoder" not in names or manifest.mask_targets is None):
        raise BundleError(f"{path}: promises masks without a decoder; export the bundle again")
    if manifest.window.hop_seconds > manifest.window.seconds:
        raise BundleError(f"{path}: windows further apart than they are long would leave sound unheard")
    # Half a sample of tolerance: seconds are rounded to samples.
    if manifest.window.hop_seconds * manifest.sample_rate < manifest.analysis.hop - 0.5:
        raise BundleError(f"{path}: windows closer together than the frames of the analysis would never end")
    if manifest.window.minimum_seconds > manifest.window.seconds:
        raise BundleError(f"{path}: the shortest sound is longer than a window")
    if manifest.analysis.window_length > manifest.analysis.n_fft or manifest.analysis.n_fft % 2:
        raise BundleError(f"{path}: n_fft must be even and hold the analysis window")
    _check_limits(manifest, path)
    for stage in manifest.stages:
        for name in (stage.file, *stage.data):
            if name not in manifest.files:
                raise BundleError(f"{path}: the stage {stage.name} names {name}, which is not in its files")
        if PurePosixPath(stage.file).suffix != SUFFIX:
            raise BundleError(f"{path}: the stage {stage.name} is {stage.file}; a graph is a file {SUFFIX}")
    _check_chain(manifest, path)
    _check_feature_map(manifest, path)
    _check_prototypes(manifest, path)
    check_components(manifest, path)
    _check_facts(manifest, path)
    for name in ("classifier", "classifier_int8", "interpreter"):
        classes = _output_dims(manifest, name, "logits")[-1:]
        if classes and isinstance(classes[0], int) and classes[0] != len(manifest.labels):
            raise BundleError(
                f"{path}: {len(manifest.labels)} labels, but the {name} has {classes[0]} outputs; "
                "export the bundle again"
            )


def _check_chain(manifest: Manifest, path: Path) -> None:
    """Every stage's inputs are outputs of the stages before it."""
    entry = "stft" if manifest.rescore == "spectrogram" else "features"
    known = {"waveform"}
    # In the order of the chain, whatever the order in the manifest.
    for name, needed in (
        ("frontend", entry),
        ("classifier", "logits"),
        ("classifier_int8", "logits"),
        ("decoder", "mask"),
        ("embeddings", ""),
        ("interpreter", "activations"),
    ):
        stage = manifest.stage(name)
        if stage is None:
            continue
        inputs, outputs = ([tensor.name for tensor in side] for side in (stage.inputs, stage.outputs))
        if len(set(inputs)) != len(inputs) or len(set(outputs)) != len(outputs):
            raise BundleError(f"{path}: the stage {name} names a tensor twice; export the bundle again")
        if needed and needed not in outputs:
            raise BundleError(f"{path}: the stage {name} gives no {needed!r}; export the bundle again")
        unknown = sorted(set(inputs) - known)
        if unknown or not inputs or (name.startswith("classifier") and inputs != [entry]):
            raise BundleError(
                f"{path}: the stage {name} takes {inputs}, of which no stage before it gives {unknown}; "
                "export the bundle again"
            )
        # A decoder may be told the class, and sees the listenable STFT.
        known = {entry} if name == "frontend" else known | set(outputs) | {"target", "stft"}
        if (
            name == "classifier"
            and manifest.feature_map is not None
            and manifest.feature_map.tap not in outputs
        ):
            raise BundleError(
                f"{path}: the feature map {manifest.feature_map.tap!r} is no tap of the classifier"
            )


def _output_dims(manifest: Manifest, stage: str, tensor: str) -> list[int | str]:
    spec = manifest.stage(stage)
    return next((output.dims for output in spec.outputs if output.name == tensor), []) if spec else []


def _check_limits(manifest: Manifest, path: Path) -> None:
    """No number of the manifest makes a reader allocate more than the table of limits."""
    window, analysis, rate = manifest.window, manifest.analysis, manifest.sample_rate
    samples = window.seconds * rate
    cells = (1 + samples // analysis.hop) * analysis.n_fft
    most = limits.WINDOW_SAMPLES
    if samples > most or cells > limits.WINDOW_CELLS:
        raise BundleError(
            f"{path}: windows of {window.seconds:g} s at {rate} Hz ({samples:.3g} samples, {cells:.3g} cells "
            f"of the spectrogram) are larger than earmark takes ({most:.3g}, {limits.WINDOW_CELLS:.3g}); "
            "export the bundle with shorter windows"
        )
    if window.seconds > limits.WINDOW_OVERLAP * window.hop_seconds:
        raise BundleError(
            f"{path}: windows every {window.hop_seconds:g} s of {window.seconds:g} s overlap more than "
            f"{limits.WINDOW_OVERLAP} times; export the bundle with a longer hop"
        )
    if len(manifest.labels) > limits.LABELS:
        raise BundleError(f"{path}: {len(manifest.labels)} labels, more than {limits.LABELS}")


def _check_feature_map(manifest: Manifest, path: Path) -> None:
    """The feature map fits its tap, and its cells lie somewhere."""
    spec, classifier = manifest.feature_map, manifest.stage("classifier")
    if spec is None or classifier is None:
        return
    rows, classes = len(spec.bands_hz), len(manifest.labels)
    if (
        spec.channels > limits.CHANNELS
        or rows > limits.ROWS
        or classes * spec.channels > limits.ACCOUNT_NUMBERS
    ):
        raise BundleError(
            f"{path}: a feature map of {spec.channels} channels, {rows} rows and {classes} labels is larger "
            "than earmark takes"
        )
    if not rows:
        raise BundleError(f"{path}: the feature map has no row of frequency; export the bundle again")
    for low, high in spec.bands_hz:
        if not 0.0 <= low < high <= manifest.sample_rate:
            raise BundleError(
                f"{path}: the band {low:g} to {high:g} Hz of the feature map is none; export the bundle again"
            )
    dims = {tensor.name: tensor.dims for tensor in classifier.outputs}
    _check_dims(spec.tap, dims.get(spec.tap), (None, spec.channels, None, rows), path)
    if spec.attention is not None and spec.attention not in dims:
        raise BundleError(f"{path}: the attention {spec.attention!r} is no tap of the classifier")


def _check_dims(name: str, found: list[int | str] | None, wanted: tuple[int | None, ...], path: Path) -> None:
    agree = found is not None and len(found) == len(wanted)
    if not agree or any(
        isinstance(have, int) and want is not None and have != want
        for have, want in zip(found or (), wanted, strict=True)
    ):
        raise BundleError(
            f"{path}: the feature map {name!r} is {found}, its channels and rows make "
            f"{[dim or '?' for dim in wanted]}; export the bundle again"
        )


def _check_prototypes(manifest: Manifest, path: Path) -> None:
    """The generation in force is described in full, and every file that it needs is listed."""
    spec = manifest.prototypes
    if spec is None:
        return
    if manifest.feature_map is None:
        raise BundleError(f"{path}: has prototypes without a feature map; export the bundle again")
    if not spec.views or len(set(spec.views)) != len(spec.views):
        raise BundleError(f"{path}: a view of the prototypes is missing or named twice")
    if not 0 <= spec.removed < spec.clips:
        raise BundleError(f"{path}: {spec.removed} of {spec.clips} clips removed; build the prototypes again")
    needed = [*_OF_GENERATION, *(f"{view}.{name}" for view in spec.views for name in _OF_VIEW)]
    if spec.removed:
        needed.append("removed.npy")
    for name in needed:
        if f"prototypes/{spec.generation}/{name}" not in manifest.files:
            raise BundleError(
                f"{path}: lists no prototypes/{spec.generation}/{name}; build the prototypes again with "
                "earmark index --rebuild"
            )


def _check_facts(manifest: Manifest, path: Path) -> None:
    """What is only shown is of a kind that can be shown."""
    try:
        msgspec.convert(manifest.parity, _Parity)
    except msgspec.ValidationError as error:
        raise BundleError(f"{path}: not a valid manifest: {error} in parity") from error
    try:
        check_facts(manifest.evaluation)
    except ValueError as error:
        raise BundleError(f"{path}: not a valid manifest: {error} in evaluation") from error
