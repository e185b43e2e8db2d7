"""Builds or extends the prototypes of a bundle: a new generation beside the old one. Never torch."""

from __future__ import annotations

import difflib
import errno
import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from filelock import Timeout

from .. import __version__
from ..errors import AudioError, BundleError, DataError, LabelError, PrototypeIndexError
from ..evaluation.sound_folders import Clip as SoundFile
from ..evaluation.sound_folders import list_sounds
from ..prototypes_index.durability import sync_folder
from ..prototypes_index.generation import EMBEDDINGS, Generation
from ..prototypes_index.index import EXACT_LIMIT
from ..prototypes_index.info import GenerationInfo, read_info
from ..prototypes_index.table import MOST_TOPS, TOPS, Clip
from ..prototypes_index.views import find_places, views_of
from ..prototypes_index.writer import GenerationWriter
from ..runtime.bundle import Bundle, read_manifest
from ..runtime.manifest import Manifest, PrototypesSpec
from ..runtime.prototypes import grid_of, model_hash, open_generation
from .clip_listener import ClipListener
from .manifest_file import describe_files, manifest_lock, replace_manifest

FOLDER = "prototypes"
_BUILDING = ".building-"
_GENERATION = re.compile(r"^g(\d{4,})$")

# Called before every file: how many are done, how many there are, its name.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Passed:
    """A file that was not indexed, and why (one line)."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an `index_bundle` did.

    generation: in force now; clips: windows of sound in it, of `sources` files; added: files of this run
    entries, recall_at_10: per view; repeated: files whose sound was there already; unreadable: files
    that could not be used; removed: generations that were pruned
    """

    generation: str
    clips: int
    sources: int
    added: int
    entries: dict[str, int]
    recall_at_10: dict[str, float]
    repeated: list[Passed] = field(default_factory=list)
    unreadable: list[Passed] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def index_bundle(
    bundle: Path | str,
    data: Path | str | Sequence[Path | str],
    *,
    audio: bool | None = None,
    extend: bool = True,
    prune: bool = False,
    any_label: bool = False,
    strict: bool = False,
    seed: int = 0,
    exact_limit: int = EXACT_LIMIT,
    attributions: dict[str, str] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    embeddings: Path | None = None,
    apex: Mapping[str, Any] | None = None,
    per_channel: int | None = None,
) -> IndexReport:
    """Index the sounds of `data` (folders of class folders) as prototypes of `bundle`.

    audio: keep the sounds as FLAC in the bundle; None: as the generation before did
    extend: keep the clips of the generation in force (a sound that is there already is skipped)
    prune: afterwards remove generations older than the one before
    any_label: allow labels that the model does not have; strict: an unreadable sound is an error
    exact_limit: more entries than that are searched approximately
    attributions: by path relative to the data folder, kept with the clip
    embeddings: the graph of the new generation, with a learnt U folded in; None: the graph of the
        generation in force, else the bundle's own. Extending never changes it
    apex: JSON-ready facts of that U, kept as `GenerationInfo.apex`; None: as they were with that graph
    per_channel: prototypes a channel, 1..100; None: as before, else 8
    The old generation stays in force until the new one is complete and on the disk; whatever stops
    this in between changes nothing. Raises BundleError (not a bundle, another writer at work, disk
    full), PrototypeIndexError, LabelError, DataError, DeviceError.
    """
    folder = Path(bundle)
    folders = [data] if isinstance(data, (str, Path)) else list(data)
    files = [file for one in folders for file in list_sounds(one, fewest_classes=1).clips]
    with _disk_full_is_one_line(folder), _only_writer(folder):
        manifest = read_manifest(folder)
        # What is built anew need not be whole.
        opened = Bundle.open(folder, prototypes=extend)
        if not any_label:
            _check_labels(manifest, files)
        _remove_leftovers(folder, manifest)
        old = open_generation(folder, manifest) if extend and manifest.prototypes is not None else None
        if audio is None:
            audio = manifest.prototypes is not None and manifest.prototypes.audio
        build = _Build(
            folder,
            manifest,
            opened,
            old,
            audio=audio,
            strict=strict,
            seed=seed,
            attributions=attributions or {},
            device=device,
            graph=_graph(folder, manifest, old, embeddings, apex, per_channel),
        )
        report = build.run(files, exact_limit, progress)
        if prune:
            report.removed.extend(prune_generations(folder, read_manifest(folder)))
    return report


