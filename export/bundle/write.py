"""Writes a bundle: stages, parity, golden answers, card and manifest, all there or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...errors import SourceError
from ...prototypes_index.durability import naming
from ...runtime.bundle.manifest import Manifest
from ...runtime.bundle.parity import Parity
from ...runtime.values.arrays import FloatArray
from ..source.exportable import Exportable
from .finishing import finish
from .golden import write_golden
from .parity import ExportedChain, measure
from .quantization import Calibration, quantise
from .sounds import golden_sounds
from .target import building, check_target


def write_bundle(
    source: Exportable,
    out: Path | str,
    *,
    name: str | None = None,
    force: bool = False,
    seed: int = 0,
    clips: Sequence[FloatArray] = (),
    calibration: Path | None = None,
    licence: str | None = None,
    attribution: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Manifest:
    """Export `source` into the new bundle `out`.

    Arguments and errors are those of `export_bundle`, but for `clips`: real sounds [N] at the source's rate,
    level applied, that parity is measured with, too. Returns the manifest.
    """
    target = Path(out)
    check_target(target, force=force)
    source = replace(
        source,
        name=name or source.name,
        licence=source.licence if licence is None else licence,
        attribution=source.attribution if attribution is None else attribution,
    )
    _check_labels(source)
    calibrating = Calibration(calibration, source) if calibration is not None else None
    say = progress or (lambda _: None)
    with building(target, force=force) as folder:
        say("converting")
        stages = source.write_stages(folder)
        # Before the graphs are opened, see `measure`.
        golden = [(waveform, source.outputs(waveform)) for waveform in golden_sounds(source, seed)]
        chain = ExportedChain(source, folder, stages)
        fp32, int8 = measure(chain, seed=seed, clips=clips, progress=say), None
        if calibrating is not None:
            stage, int8 = quantise(chain, folder, stages, calibrating, seed=seed, progress=say)
            stages.append(stage)
        say("golden answers")
        write_golden(chain, folder / "golden.npz", golden)
        if source.components is not None:
            with naming(folder / source.components.file):
                np.savez(folder / source.components.file, **source.dictionary)  # type: ignore[arg-type]
        return finish(folder, source, stages, Parity(fp32=fp32, int8=int8))


def _check_labels(source: Exportable) -> None:
    """Raise SourceError where a target could not be named: an empty label, or one that appears twice."""
    for label in source.labels:
        if not label or source.labels.count(label) > 1:
            fault = "appears twice" if label else "is empty"
            raise SourceError(f"{source.name}: label {label!r} {fault}; give every class a name of its own")
