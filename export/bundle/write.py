"""Writes a bundle: stages, parity, golden answers, card and manifest, all there or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ...errors import BundleError, SourceError
from ...prototypes_index.atomic import put_in_place, staged
from ...prototypes_index.durability import naming, sync_folder, sync_tree
from ...runtime.bundle.manifest import Manifest
from ...runtime.bundle.open import MANIFEST
from ...runtime.bundle.parity import Parity
from ...runtime.values.arrays import FloatArray
from ..source.exportable import Exportable
from .finishing import finish
from .golden import write_golden
from .manifest_file import manifest_lock
from .parity import ExportedChain, measure
from .quantization import Calibration, quantise
from .sounds import golden_sounds


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

    The bundle is built in a hidden folder beside `out`, synced, and changes places with what was there:
    whoever looks sees the old bundle or the new one, whole, and the next export there removes what a killed
    one left.

    Arguments and errors are those of `export_bundle`, but for `clips`: real sounds [N] at the source's rate,
    level applied, that parity is measured with, too. Returns the manifest.
    """
    target = Path(out)
    check_target(target, force=force)
    _check_labels(source)
    calibrating = Calibration(calibration, source) if calibration is not None else None
    say = progress or _silent
    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with staged(target) as folder:
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
        manifest = finish(
            folder,
            source,
            stages,
            Parity(fp32=fp32, int8=int8),
            name=name,
            licence=licence,
            attribution=attribution,
        )
        sync_tree(folder)
        _publish(folder, target, force=force)
    return manifest


def check_target(target: Path, *, force: bool) -> None:
    """Raise BundleError where `target` cannot become a bundle."""
    if not target.name or target.is_symlink():
        raise BundleError(f"{target}: is not a folder name to write a bundle to; choose another")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / MANIFEST).is_file():
        raise BundleError(f"{target}: exists and is not a bundle; choose another folder")
    if not force:
        raise BundleError(f"{target}: exists; choose another folder or replace it with --force")


def _silent(_: str) -> None:
    """No progress wanted."""


def _check_labels(source: Exportable) -> None:
    """Raise SourceError where a target could not be named: an empty label, or one that appears twice."""
    for label in source.labels:
        if not label or source.labels.count(label) > 1:
            fault = "appears twice" if label else "is empty"
            raise SourceError(f"{source.name}: label {label!r} {fault}; give every class a name of its own")


def _publish(folder: Path, target: Path, *, force: bool) -> None:
    """Let the finished folder take `target`'s place, in one step, when no other writer is at work in it."""
    with manifest_lock(target) if (target / MANIFEST).is_file() else contextlib.nullcontext():
        check_target(target, force=force)
        with naming(target):
            put_in_place(folder, target)
    sync_folder(target.parent)