@dataclass(frozen=True, slots=True)
class _Graph:
    """What a new generation is embedded with."""

    path: Path
    apex: Mapping[str, Any] | None
    per_channel: int


def _graph(
    folder: Path,
    manifest: Manifest,
    old: Generation | None,
    embeddings: Path | None,
    apex: Mapping[str, Any] | None,
    per_channel: int | None,
) -> _Graph:
    """The graph given, else the current generation's, else the bundle's own."""
    if per_channel is not None and not 1 <= per_channel <= MOST_TOPS:
        raise ValueError(f"per_channel {per_channel} is not within 1..{MOST_TOPS}")
    before = (old.folder, old.info) if old is not None else _current(folder, manifest)
    count = per_channel or (TOPS if before is None else before[1].per_channel)
    if embeddings is not None:
        same = before is not None and _hash(embeddings) == before[1].embeddings_sha256
        if old is not None and not same:
            raise PrototypeIndexError(
                f"{embeddings}: not the graph that the clips in {old.folder} were embedded with; embed them "
                "anew with it (extend=False, earmark index --rebuild)"
            )
        kept = before[1].apex if before is not None and same else None
        return _Graph(embeddings, kept if apex is None else apex, count)
    if before is not None:
        return _Graph(before[0] / EMBEDDINGS, before[1].apex if apex is None else apex, count)
    stage = manifest.stage("embeddings")
    if stage is None:
        raise PrototypeIndexError(
            f"{folder}: this bundle has no embeddings graph, hence no prototypes; export it again from a "
            "source with a feature map"
        )
    return _Graph(folder / stage.file, apex, count)


def _current(folder: Path, manifest: Manifest) -> tuple[Path, GenerationInfo] | None:
    """The generation in force, if its graph is whole and of this model; its index may be damaged."""
    if manifest.prototypes is None:
        return None
    generation = folder / FOLDER / manifest.prototypes.generation
    try:
        info = read_info(generation)
        whole = _hash(generation / EMBEDDINGS) == info.embeddings_sha256
    except (PrototypeIndexError, DataError):
        return None
    return (generation, info) if whole and info.model_sha256 == model_hash(manifest) else None


def prune_generations(folder: Path, manifest: Manifest) -> list[str]:
    """Remove all generations but the one in force and the one before; returns their names.

    Call it under the bundle's lock. Readers that hold a removed one keep what they mapped.
    """
    if manifest.prototypes is None:
        return []
    current = _number(manifest.prototypes.generation)
    older = sorted(number for number in _numbers(folder) if number < current)
    removed = [_name(number) for number in older[:-1]]
    for name in removed:
        shutil.rmtree(folder / FOLDER / name, ignore_errors=True)
    return removed


