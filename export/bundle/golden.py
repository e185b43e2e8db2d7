"""golden.npz: what `earmark verify` recomputes on other machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...prototypes_index.durability import naming
from ...runtime.methods.loading import all_methods
from ...runtime.values.arrays import FloatArray
from .parity import ExportedChain


def write_golden(
    chain: ExportedChain, path: Path, references: Sequence[tuple[FloatArray, dict[str, FloatArray]]]
) -> None:
    """golden.npz: waveform_i [1, N] as the front end gets it, the source's logits_i, and methods' outputs.

    What the source does not give, as logits where it gives probabilities alone, are the graphs' own.
    """
    names = ["logits", *(one.name for method in all_methods() for one in method.outputs if one.golden)]
    arrays: dict[str, FloatArray] = {}
    for index, (waveform, theirs) in enumerate(references):
        arrays[f"waveform_{index}"] = waveform
        answers = {**chain.run(waveform), **theirs}
        arrays |= {f"{name}_{index}": answers[name] for name in names if name in answers}
    # np.savez_compressed's signature has keyword parameters of its own, hence the unpacked dict last.
    with naming(path):
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
