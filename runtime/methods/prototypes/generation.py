"""The generation of prototypes that a bundle names: opened, examined, and tied to its model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ....errors import AudioError, BundleError, MethodError, PrototypeIndexError
from ....prototypes_index.checks import check_generation
from ....prototypes_index.generation import EMBEDDINGS, Generation
from ....prototypes_index.golden import GOLDEN, check_golden
from ....prototypes_index.info import Setting
from ....prototypes_index.opening import read_generation
from ....prototypes_index.table import IndexedClip
from ....prototypes_index.views import Grid
from ...audio.lengths import samples_of
from ...bundle.files import Files
from ...bundle.graphs import check_graph, embeddings_borders
from ...bundle.manifest import FeatureMapSpec, Manifest

if TYPE_CHECKING:
    from ...bundle.open import Bundle


@dataclass(frozen=True, slots=True)
class _Within:
    """The bundle's files, by their names within its generation."""

    files: Files
    folder: str

    def where(self, name: str) -> Path:
        return self._through(self.files.where, name)

    def path(self, name: str) -> Path:
        return self._through(self.files.path, name)

    def _through(self, find: Callable[[str], Path], name: str) -> Path:
        try:
            return find(f"{self.folder}/{name}")
        except BundleError as error:
            raise PrototypeIndexError(str(error)) from error


def open_generation(folder: Path, manifest: Manifest) -> Generation:
    """Open the generation that `manifest` names, in the bundle `folder`.

    Raises MethodError where the bundle has none yet, PrototypeIndexError where it is damaged or belongs to
    another model.
    """
    spec = manifest.prototypes
    if spec is None:
        raise MethodError(
            f"{manifest.name}: this bundle has no prototypes yet; build them with earmark index {folder} DATA"
        )
    name = f"prototypes/{spec.generation}"
    embeddings = manifest.files.get(f"{name}/{EMBEDDINGS}")
    if embeddings is None:
        raise PrototypeIndexError(f"{folder}: the manifest lists no {name}/{EMBEDDINGS}; run earmark index")
    generation = read_generation(
        folder / name,
        spec,
        embeddings_sha256=embeddings.sha256,
        model_sha256=model_hash(manifest),
        access=_Within(Files(folder, manifest.files), name),
    )
    _check_settings(generation, manifest)
    return generation


def settings_of(manifest: Manifest) -> dict[str, Setting]:
    """What a generation keeps of the sound and the feature map that its clips were embedded from."""
    spec, window = manifest.feature_map, manifest.window
    return {
        "sample_rate": manifest.sample_rate,
        "window_seconds": window.seconds,
        "window_hop_seconds": window.hop_seconds,
        **({} if spec is None else {"tap": spec.tap, "frame_seconds": spec.frame_seconds}),
    }


def _check_settings(generation: Generation, manifest: Manifest) -> None:
    """Raise PrototypeIndexError where rate, window or frames of the clips are not the manifest's."""
    kept = generation.info.settings
    for name, ours in settings_of(manifest).items():
        if name in kept and kept[name] != ours:
            raise PrototypeIndexError(
                f"{generation.folder}: {name} {kept[name]!r}, the manifest says {ours!r}; fetch the bundle "
                "again, or build the prototypes again with earmark index --rebuild"
            )


def examine_generation(generation: Generation, manifest: Manifest) -> None:
    """Look into the generation's graph and every row of its tables. Raises BundleError."""
    inputs, outputs, optional = embeddings_borders(manifest)
    check_graph(generation.graph, inputs, outputs, optional=optional)
    check_generation(generation)


def model_hash(manifest: Manifest) -> str:
    """A hash over the files of front end and classifier: the model that a feature map comes from."""
    digest = hashlib.sha256()
    for stage in manifest.stages:
        if stage.name in {"frontend", "classifier"}:
            for file in (stage.file, *sorted(stage.data)):
                digest.update(f"{stage.name} {manifest.files[file].sha256}\n".encode())
    return digest.hexdigest()


def grid_of(spec: FeatureMapSpec) -> Grid:
    """Where the cells of a feature map lie."""
    return Grid(spec.frame_seconds, tuple(spec.bands_hz))


def verify_generation(bundle: Bundle) -> None:
    """Look for swapped rows, tables and sounds, and decode every sound. Raises PrototypeIndexError."""
    manifest = bundle.manifest
    generation = open_generation(bundle.path, manifest)
    # Generations of older bundles have none.
    if f"prototypes/{generation.folder.name}/{GOLDEN}" in manifest.files:
        check_golden(generation, generation.file(GOLDEN))
    clips: dict[str, list[IndexedClip]] = {}
    for clip in generation.all_clips():
        if clip.audio is not None:
            clips.setdefault(clip.audio, []).append(clip)
    for name, held in sorted(clips.items()):
        _check_sound(generation, name, held, manifest.sample_rate)


def _check_sound(generation: Generation, name: str, clips: list[IndexedClip], rate: int) -> None:
    """Decode one sound of the generation, which holds all of its clips. Raises PrototypeIndexError."""
    from ...audio.decoding import find_source

    path = generation.file(f"audio/{name}")
    samples, peaks = 0, [0.0] * len(clips)
    begins = [samples_of(clip.offset_s, rate) for clip in clips]
    ends = [samples_of(clip.offset_s + clip.duration_s, rate) for clip in clips]
    try:
        source = find_source(path, None)
        for block in source.blocks():
            for at, (begin, end) in enumerate(zip(begins, ends, strict=True)):
                part = block[:, max(0, begin - samples) : max(0, end - samples)]
                peaks[at] = max(peaks[at], float(np.abs(part).max(initial=0.0)))
            samples += block.shape[1]
    except AudioError as error:
        raise PrototypeIndexError(f"{error}; index again with --audio") from error
    for fault in source.warnings():
        raise PrototypeIndexError(f"{path}: {fault}; index again with --audio")
    if source.rate != rate:
        raise PrototypeIndexError(f"{path}: has {source.rate} Hz, the model {rate}; index again with --audio")
    # Both were rounded to samples.
    if samples < max(ends) - 2:
        raise PrototypeIndexError(
            f"{path}: holds {samples / rate:.3f} s, its clips need {max(ends) / rate:.3f} s; index again "
            "with --audio"
        )
    if min(peaks) == 0.0:
        raise PrototypeIndexError(f"{path}: a clip in it is silent; index again with --audio")