class _Build:
    """One new generation on its way."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        bundle: Bundle,
        old: Generation | None,
        *,
        audio: bool,
        strict: bool,
        seed: int,
        attributions: dict[str, str],
        device: str,
        graph: _Graph,
    ) -> None:
        if manifest.feature_map is None or manifest.stage("embeddings") is None:
            raise PrototypeIndexError(
                f"{folder}: this bundle has no embeddings graph, hence no prototypes; export it again from a "
                "source with a feature map"
            )
        self.folder, self.manifest, self.bundle, self.old = folder, manifest, bundle, old
        self.audio, self.strict, self.seed, self.attributions = audio, strict, seed, attributions
        self.device, self.graph = device, graph
        self.feature_map = manifest.feature_map
        self.known = {} if old is None else {clip.sha256: clip.source for clip in old.all_clips()}
        self.repeated: list[Passed] = []
        self.unreadable: list[Passed] = []

    def run(self, files: Sequence[SoundFile], exact_limit: int, progress: Progress | None) -> IndexReport:
        """Write the generation and put it in force."""
        parent = self.folder / FOLDER
        parent.mkdir(exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=parent))
        writer: GenerationWriter | None = None
        try:
            writer = self._writer(building)
            added = sum(self._add(writer, file) for file in _announced(files, progress))
            if not added:
                return self._unchanged(files)
            info = writer.finish(exact_limit=exact_limit, versions={"earmark": __version__})
            manifest = self._publish(building, info)
        finally:
            if writer is not None:
                writer.close()
            shutil.rmtree(building, ignore_errors=True)
        return self._report(manifest, info, added)

    def _writer(self, building: Path) -> GenerationWriter:
        spec, window = self.feature_map, self.manifest.window
        writer = GenerationWriter(
            building,
            embeddings=self.graph.path,
            model_sha256=model_hash(self.manifest),
            labels=self.manifest.labels,
            views=views_of(len(spec.bands_hz)),
            channels=spec.channels,
            grid=grid_of(spec),
            settings={
                "sample_rate": self.manifest.sample_rate,
                "window_seconds": window.seconds,
                "window_hop_seconds": window.hop_seconds,
                "tap": spec.tap,
                "frame_seconds": spec.frame_seconds,
            },
            seed=self.seed,
            per_channel=self.graph.per_channel,
            apex=self.graph.apex,
        )
        if self.old is not None:
            writer.extend(self.old)
        self.listener = ClipListener(self.bundle, building / "embeddings.onnx", self.device)
        return writer

    def _add(self, writer: GenerationWriter, file: SoundFile) -> int:
        """Index one file; 0 where it is passed over."""
        try:
            sha256 = _hash(file.path)
            if sha256 in self.known:
                self.repeated.append(Passed(file.name, f"same sound as {self.known[sha256]}"))
                return 0
            with writer.whole():
                self._add_windows(writer, file, sha256)
        except (AudioError, DataError) as error:
            if self.strict:
                raise
            self.unreadable.append(Passed(file.name, str(error)))
            return 0
        self.known[sha256] = file.name
        return 1

    def _add_windows(self, writer: GenerationWriter, file: SoundFile, sha256: str) -> None:
        """Index every window of one file, and keep its sound where asked."""
        opened = self.listener.open(file.path)
        name = sha256[:24]
        audio = f"{name}.flac" if self.audio else None
        views = views_of(len(self.feature_map.bands_hz))
        for window, heard in enumerate(self.listener.listen(opened)):
            clip = Clip(
                id=f"{name}-{window}",
                source=file.name,
                label=file.label,
                offset_s=heard.offset_s,
                duration_s=heard.duration_s,
                sha256=sha256,
                recording=file.recording,
                attribution=self.attributions.get(file.name, ""),
                audio=audio,
            )
            writer.add(clip, {view: find_places(view, heard.maps, heard.frames) for view in views})
        if audio is not None:
            self.listener.keep_sound(opened, writer.audio_folder() / audio)

    def _publish(self, building: Path, info: GenerationInfo) -> Manifest:
        """Check the generation as a reader would, put it in its place, and name it in the manifest."""
        last = max((*_numbers(self.folder), 0))
        name = _name(last + 1)
        spec = PrototypesSpec(
            generation=name,
            views=list(info.views),
            entries={view: index.entries for view, index in info.views.items()},
            dimensions={view: index.dimension for view, index in info.views.items()},
            clips=info.clips,
            audio=(building / "audio").is_dir(),
        )
        Generation.open(building, spec, embeddings_sha256=info.embeddings_sha256)
        prefix = f"{FOLDER}/{name}/"
        files = {path: one for path, one in self.manifest.files.items() if not path.startswith(f"{FOLDER}/")}
        files |= {prefix + path: one for path, one in describe_files(building).items()}
        explainers = self.manifest.explainers
        manifest = msgspec.structs.replace(
            self.manifest,
            prototypes=spec,
            files=files,
            explainers=explainers if "prototypes" in explainers else [*explainers, "prototypes"],
        )
        building.chmod(0o755)
        building.rename(self.folder / FOLDER / name)
        try:
            sync_folder(self.folder / FOLDER)
            replace_manifest(self.folder, manifest)
        except BaseException:
            if read_manifest(self.folder).prototypes != spec:
                shutil.rmtree(self.folder / FOLDER / name, ignore_errors=True)
            raise
        return manifest

    def _unchanged(self, files: Sequence[SoundFile]) -> IndexReport:
        """Nothing new: the old generation stays; without one, that is an error."""
        if self.old is None:
            why = f" (the first: {self.unreadable[0].reason})" if self.unreadable else ""
            raise DataError(f"none of the {len(files)} sounds could be indexed{why}; the bundle is unchanged")
        return self._report(self.manifest, self.old.info, 0)

    def _report(self, manifest: Manifest, info: GenerationInfo, added: int) -> IndexReport:
        assert manifest.prototypes is not None  # noqa: S101 (just written, or held by `old`)
        return IndexReport(
            generation=manifest.prototypes.generation,
            clips=info.clips,
            sources=info.sources,
            added=added,
            entries={view: index.entries for view, index in info.views.items()},
            recall_at_10={view: index.recall_at_10 for view, index in info.views.items()},
            repeated=self.repeated,
            unreadable=self.unreadable,
        )


def _announced(files: Sequence[SoundFile], progress: Progress | None) -> Iterator[SoundFile]:
    for done, file in enumerate(files):
        if progress is not None:
            progress(done, len(files), file.name)
        yield file
    if progress is not None:
        progress(len(files), len(files), "")


def _check_labels(manifest: Manifest, files: Iterable[SoundFile]) -> None:
    """Raise LabelError for a class folder that is none of the model's labels."""
    for label in sorted({file.label for file in files} - set(manifest.labels)):
        near = difflib.get_close_matches(label, manifest.labels, n=3, cutoff=0.4) or manifest.labels[:3]
        raise LabelError(
            f"class folder {label!r} is no label of this model (nearest: {', '.join(near)}); rename it, or "
            "allow foreign labels with --any-label"
        )


