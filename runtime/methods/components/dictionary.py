"""The dictionary of components: checked against the manifest before anything is believed of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .... import limits
from ....errors import BundleError, MethodError
from ...arrays import FloatArray
from ...bundle.files import Files
from ...bundle.manifest import ComponentsSpec, Manifest
from ...bundle.npz import read_arrays

# A column may miss unit length by what float32 rounds.
_UNIT = 1e-3
_OUTPUTS = ("activations", "pooled", "logits")


@dataclass(frozen=True)
class Dictionary:
    """Components of log1p|STFT| and what they say of the classes.

    columns [F, K]: W >= 0, each of unit L2 norm; theta [C, K]: the interpreter's logits are theta z
    """

    columns: FloatArray
    theta: FloatArray
    spec: ComponentsSpec


def open_dictionary(folder: Path, manifest: Manifest) -> Dictionary:
    """The dictionary of the bundle in `folder`.

    Raises MethodError where the bundle has none, BundleError where its arrays are not what the manifest
    says: another shape, not finite, negative, a column that is not of unit length.
    """
    spec = manifest.components
    if spec is None:
        raise MethodError(
            f"{manifest.name}: this bundle has no interpreter, hence no components; train one with "
            "earmark train l2i and export again"
        )
    path = Files(folder, manifest.files).path(spec.file)
    bins, classes = manifest.analysis.n_fft // 2 + 1, len(manifest.labels)
    wanted = {"dictionary": (bins, spec.count), "theta": (classes, spec.count)}
    # Both arrays, their headers, and nothing else.
    most = 4 * spec.count * (bins + classes) + 4096
    found = read_arrays(path, most_bytes=most, wanted=wanted.__contains__)
    for name, shape in wanted.items():
        array = found.get(name)
        if array is None or array.shape != shape:
            has = "is missing" if array is None else f"is {list(array.shape)}"
            raise BundleError(
                f"{path}: the array {name!r} {has}, the manifest says {list(shape)}; export the bundle again"
            )
        if not np.isfinite(array).all():
            raise BundleError(f"{path}: the array {name!r} is not finite; export the bundle again")
    columns = found["dictionary"]
    if float(columns.min()) < 0.0:
        raise BundleError(f"{path}: a dictionary is not negative, this one is; export the bundle again")
    if float(np.abs(np.linalg.norm(columns, axis=0) - 1.0).max()) > _UNIT:
        raise BundleError(f"{path}: a column is not of unit length; export the bundle again")
    return Dictionary(columns, found["theta"], spec)


def check_components(manifest: Manifest, path: Path) -> None:
    """Interpreter and dictionary belong together, and to this bundle's spectrogram and labels.

    path: of the manifest, for messages. Raises BundleError.
    """
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
        raise BundleError(f"{path}: a component speaks for {strange[0]!r}, which is no label of the model")
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
