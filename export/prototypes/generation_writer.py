"""The writer of a bundle's next generation: with which embeddings graph, under which settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DataError, PrototypeIndexError
from ...prototypes_index.generation import EMBEDDINGS, Generation
from ...prototypes_index.hashing import sha256_of
from ...prototypes_index.info import GenerationInfo, read_info
from ...prototypes_index.table import MOST_TOPS, TOPS
from ...prototypes_index.views import View, views_of
from ...prototypes_index.writer import GenerationWriter
from ...runtime.bundle.apex_report import read_report
from ...runtime.bundle.manifest import FeatureMapSpec, Manifest
from ...runtime.methods.prototypes.generation import grid_of, model_hash, settings_of
from .generation_folder import FOLDER


@dataclass(frozen=True, slots=True)
class EmbeddingGraph:
    """What a new generation is embedded with: the graph, facts of its U, prototypes a channel.

    note: what the user should know of the choice
    """

    path: Path
    apex: Mapping[str, Any] | None
    per_channel: int
    note: str = ""

    @classmethod
    def of(cls, old: Generation) -> EmbeddingGraph:
        """The graph of an open generation."""
        return cls(old.folder / EMBEDDINGS, old.info.apex, old.info.per_channel)


def choose_graph(
    folder: Path,
    manifest: Manifest,
    old: Generation | None,
    embeddings: Path | None,
    apex: Mapping[str, Any] | None,
    per_channel: int | None,
) -> EmbeddingGraph:
    """The graph given, else the current generation's, else the bundle's own.

    old: the generation that is extended, whose graph stays. Raises PrototypeIndexError where another
    is given, or there is none; ValueError for an impossible per_channel.
    """
    if per_channel is not None and not 1 <= per_channel <= MOST_TOPS:
        raise ValueError(f"per_channel {per_channel} is not within 1..{MOST_TOPS}")
    before = (old.folder, old.info) if old is not None else _current(folder, manifest)
    count = per_channel or (TOPS if before is None else before[1].per_channel)
    if embeddings is not None:
        same = before is not None and hash_of(embeddings) == before[1].embeddings_sha256
        if old is not None and not same:
            raise PrototypeIndexError(
                f"{embeddings}: not the graph that the clips in {old.folder} were embedded with; embed them "
                "anew with it (extend=False, earmark index --rebuild)"
            )
        kept = before[1].apex if before is not None and same else None
        return EmbeddingGraph(embeddings, kept if apex is None else apex, count)
    if before is not None:
        learnt = before[1].apex if apex is None else apex
        return EmbeddingGraph(before[0] / EMBEDDINGS, learnt, count)
    stage = manifest.stage("embeddings")
    if stage is None:
        raise PrototypeIndexError(
            f"{folder}: this bundle has no embeddings graph, hence no prototypes; export it again from a "
            "source with a feature map"
        )
    lost = manifest.prototypes is not None
    learnt = read_report(folder, manifest) if apex is None else apex
    note = "the generation in force has no usable graph: the bundle's own is used" + (
        "" if learnt else ", without a learnt U"
    )
    return EmbeddingGraph(folder / stage.file, learnt, count, note if lost else "")


def open_writer(
    folder: Path, building: Path, manifest: Manifest, graph: EmbeddingGraph, seed: int
) -> GenerationWriter:
    """A writer into `building` for the model of `manifest`, in the bundle `folder`.

    Raises PrototypeIndexError where the model has no feature map.
    """
    spec = manifest.feature_map
    if spec is None:
        raise PrototypeIndexError(
            f"{folder}: this bundle has no feature map, hence no prototypes; export it again from a source "
            "with one"
        )
    return GenerationWriter(
        building,
        embeddings=graph.path,
        model_sha256=model_hash(manifest),
        labels=manifest.labels,
        views=views_in(spec, manifest),
        channels=spec.channels,
        grid=grid_of(spec),
        settings=settings_of(manifest),
        seed=seed,
        per_channel=graph.per_channel,
        apex=graph.apex,
    )


def views_in(spec: FeatureMapSpec, manifest: Manifest) -> tuple[View, ...]:
    """The views of a feature map, whose frames are as the classifier's stage has them."""
    classifier = manifest.stage("classifier")
    tensors = [] if classifier is None else classifier.outputs
    frames = next((tensor.dims[2] for tensor in tensors if tensor.name == spec.tap), None)
    return views_of(len(spec.bands_hz), frames)


def _current(folder: Path, manifest: Manifest) -> tuple[Path, GenerationInfo] | None:
    """The generation in force, if its graph is whole and of this model; its index may be damaged."""
    if manifest.prototypes is None:
        return None
    generation = folder / FOLDER / manifest.prototypes.generation
    try:
        info = read_info(generation)
        whole = hash_of(generation / EMBEDDINGS) == info.embeddings_sha256
    except (PrototypeIndexError, DataError):
        return None
    return (generation, info) if whole and info.model_sha256 == model_hash(manifest) else None


def hash_of(path: Path) -> str:
    """The sha256 of a file given by the user. Raises DataError where it cannot be read."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
