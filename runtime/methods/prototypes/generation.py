"""The generation of prototypes that a bundle names: opened, examined, and tied to its model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ....errors import BundleError, MethodError, PrototypeIndexError
from ....prototypes_index.checks import check_generation
from ....prototypes_index.generation import EMBEDDINGS, Generation
from ....prototypes_index.views import Grid
from ...bundle.files import Files
from ...bundle.graphs import check_graph, embeddings_borders
from ...bundle.manifest import FeatureMapSpec, Manifest

_SOUND_BLOCK = 1 << 16


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

    Raises MethodError where the bundle has none yet, PrototypeIndexError where it is damaged or
    belongs to another model.
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
    return Generation.open(
        folder / name,
        spec,
        embeddings_sha256=embeddings.sha256,
        model_sha256=model_hash(manifest),
        door=_Within(Files(folder, manifest.files), name),
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


def decode_sounds(generation: Generation) -> None:
    """Decode every sound of the generation. Raises PrototypeIndexError."""
    import soundfile

    for name in sorted({clip.audio for clip in generation.all_clips() if clip.audio is not None}):
        path = generation.file(f"audio/{name}")
        try:
            with soundfile.SoundFile(path) as file:
                read = sum(len(block) for block in file.blocks(_SOUND_BLOCK, dtype="float32"))
        except (OSError, RuntimeError) as error:
            raise PrototypeIndexError(f"{path}: is no sound ({error}); index again with --audio") from error
        if not read:
            raise PrototypeIndexError(f"{path}: holds no sound; index again with --audio")