def _remove_leftovers(folder: Path, manifest: Manifest) -> None:
    """Remove what a writer that was killed left: unfinished folders, and generations never put in force."""
    parent = folder / FOLDER
    if not parent.is_dir():
        return
    current = 0 if manifest.prototypes is None else _number(manifest.prototypes.generation)
    for entry in parent.iterdir():
        unused = _GENERATION.match(entry.name) and _number(entry.name) > current
        if entry.name.startswith(_BUILDING) or unused:
            shutil.rmtree(entry, ignore_errors=True)


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    if not (folder / "bundle.json").is_file():
        raise BundleError(f"{folder}: not a bundle (no bundle.json); export one first")
    try:
        with manifest_lock(folder, timeout=0):
            yield
    except Timeout as error:
        raise BundleError(
            f"{folder}: another process is writing to this bundle; try again when it has finished"
        ) from error


@contextmanager
def _disk_full_is_one_line(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)) or "No space left" in str(
            error
        ):
            raise BundleError(
                f"{folder}: the disk is full; the bundle is unchanged; free some space and try again"
            ) from error
        raise


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _numbers(folder: Path) -> list[int]:
    """The numbers of the generations that are there."""
    return [_number(entry.name) for entry in (folder / FOLDER).iterdir() if _GENERATION.match(entry.name)]


def _number(name: str) -> int:
    """The number in a generation's name; 0 for a name of another kind."""
    match = _GENERATION.match(name)
    return int(match[1]) if match else 0


def _name(number: int) -> str:
    return f"g{number:04d}"
