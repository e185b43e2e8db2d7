"""The dictionary of components: checked against the manifest before anything is believed of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import BundleError, MethodError
from ....forks import fork_waits
from ...bundle.files import Files
from ...bundle.manifest import ComponentsSpec, Manifest
from ...bundle.npz import read_arrays
from ...values.arrays import FloatArray
from ...values.lazy import lazy_property
from .harmonics import fundamentals

# A column may miss unit length by what float32 rounds.
_UNIT = 1e-3


@dataclass(frozen=True)
class ComponentDictionary:
    """Components of log1p|STFT| and what they say of the classes.

    Attributes:
        columns: [F, K] W >= 0, each of unit L2 norm.
        theta: [C, K] the interpreter's logits are theta z.
        bin_hz: From one of the F bins to the next.

    """

    columns: FloatArray
    theta: FloatArray
    bin_hz: float
    spec: ComponentsSpec

    @lazy_property
    def parts(self) -> FloatArray:
        """[F, K] W^p, of which masks are made."""
        return np.asarray(self.columns**self.spec.mask_power, np.float32)

    @lazy_property
    def spectra(self) -> FloatArray:
        """[F, S] W^p without its latter half, where that repeats the first one: evidence, then rest."""
        first, second = np.array_split(self.parts, 2, axis=1)
        return first if np.array_equal(first, second) else self.parts

    @fork_waits
    def whole(self, parts: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
        """[T, F] the sum over all components of W^p H^p, for `parts` H^p [K, T]."""
        together = parts.reshape(-1, self.spectra.shape[1], parts.shape[1]).sum(axis=0)
        whole: npt.NDArray[np.floating[Any]] = together.T @ self.spectra.T
        return whole

    @lazy_property
    def fundamentals(self) -> FloatArray:
        """[K] Hz, of the columns that are harmonic stacks; 0: no such stack."""
        return fundamentals(self.columns, self.bin_hz)


@fork_waits
def open_dictionary(folder: Path, manifest: Manifest) -> ComponentDictionary:
    """The dictionary of the bundle in `folder`. Raises MethodError where it has none.

    And BundleError where its arrays are not what the manifest says: of another shape, not finite, negative,
    with a column that is not of unit length.
    """
    spec = manifest.components
    if spec is None:
        raise no_interpreter(manifest)
    path = Files(folder, manifest.files).path(spec.file)
    bins, classes = manifest.analysis.n_fft // 2 + 1, len(manifest.labels)
    wanted = {"dictionary": (bins, spec.count), "theta": (classes, spec.count)}
    # Both arrays, their headers, and nothing else.
    most = 4 * spec.count * (bins + classes) + 4096
    arrays = read_arrays(path, most_bytes=most, wanted=wanted.__contains__)
    for name, shape in wanted.items():
        array = arrays.get(name)
        if array is None or array.shape != shape:
            has = "is missing" if array is None else f"is {list(array.shape)}"
            raise BundleError(
                f"{path}: the array {name!r} {has}, the manifest says {list(shape)}; export the bundle again"
            )
        if not np.isfinite(array).all():
            raise BundleError(f"{path}: the array {name!r} is not finite; export the bundle again")
    columns = arrays["dictionary"]
    if float(columns.min()) < 0.0:
        raise BundleError(f"{path}: a dictionary is not negative, this one is; export the bundle again")
    if float(np.abs(np.linalg.norm(columns, axis=0) - 1.0).max()) > _UNIT:
        raise BundleError(f"{path}: a column is not of unit length; export the bundle again")
    return ComponentDictionary(columns, arrays["theta"], 0.5 * manifest.sample_rate / (bins - 1), spec)


def no_interpreter(manifest: Manifest) -> MethodError:
    """The error of a bundle that cannot be asked for components."""
    return MethodError(
        f"{manifest.name}: this bundle has no interpreter, hence no components; train one with "
        "earmark train l2i and export again"
    )
