"""Removing clips from a bundle's prototypes, and merging two indexes of one model. Hears nothing anew."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ... import __version__
from ...errors import DataError, MethodError, PrototypeIndexError
from ...prototypes_index.generation import Generation
from ...prototypes_index.index_build import EXACT_LIMIT
from ...prototypes_index.info import GenerationInfo
from ...prototypes_index.table import SoundFiles
from ...prototypes_index.tombstones import write_removal
from ...runtime.methods.prototypes.generation import model_hash, open_generation
from ...runtime.opening import open_bundle
from .build import IndexReport, Passed, relabelled_in
from .generation_folder import FOLDER, GenerationFolder
from .generation_writer import EmbeddingGraph, open_writer

# With a larger share of removed clips among all, the whole is written anew.
REBUILD_SHARE = 0.2

_Mask = npt.NDArray[np.bool_]


def remove_clips(
    bundle: Path | str,
    clips: Sequence[str],
    *,
    purge: bool = False,
    prune: bool = False,
    rebuild_share: float = REBUILD_SHARE,
    exact_limit: int = EXACT_LIMIT,
) -> IndexReport:
    """Remove training sounds from a bundle's prototypes: a new generation without them.

    clips: as results name them (path below the data folder), patterns (`dog/*`), or a file's sha256; a sound
        that came under several names goes by each of them
    purge: write everything anew and remove all older generations, so that the folder holds nothing
        of the removed sounds any more. Else the heavy files are shared with the old generation and a
        list hides what was removed, until its share of all clips passes `rebuild_share`
    prune: afterwards remove generations older than the one before
    exact_limit: more entries than that are searched approximately, where all is written anew
    The old generation stays in force until the new one is complete. Raises DataError where a name
    fits no clip (nothing is removed then), PrototypeIndexError where none would be left, BundleError,
    MethodError where the bundle has no prototypes.
    """
    folder = Path(bundle)
    with GenerationFolder.hold(folder) as generations:
        open_bundle(folder)
        old = open_generation(folder, generations.manifest)
        gone, names = _chosen(old, clips)
        alive = old.alive & ~gone
        if not alive.any():
            raise PrototypeIndexError(f"{folder}: no clip would be left; nothing was removed")
        with generations.building() as building:
            if purge or np.mean(~alive) > rebuild_share:
                info = _write_anew(
                    generations, building, [(old, alive)], EmbeddingGraph.of(old), exact_limit, old.info.seed
                )
                generations.publish(building, info)
            else:
                info, shared = write_removal(old, building, gone)
                files = generations.manifest.files
                prefix = f"{FOLDER}/{old.folder.name}/"
                generations.publish(building, info, {name: files[prefix + name] for name in shared})
        removed = generations.prune(keep=0 if purge else 1) if purge or prune else []
        return replace(IndexReport.of(generations.manifest, info), taken_out=names, removed=removed)


def merge_bundles(
    bundle: Path | str,
    others: Sequence[Path | str],
    *,
    prune: bool = False,
    exact_limit: int = EXACT_LIMIT,
    seed: int = 0,
) -> IndexReport:
    """Add to a bundle's prototypes those of other bundles of the same model: a new generation.

    The same sound is kept once, labels are joined, sound and attributions come along. A bundle
    without prototypes takes over the others'. prune, exact_limit, seed: as for `index_bundle`
    The old generation stays in force until the new one is complete. Raises PrototypeIndexError where
    another bundle is of another model, embeds with another U, or has no prototypes; BundleError.
    """
    folder = Path(bundle)
    with GenerationFolder.hold(folder) as generations:
        manifest = generations.manifest
        open_bundle(folder)
        before = manifest.prototypes
        mine = open_generation(folder, manifest) if before is not None else None
        theirs = [_open_other(Path(other), folder, model_hash(manifest)) for other in others]
        graph = EmbeddingGraph.of(mine or theirs[0])
        known: dict[str, str] = {}
        every = theirs if mine is None else [mine, *theirs]
        files = _files_of(every)
        relabelled = [] if mine is None else relabelled_in(mine, files)
        parts, repeated, added = [], [], 0
        for generation in every:
            keep, new, passed = _unknown(generation, known)
            parts.append((generation, keep))
            repeated += passed
            added += new if generation is not mine else 0
        info = mine.info if mine is not None else None
        if added or relabelled or info is None:
            with generations.building() as building:
                info = _write_anew(generations, building, parts, graph, exact_limit, seed, files)
                generations.publish(building, info)
        return replace(
            IndexReport.of(generations.manifest, info, added),
            repeated=repeated,
            relabelled=relabelled,
            removed=generations.prune() if prune else [],
        )


def _write_anew(
    generations: GenerationFolder,
    building: Path,
    parts: Sequence[tuple[Generation, _Mask]],
    graph: EmbeddingGraph,
    exact_limit: int,
    seed: int,
    files: Mapping[str, SoundFiles] | None = None,
) -> GenerationInfo:
    """Write the chosen clips [clips of each] of all parts into `building`; files: by sha256."""
    writer = open_writer(generations.bundle, building, generations.manifest, graph, seed)
    try:
        for generation, keep in parts:
            writer.take(generation, keep, files)
        return writer.finish(exact_limit=exact_limit, versions={"earmark": __version__})
    finally:
        writer.close()


def _files_of(generations: Sequence[Generation]) -> dict[str, SoundFiles]:
    """By sha256 all labels and names that a sound has in any of them."""
    files: dict[str, SoundFiles] = {}
    for generation in generations:
        for clip in generation.all_clips():
            files.setdefault(clip.sha256, SoundFiles()).add(clip.labels, (clip.source, *clip.names))
    return files


def _open_other(other: Path, folder: Path, model: str) -> Generation:
    """The generation of another bundle, of the same model as `folder`."""
    manifest = open_bundle(other).manifest
    if model_hash(manifest) != model:
        raise PrototypeIndexError(
            f"{other}: of another model than {folder}; prototypes can be merged between bundles of one model"
        )
    try:
        return open_generation(other, manifest)
    except MethodError as error:
        raise PrototypeIndexError(f"{other}: has no prototypes to merge") from error


def _chosen(old: Generation, names: Sequence[str]) -> tuple[_Mask, list[str]]:
    """The clips [clips] that the names mean, and the files they are of."""
    rows: dict[str, list[int]] = {}
    named: set[str] = set()
    for row in np.flatnonzero(old.alive).tolist():
        clip = old.clip(row)
        named.update((clip.source, *clip.names))
        for name in {clip.source, clip.sha256, *clip.names}:
            rows.setdefault(name, []).append(row)
    sources = sorted(named)
    gone = np.zeros(old.info.clips, dtype=np.bool_)
    for name in names:
        matches = [name] if name in rows else [source for source in sources if fnmatchcase(source, name)]
        if not matches:
            near = difflib.get_close_matches(name, sources, n=3, cutoff=0.4) or sources[:3]
            raise DataError(
                f"{old.folder}: no clip {name!r} (nearest: {', '.join(near)}); nothing was removed"
            )
        gone[[row for one in matches for row in rows[one]]] = True
    return gone, sorted({old.clip(row).source for row in np.flatnonzero(gone).tolist()})


def _unknown(generation: Generation, known: dict[str, str]) -> tuple[_Mask, int, list[Passed]]:
    """Which clips [clips] are of sounds not in `known` (by sha256), how many sounds, and the others.

    The new ones are added to `known`.
    """
    keep = generation.alive.copy()
    new: dict[str, str] = {}
    repeated: dict[str, Passed] = {}
    for row in np.flatnonzero(keep).tolist():
        clip = generation.clip(row)
        if clip.sha256 in known:
            keep[row] = False
            repeated[clip.sha256] = Passed(clip.source, f"same sound as {known[clip.sha256]}")
        else:
            new[clip.sha256] = clip.source
    known.update(new)
    return keep, len(new), list(repeated.values())
