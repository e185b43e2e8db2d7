"""Writes a bundle: stages, parity, golden answers, card and manifest, all there or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from ... import __version__
from ...errors import BundleError, SourceError
from ...prototypes_index.atomic import put_in_place, staged
from ...prototypes_index.durability import naming, sync_folder, sync_tree
from ...runtime.bundle.manifest import SCHEMA_VERSION, Manifest, Parity, StageSpec
from ...runtime.bundle.open import MANIFEST
from ...runtime.methods.loading import all_methods
from ...runtime.opening import open_bundle
from ..source.exportable import Exportable, FloatArray
from .card import CARD, card
from .manifest_file import describe_files, manifest_lock, replace_manifest, write_manifest
from .parity import ExportedChain, measure
from .quantization import Calibration, quantise
from .sounds import golden_sounds

__all__ = ["check_target", "manifest_lock", "replace_manifest", "write_bundle"]


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

    Args:
        source: What is exported.
        out: Folder of the bundle.
        name: Name of the bundle; None: the source's.
        force: Replace an existing bundle. Nothing but a bundle is ever replaced.
        seed: Seed of the synthesised sound, 0 or more.
        clips: Real sounds [N] at the source's rate, level applied, that parity is measured with, too.
        calibration: A folder of clips; with it the bundle gets an int8 classifier (`quantization`).
        licence: For manifest and card; None: the source's.
        attribution: For manifest and card; None: the source's.
        progress: Called with the name of each step.

    Returns:
        The manifest.

    Raises:
        BundleError: Something else lies at `out`, or another process is writing there.
        SourceError: The source is incomplete, or makes no valid bundle.
        DataError: The calibration folder cannot be used.
        ParityError: The graphs disagree with the source by more than the limit.
        WriteError: A file cannot be written.

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
        _write_golden(chain, folder / "golden.npz", golden)
        if source.components is not None:
            with naming(folder / source.components.file):
                np.savez(folder / source.components.file, **source.dictionary)  # type: ignore[arg-type]
        manifest = _manifest(source, stages, name or source.name, Parity(fp32=fp32, int8=int8))
        manifest = msgspec.structs.replace(
            manifest,
            licence=source.licence if licence is None else licence,
            attribution=source.attribution if attribution is None else attribution,
        )
        with naming(folder / CARD):
            (folder / CARD).write_text(card(manifest, source.description), encoding="utf-8")
        manifest = msgspec.structs.replace(manifest, files=describe_files(folder))
        manifest = write_manifest(folder, _validated(manifest, source))
        _read_back(folder, source)
        sync_tree(folder)
        _publish(folder, target, force=force)
    return manifest


def _read_back(folder: Path, source: Exportable) -> None:
    """Examine the bundle as its readers will. Raises SourceError where they would refuse it."""
    try:
        open_bundle(folder, examine=False).examine()
    except BundleError as error:
        text = str(error).replace(f"{folder.resolve()}/", "")
        raise SourceError(f"{source.name}: makes a bundle that its readers refuse: {text}") from error


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


def _manifest(source: Exportable, stages: list[StageSpec], name: str, parity: Parity) -> Manifest:
    """The manifest but for licence, files, and the bundle_id, which is over files too."""
    return Manifest(
        schema_version=SCHEMA_VERSION,
        bundle_id="-",
        name=name,
        task=source.task,
        labels=source.labels,
        sample_rate=source.sample_rate,
        window=source.window,
        level=source.level,
        analysis=source.analysis,
        rescore=source.rescore,
        mask_targets=source.mask_targets,
        mask_gain=source.mask_gain,
        stages=stages,
        explainers=source.explainers,
        feature_map=source.feature_map,
        components=source.components,
        files={},
        parity=parity,
        evaluation=dict(source.evaluation),
        versions={"earmark": __version__, **_versions(source.tools)},
        source=source.description,
    )


def _versions(tools: Sequence[str]) -> dict[str, str]:
    """Versions of what made the graphs, of those that are installed under that name."""
    from importlib.metadata import PackageNotFoundError, version

    installed = {}
    for name in tools:
        with contextlib.suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed


def _check_labels(source: Exportable) -> None:
    """Raise SourceError where a target could not be named: an empty label, or one that appears twice."""
    for label in source.labels:
        if not label or source.labels.count(label) > 1:
            fault = "appears twice" if label else "is empty"
            raise SourceError(f"{source.name}: label {label!r} {fault}; give every class a name of its own")


def _validated(manifest: Manifest, source: Exportable) -> Manifest:
    """The manifest, checked as a reader would: structs are not validated when they are made."""
    try:
        return msgspec.convert(msgspec.to_builtins(manifest), Manifest)
    except msgspec.ValidationError as error:
        raise SourceError(f"{source.name}: makes no valid manifest ({error}); correct the source") from error


def _write_golden(
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


def _publish(folder: Path, target: Path, *, force: bool) -> None:
    """Let the finished folder take `target`'s place, in one step, when no other writer is at work in it."""
    check_target(target, force=force)
    with manifest_lock(target) if (target / MANIFEST).is_file() else contextlib.nullcontext():
        check_target(target, force=force)
        with naming(target):
            put_in_place(folder, target)
    sync_folder(target.parent)
