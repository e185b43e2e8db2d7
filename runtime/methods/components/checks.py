"""What a manifest says of components, checked when the bundle is opened."""

from __future__ import annotations

from pathlib import Path

from .... import limits
from ....errors import BundleError
from ...bundle.manifest import ComponentsSpec, Manifest

_OUTPUTS = ("activations", "pooled", "logits")


def check_components(manifest: Manifest, path: Path) -> None:
    """Raise BundleError unless interpreter and dictionary belong together, and to this bundle's model."""
    spec, stage = manifest.components, manifest.stage("interpreter")
    if spec is None or stage is None:
        if "components" in manifest.explainers or spec is not None or stage is not None:
            missing = "an interpreter" if stage is None else "a dictionary"
            raise BundleError(f"{path}: promises components without {missing}; export the bundle again")
        return
    if spec.file not in manifest.files:
        raise BundleError(f"{path}: names the dictionary {spec.file}, which is not in its files")
    if (spec.sample_rate, spec.analysis) != (manifest.sample_rate, manifest.analysis):
        raise BundleError(
            f"{path}: the dictionary {spec.file} was learnt on another spectrogram ({_spectrogram(spec)}) "
            f"than this model's ({_spectrogram(manifest)}); train it on this one with earmark train l2i"
        )
    bins, classes = spec.analysis.n_fft // 2 + 1, len(manifest.labels)
    if spec.count > limits.COMPONENTS or spec.count * max(bins, classes) > limits.COMPONENT_NUMBERS:
        raise BundleError(
            f"{path}: {spec.count} components of {bins} bins and {classes} labels are more than earmark takes"
        )
    if len(spec.components) != spec.count:
        raise BundleError(f"{path}: describes {len(spec.components)} of {spec.count} components")
    strange = sorted({one.label for one in spec.components} - {"", *manifest.labels})
    if strange:
        raise BundleError(
            f"{path}: a component is evidence for {strange[0]!r}, which is no label of the model"
        )
    dims = {tensor.name: tensor.dims for tensor in stage.outputs}
    for name in _OUTPUTS:
        if name not in dims:
            raise BundleError(f"{path}: the interpreter gives no {name!r}; export the bundle again")
    for name in ("activations", "pooled"):
        if len(dims[name]) < 2 or dims[name][1] != spec.count:
            raise BundleError(
                f"{path}: {spec.count} components, but the interpreter's {name} are {dims[name]}; "
                "export the bundle again"
            )


def _spectrogram(spec: Manifest | ComponentsSpec) -> str:
    """A spectrogram in a few words."""
    analysis = spec.analysis
    return (
        f"{spec.sample_rate} Hz, n_fft {analysis.n_fft}, {analysis.window} {analysis.window_length}, "
        f"hop {analysis.hop}, {analysis.padding}"
    )
