"""What a manifest says of the feature map and of prototypes, checked when the bundle is opened."""

from __future__ import annotations

from pathlib import Path

from .... import limits
from ....errors import BundleError
from ...bundle.manifest import Manifest

# Of every generation and every view; more where index_info.json says so.
_OF_GENERATION = ("index_info.json", "embeddings.onnx", "clips.npy", "clips.jsonl")
_OF_VIEW = ("entries.npy", "channels.npy", "scores.npy", "tops.npy", "faiss")


def check_prototypes(manifest: Manifest, path: Path) -> None:
    """The feature map fits the classifier, the generation its feature map. Raises BundleError."""
    _check_feature_map(manifest, path)
    _check_generation(manifest, path)


def _check_feature_map(manifest: Manifest, path: Path) -> None:
    """The feature map fits its tap, and its cells lie somewhere."""
    spec, classifier = manifest.feature_map, manifest.stage("classifier")
    if spec is None or classifier is None:
        return
    rows, classes = len(spec.bands_hz), len(manifest.labels)
    if (
        spec.channels > limits.CHANNELS
        or rows > limits.ROWS
        or classes * spec.channels > limits.CONTRIBUTIONS
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
    if spec.tap not in dims:
        raise BundleError(f"{path}: the feature map {spec.tap!r} is no tap of the classifier")
    _check_dims(spec.tap, dims.get(spec.tap), (None, spec.channels, None, rows), path)
    if spec.attention is not None and spec.attention not in dims:
        raise BundleError(f"{path}: the attention {spec.attention!r} is no tap of the classifier")


def _check_dims(name: str, dims: list[int | str] | None, wanted: tuple[int | None, ...], path: Path) -> None:
    agree = dims is not None and len(dims) == len(wanted)
    if not agree or any(
        isinstance(have, int) and want is not None and have != want
        for have, want in zip(dims or (), wanted, strict=True)
    ):
        raise BundleError(
            f"{path}: the feature map {name!r} is {dims}, its channels and rows make "
            f"{[dim or '?' for dim in wanted]}; export the bundle again"
        )


def _check_generation(manifest: Manifest, path: Path) -> None:
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
