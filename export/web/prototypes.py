"""The index of prototypes as flat files, little-endian, which a page searches by comparing with all of it.

<view>.vectors.f32  [entries, dimension], each of length 1
<view>.rows.i32     [entries, 4]: clip, label, row of the feature map (-1: all), 1 where a channel's prototype
<view>.places.f64   [entries, 4]: start_s, end_s, fmin_hz, fmax_hz
<view>.passages.f32 [entries, 2], of views that know them: length in seconds, onsets per second
head.f32            [labels, channels], of a linear head
clips.json          `PageClip`, one after the other
audio/*.flac        their sound, where the bundle holds it
Clips that were removed are in none of them.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from ...errors import SourceError
from ...prototypes_index.generation import AUDIO, Generation
from ...prototypes_index.views import View
from ...runtime.bundle.manifest import StageSpec
from ...runtime.bundle.open import Bundle
from ...runtime.inference.onnx_runtime import cpu_session
from ...runtime.methods.prototypes.generation import open_generation
from ...runtime.methods.prototypes.places import head_weights
from ...runtime.values.arrays import FloatArray
from ..bundle.stages import answers
from .facts import PagePrototypes, ViewFiles

# Vectors of a view beyond this would take a browser's memory and seconds a search.
MOST_BYTES = 256 << 20
# Frames of a feature map that may have any number.
_SOME = 8


class PageClip(msgspec.Struct, frozen=True):
    """A clip of the index; `source` and `recording` tell which clips are of one file, of one recording."""

    name: str
    labels: list[str]
    source: int
    recording: int
    audio: str
    gain: float
    attribution: str


def write_prototypes(bundle: Bundle, folder: Path) -> PagePrototypes | None:
    """Write the generation of prototypes that is in force.

    Args:
        bundle: The open bundle.
        folder: Where to; it is made.

    Returns:
        What the page has to know of it; None where the bundle has none.

    Raises:
        SourceError: It is too large for a page.
        PrototypeIndexError: It is damaged.

    """
    spec = bundle.manifest.feature_map
    if bundle.manifest.prototypes is None or spec is None:
        return None
    generation = open_generation(bundle.path, bundle.manifest)
    folder.mkdir()
    alive = np.flatnonzero(generation.alive)
    # Where each clip's row is in clips.json.
    renumbered = np.full(len(generation.alive), -1, np.int32)
    renumbered[alive] = np.arange(len(alive))
    views = [_write_view(generation, view, folder, renumbered) for view in generation.views]
    _write_clips(generation, folder, alive)
    stage = bundle.manifest.stage("embeddings")
    if spec.additive and stage is not None:
        _head(generation, stage, spec.taps).astype("<f4").tofile(folder / "head.f32")
    return PagePrototypes(
        views=views,
        sources=generation.info.sources,
        labels=generation.info.labels,
        frame_seconds=spec.frame_seconds,
        bands_hz=list(spec.bands_hz),
        tap=spec.tap,
        attention=spec.attention or "",
        kind="additive" if spec.additive else "gradient" if spec.gradient else "localisation",
        channels=spec.channels,
        head=spec.additive,
    )


def _write_view(
    generation: Generation, view: View, folder: Path, renumbered: npt.NDArray[np.int32]
) -> ViewFiles:
    """Vectors and table of a view, without entries of removed clips."""
    clips = renumbered[generation.clips_of_entries(view)]
    held = np.flatnonzero(clips >= 0)
    dimension = generation.info.views[view].dimension
    if 4 * len(held) * dimension > MOST_BYTES:
        raise SourceError(
            f"{generation.folder}: {len(held)} entries in the view {view} are too many for a page, which "
            f"takes {MOST_BYTES // (4 * dimension)}; build an index of fewer clips for it"
        )
    vectors = generation.index(view).vectors_at(held.astype(np.int64))
    table = generation.entries(view)[held]
    prototypes = np.isin(held, generation.prototypes(view))
    rows = np.stack([clips[held], table["label"], table["row"], prototypes], axis=1)
    places = np.stack([table[name] for name in ("start_s", "end_s", "fmin_hz", "fmax_hz")], axis=1)
    vectors.astype("<f4").tofile(folder / f"{view}.vectors.f32")
    rows.astype("<i4").tofile(folder / f"{view}.rows.i32")
    places.astype("<f8").tofile(folder / f"{view}.places.f64")
    passages = generation.passages(view)
    if passages is not None:
        known = passages[held]
        both = np.stack([known[name] for name in ("length_s", "onsets_per_s")], axis=1)
        both.astype("<f4").tofile(folder / f"{view}.passages.f32")
    return ViewFiles(view, len(held), dimension, passages is not None)


def _write_clips(generation: Generation, folder: Path, alive: npt.NDArray[np.int64]) -> None:
    """The clips, and their sound where there is any."""
    clips = []
    for row in alive.tolist():
        clip, record = generation.read_clip(row), generation.clips[row]
        clips.append(
            PageClip(
                name=clip.source,
                labels=list(clip.labels),
                source=int(record["source"]),
                recording=int(record["recording"]),
                audio=clip.audio or "",
                gain=clip.gain,
                attribution=clip.attribution,
            )
        )
        sound = generation.sound_file(clip)
        if sound is not None and clip.audio is not None:
            (folder / AUDIO).mkdir(exist_ok=True)
            shutil.copyfile(sound, folder / AUDIO / clip.audio)
    (folder / "clips.json").write_bytes(msgspec.json.encode(clips))


def _head(generation: Generation, stage: StageSpec, taps: Sequence[str]) -> FloatArray:
    """The weights [K, C] of a linear head, as the runtime reads them from the embeddings graph."""
    session = cpu_session(generation.graph)

    def run(*given: FloatArray) -> dict[str, FloatArray]:
        return answers(session, dict(zip(taps, given, strict=True)))

    dims = {tensor.name: tensor.dims for tensor in stage.inputs}
    first, *others = (_shape(dims[name]) for name in taps)
    # Weights of attention pooling sum to 1 over the cells.
    even = [np.full(shape, 1.0 / math.prod(shape[-2:]), np.float32) for shape in others]
    return head_weights(run, [np.zeros(first, np.float32), *even])


def _shape(dims: Sequence[int | str]) -> tuple[int, ...]:
    """Dims with some length for those that may have any, and one sound."""
    return 1, *(_SOME if isinstance(dim, str) else dim for dim in dims[1:])
