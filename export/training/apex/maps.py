"""The feature maps of many clips on the disk, computed once: what U is learnt from. Never torch.

A folder holds square.npy, time.npy and frequency.npy (vectors [cells, C], see `FeatureMaps`), clips.npy
(a row a window of sound), slopes.npy and pooled.npy of a model with a known head (see `ApexEvidence`), and
maps.json, which is written last: without it the rest is not whole.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from ....errors import DataError, EarmarkError
from ....evaluation.data.folder import Clip
from ....evaluation.prototypes.purity import Axis, Cells, FeatureMaps
from ....progress import Progress
from ....prototypes_index.durability import naming
from ....prototypes_index.table import TableWriter
from ....runtime.audio.sound import open_sound
from ....runtime.bundle.manifest import Manifest
from ....runtime.bundle.open import Bundle
from ....runtime.engine import Engine
from ....runtime.inference.window import Window
from ....runtime.methods.prototypes.generation import grid_of, model_hash
from ...graphs.heads import Head
from .evidence import ApexEvidence, pooled_of

_DONE = "maps.json"
_CLIPS = "clips.npy"
_AXES: tuple[Axis, ...] = ("square", "time", "frequency")
_EVIDENCE = ("slopes", "pooled")
# What is kept of a window: source recording, frames of real sound.
_ROW = np.dtype([("recording", "<i4"), ("frames", "<i4")])


class _Done(msgspec.Struct, frozen=True):
    """maps.json: of which model and sounds the maps are, rows of a map, and the facts of `ClipMaps`."""

    key: str
    rows: int
    sounds: int
    labels: list[str]
    left_out: list[tuple[str, str]]


@dataclass(frozen=True)
class ClipMaps:
    """The cached maps of some clips.

    evidence: None where the head is not known, or nothing speaks for any class
    sounds: files that were used; labels: their labels, each once; left_out: (file, why) of the others
    """

    maps: FeatureMaps
    evidence: ApexEvidence | None
    sounds: int
    labels: list[str]
    left_out: list[tuple[str, str]]

    @property
    def recordings(self) -> int:
        """Source recordings among them."""
        return len(np.unique(self.maps.recordings))


def clip_maps(
    folder: Path,
    bundle: Bundle,
    clips: Sequence[Clip],
    head: Head | None = None,
    *,
    device: str = "cpu",
    strict: bool = False,
    progress: Progress | None = None,
) -> ClipMaps:
    """The raw feature maps of `clips` as the runtime computes them, from `folder` where they lie there.

    With the head, also what channels contribute.
    What padding adds to a sound is left out. A clip that cannot be read, or whose feature map is not
    finite, is left out and listed, or with `strict` an error.
    Raises DataError (no clip can be used, the disk is full), DeviceError, PrototypeIndexError.
    """
    key = _key(bundle.manifest, clips)
    held = _opened(folder, key, head)
    if held is not None:
        return held
    with _disk_full_is_one_line(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        writer = MapWriter(folder, bundle, device, head)
        try:
            for clip in clips:
                writer.add(clip, strict=strict)
                if progress is not None:
                    progress.step()
            writer.finish(key)
        finally:
            writer.close()
    cached = _opened(folder, key, head)
    assert cached is not None  # noqa: S101 (just written)
    return cached


def _key(manifest: Manifest, clips: Sequence[Clip]) -> str:
    """A hash over the model and the files."""
    digest = hashlib.sha256(model_hash(manifest).encode())
    assert manifest.feature_map is not None  # noqa: S101 (the writer of U has looked)
    digest.update(manifest.feature_map.tap.encode())
    for clip in clips:
        status = clip.path.stat()
        digest.update(f"{clip.name}\0{clip.recording}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _opened(folder: Path, key: str, head: Head | None) -> ClipMaps | None:
    """What lies there, mapped; None where it is unfinished, damaged or of other clips."""
    try:
        done = msgspec.json.decode((folder / _DONE).read_bytes(), type=_Done)
        if done.key != key:
            return None
        rows, bands = np.load(folder / _CLIPS), done.rows
        frames = np.concatenate(([0], np.cumsum(rows["frames"], dtype=np.int64)))
        starts = {"square": frames * bands, "time": frames, "frequency": np.arange(len(rows) + 1) * bands}
        cells: dict[Axis, Cells] = {
            axis: Cells(np.load(folder / f"{axis}.npy", mmap_mode="r"), starts[axis]) for axis in _AXES
        }
        if any(len(table.vectors) != table.starts[-1] for table in cells.values()):
            return None
        maps = FeatureMaps(cells, np.array(rows["recording"]), bands)
        evidence = None
        if head is not None:
            slopes, pooled = (np.load(folder / f"{name}.npy") for name in _EVIDENCE)
            evidence = ApexEvidence.of(slopes, pooled)
        return ClipMaps(maps, evidence, done.sounds, done.labels, done.left_out)
    except (OSError, EOFError, ValueError, KeyError, TypeError, msgspec.MsgspecError):
        return None


class MapWriter:
    """Hears clip after clip and appends their maps."""

    def __init__(self, folder: Path, bundle: Bundle, device: str, head: Head | None) -> None:
        self._folder, self._head = folder, head
        self._engine = Engine(bundle, device)
        manifest = self._engine.manifest
        assert manifest.feature_map is not None  # noqa: S101 (the writer of U has looked)
        self._spec, self._rate = manifest.feature_map, manifest.sample_rate
        self._grid = grid_of(self._spec)
        width = (self._spec.channels,)
        names = (*_AXES, *(() if head is None else _EVIDENCE))
        self._tables = {name: TableWriter(folder / f"{name}.npy", np.dtype("<f4"), width) for name in names}
        self._clips = TableWriter(folder / _CLIPS, _ROW)
        self._recordings: dict[str, int] = {}
        self._labels: dict[str, None] = {}
        self._left_out: list[tuple[str, str]] = []
        self._sounds = 0

    def add(self, clip: Clip, *, strict: bool) -> None:
        """Hear one clip, whole or not at all."""
        rows = {name: table.rows for name, table in self._all().items()}
        try:
            self._add_windows(clip)
        except EarmarkError as error:
            if strict:
                raise
            for name, table in self._all().items():
                table.truncate(rows[name])
            self._left_out.append((clip.name, str(error)))
            return
        self._sounds += 1
        self._labels |= dict.fromkeys(clip.labels)

    def _add_windows(self, clip: Clip) -> None:
        opened = open_sound(clip.path, None, self._rate)
        recording = self._recordings.setdefault(clip.recording, len(self._recordings))
        for window in self._engine.windows(opened):
            square = window.taps[self._spec.tap][0].transpose(1, 2, 0)
            samples = window.waveform.shape[-1]
            real = min(samples, opened.samples - window.offset)
            if real < samples:
                square = square[: self._grid.frames_in(real / self._rate)]
            if not np.isfinite(square).all():
                raise DataError(
                    f"{clip.path}: its feature map holds numbers that are not finite; leave the clip out, or "
                    "mend the model"
                )
            row = np.zeros(1, dtype=_ROW)
            row["recording"], row["frames"] = recording, len(square)
            self._clips.append(row)
            self._tables["square"].append(square.reshape(-1, square.shape[2]))
            self._tables["time"].append(square.mean(axis=1))
            self._tables["frequency"].append(square.mean(axis=0))
            self._add_evidence(window)

    def _add_evidence(self, window: Window) -> None:
        """What speaks for the class predicted, of the whole window, as its logits are."""
        if self._head is None:
            return
        label = int(window.logits.argmax())
        pooled = pooled_of(window.taps[self._spec.tap][0], self._spec, window.taps)[0]
        own = pooled[min(label, len(pooled) - 1)][None]
        self._tables["slopes"].append(self._head.slopes(own, label)[None])
        self._tables["pooled"].append(own)

    def finish(self, key: str) -> None:
        """Make the tables whole. Raises DataError where no clip could be used."""
        if not self._clips.rows:
            name, why = self._left_out[0] if self._left_out else ("", "there is none")
            raise DataError(f"no clip could be used ({name}: {why})" if name else f"no clip to use: {why}")
        for table in self._all().values():
            table.finish()
        bands, labels = len(self._spec.bands_hz), sorted(self._labels)
        with naming(self._folder / _DONE):
            done = _Done(key, bands, self._sounds, labels, self._left_out)
            (self._folder / _DONE).write_bytes(msgspec.json.encode(done))

    def _all(self) -> dict[str, TableWriter]:
        return {_CLIPS: self._clips, **self._tables}

    def close(self) -> None:
        """Let go of every file."""
        self._engine.close()
        for table in self._all().values():
            table.close()


@contextmanager
def _disk_full_is_one_line(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
            raise
        raise DataError(
            f"{folder}: the disk is full; free some space, or keep the feature maps elsewhere with --cache"
        ) from error
