"""The dictionary of a run directory's interpreter."""

from __future__ import annotations

import numpy as np

from ....errors import BundleError, RunError
from ....runtime.bundle.manifest import AnalysisSpec
from ....runtime.bundle.npz import read_arrays
from ....runtime.values.arrays import FloatArray
from ...source.source import Source
from .config import InterpreterConfig
from .directory import RunDirectory

DICTIONARY = "dictionary.npz"
_MOST_BYTES = 256 << 20


def read_dictionary(run: RunDirectory, source: Source) -> tuple[FloatArray, FloatArray]:
    """The run's dictionary [F, K] and the scale of its activations [K].

    Raises RunError where it is missing, damaged, or was learnt on another spectrogram than the source's.
    """
    path = run.path / DICTIONARY
    record = run.read_config(InterpreterConfig).dictionary
    learnt = (record.sample_rate, record.analysis)
    if learnt != (source.sample_rate, source.analysis):
        raise RunError(
            f"{path}: was learnt on {_spectrogram_of(*learnt)}, but {source.name} hears "
            f"{_spectrogram_of(source.sample_rate, source.analysis)}; learn one for it"
        )
    try:
        arrays = read_arrays(path, most_bytes=_MOST_BYTES, wanted={"dictionary", "scale"}.__contains__)
    except (BundleError, OSError) as error:
        raise RunError(f"{path}: cannot be read; train the interpreter again") from error
    # Copied, as they are handed to torch, which wants to write.
    values, scale = (None if name not in arrays else arrays[name].copy() for name in ("dictionary", "scale"))
    bins = source.analysis.n_fft // 2 + 1
    if values is None or scale is None or values.ndim != 2 or scale.shape != values.shape[1:]:
        raise RunError(f"{path}: holds no dictionary with its scale; train the interpreter again")
    if len(values) != bins or not np.isfinite(values).all() or values.min() < 0 or scale.min() <= 0:
        raise RunError(f"{path}: is no dictionary of {bins} bins; train the interpreter again")
    return values, scale


def _spectrogram_of(sample_rate: int, analysis: AnalysisSpec) -> str:
    """A spectrogram in a few words."""
    return (
        f"spectrograms at {sample_rate} Hz (n_fft {analysis.n_fft}, {analysis.window} "
        f"{analysis.window_length}, hop {analysis.hop}, {analysis.padding})"
    )
