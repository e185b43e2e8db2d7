"""Builds or extends the prototypes of a bundle: a new generation beside the old one. Never torch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import AudioError, DataError, LabelError
from ...evaluation.data.folder import Clip as SoundFile
from ...evaluation.data.folder import list_sounds
from ...prototypes_index.generation import EMBEDDINGS, Generation
from ...prototypes_index.index_build import EXACT_LIMIT
from ...prototypes_index.info import GenerationInfo
from ...prototypes_index.passages import PASSAGE_VIEWS
from ...prototypes_index.table import IndexedClip, SoundFiles
from ...prototypes_index.views import find_places
from ...prototypes_index.writer import GenerationWriter
from ...runtime.bundle.manifest import Manifest
from ...runtime.methods.prototypes.generation import open_generation
from ...runtime.opening import open_bundle
from .clip_embedder import ClipEmbedder, UnfitError
from .generation_folder import GenerationFolder
from .generation_writer import choose_graph, hash_of, open_writer

# Called before every file: how many are done, how many there are, its name.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Passed:
    """A file that was not indexed, and why (one line)."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What was done to the prototypes of a bundle, and what is in force now.

    Attributes:
        generation: The generation in force.
        clips: Windows of sound in it.
        sources: Files that they are of.
        added: Files that this run added.
        entries: View -> entries of its index.
        recall_at_10: View -> share of the 10 nearest entries that its index finds, 0..1.
        repeated: Files whose sound was there already.
        unreadable: Files that could not be read.
        unfit: Files that are no prototypes: silent, or too short.
        removed: Generations that were pruned.
        taken_out: Files whose clips were removed.
        hidden: Removed clips that the files still hold, left out of every answer.
        notes: What the user should know.
        relabelled: Files of the generation before that came with another label, which they now have, too.

    """

    generation: str
    clips: int
    sources: int
    added: int
    entries: dict[str, int]
    recall_at_10: dict[str, float]
    repeated: list[Passed] = field(default_factory=list)
    unreadable: list[Passed] = field(default_factory=list)
    unfit: list[Passed] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    taken_out: list[str] = field(default_factory=list)
    hidden: int = 0
    notes: list[str] = field(default_factory=list)
    relabelled: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, manifest: Manifest, info: GenerationInfo, added: int = 0) -> IndexReport:
        """Report on the generation in force.

        Args:
            manifest: The manifest, which names it.
            info: What the generation says about itself.
            added: Files that were added.

        Returns:
            The report.

        """
        assert manifest.prototypes is not None  # noqa: S101 (just written, or just opened)
        return cls(
            generation=manifest.prototypes.generation,
            clips=info.clips - info.removed,
            sources=info.sources,
            added=added,
            entries={view: index.entries for view, index in info.views.items()},
            recall_at_10={view: index.recall_at_10 for view, index in info.views.items()},
            hidden=info.removed,
        )


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
    only: Collection[str] | None = None,
) -> IndexReport:
    """Index sounds as the prototypes of a bundle, as `earmark index` does.

    They become a new generation. The old one stays in force until the new one is complete and on the disk;
    whatever stops this in between changes nothing.

    Args:
        bundle: Folder of the bundle.
        data: Folders of class folders of sound, or folders with a labels.csv.
        audio: Keep the sounds as FLAC in the bundle; None: as the generation before did.
        extend: Keep the clips of the generation in force; a sound that is there already is skipped, and gets
            the labels that it comes with.
        prune: Afterwards remove generations older than the one before.
        any_label: Allow labels that the model does not have.
        strict: An unreadable sound is an error; otherwise it is left out and reported.
        seed: Seed of the samples drawn, 0 or more.
        exact_limit: More entries than that are searched approximately.
        attributions: Path relative to the data folder -> whom to credit, kept with the clip.
        device: What the model runs on; see `earmark.load`.
        progress: Called before every file: how many are done, how many there are, its name.
        embeddings: The graph of the new generation, with a learnt U folded in; None: the graph of the
            generation in force, else the bundle's own. Extending never changes it.
        apex: JSON-ready facts of that U, kept as `GenerationInfo.apex`; None: as they were with that graph.
        per_channel: Prototypes for each channel, 1..100; None: as before, else 8.
        only: Names of the clips that are indexed; None: all.

    Returns:
        What was done, and what is in force now.

    Raises:
        BundleError: No bundle, or one without a feature map, or another process is writing there.
        PrototypeIndexError: The generation in force is damaged.
        LabelError: A label is none of the model's.
        DataError: Nothing could be indexed, or with `strict` a sound cannot be read.
        DeviceError: The device is not there.
        WriteError: A file cannot be written.

    Examples:
        >>> from earmark.export import index_bundle
        >>> report = index_bundle("bundle", "data/train", audio=True)  # doctest: +SKIP
        >>> report.added, report.entries["time"]  # doctest: +SKIP
        (1600, 12800)

    """
    folder = Path(bundle)
    folders = [data] if isinstance(data, (str, Path)) else list(data)
    listed = [list_sounds(one, fewest_classes=1) for one in folders]
    locked = [Passed(*passed) for one in listed for passed in one.left_out(strict=strict)]
    files = [file for one in listed for file in one.clips]
    if only is not None:
        files = [file for file in files if file.name in only]
    unlabelled = [file for file in files if not file.labels]
    files = [file for file in files if file.labels]
    with GenerationFolder.hold(folder) as generations:
        manifest = generations.manifest
        # What is built anew need not be whole.
        opened = open_bundle(folder, without=[] if extend else ["prototypes"])
        if not any_label:
            _check_labels(manifest, files)
        before = manifest.prototypes
        old = open_generation(folder, manifest) if extend and before is not None else None
        graph = choose_graph(folder, manifest, old, embeddings, apex, per_channel)
        with generations.building() as building:
            writer = open_writer(folder, building, manifest, graph, seed)
            sounds = IndexedFiles(files)
            relabelled = [] if old is None else relabelled_in(old, sounds.files)
            try:
                if old is not None:
                    writer.take(old, files=sounds.files)
                embedder = ClipEmbedder(opened, building / EMBEDDINGS, device)
                keep_sound = audio if audio is not None else before is not None and before.audio
                build = _Build(writer, embedder, sounds, old, keep_sound, strict, attributions or {})
                added = sum(build.add(file) for file in _announced(files, progress))
                if added or relabelled:
                    info = writer.finish(exact_limit=exact_limit, versions={"earmark": __version__})
                    generations.publish(building, info)
                elif old is not None:
                    info = old.info
                else:
                    raise DataError(
                        f"none of the {len(files)} sounds could be indexed{build.first_reason()}; "
                        "the bundle is unchanged"
                    )
            finally:
                writer.close()
        notes = [*build.notes, *([graph.note] if graph.note else [])]
        if unlabelled:
            notes.append(
                f"{len(unlabelled)} sounds without a label are left out (the first: {unlabelled[0].name})"
            )
        return replace(
            IndexReport.of(generations.manifest, info, added),
            repeated=build.repeated,
            unreadable=[*locked, *build.unreadable],
            unfit=build.unfit,
            notes=notes,
            removed=generations.prune() if prune else [],
            relabelled=relabelled,
        )


def relabelled_in(old: Generation, files: Mapping[str, SoundFiles]) -> list[str]:
    """The sources of a generation that have labels in `files`, by sha256, which they lack there."""
    touched = {
        clip.source: None
        for clip in old.all_clips()
        if clip.sha256 in files and not set(files[clip.sha256].labels) <= set(clip.labels)
    }
    return list(touched)


class IndexedFiles:
    """Which files hold the same sound, and the labels and names that it has in all of them."""

    def __init__(self, files: Sequence[SoundFile]) -> None:
        """Hash every file; one that cannot be read answers for itself when it is added."""
        self.files: dict[str, SoundFiles] = {}
        self._hashes: dict[Path, str] = {}
        for file in files:
            with suppress(DataError):
                sha256 = self._hashes[file.path] = hash_of(file.path)
                self.files.setdefault(sha256, SoundFiles()).add(file.labels, [file.name])

    def hash_of(self, file: SoundFile) -> str:
        """The sha256 of a file. Raises DataError where it cannot be read."""
        return self._hashes.get(file.path) or hash_of(file.path)


class _Build:
    """Embeds files and adds them to a writer."""

    def __init__(
        self,
        writer: GenerationWriter,
        embedder: ClipEmbedder,
        sounds: IndexedFiles,
        old: Generation | None,
        audio: bool,
        strict: bool,
        attributions: Mapping[str, str],
    ) -> None:
        self._writer, self._embedder, self._sounds = writer, embedder, sounds
        self._audio, self._strict, self._attributions = audio, strict, attributions
        self._known = {} if old is None else {clip.sha256: clip.source for clip in old.all_clips()}
        self.repeated: list[Passed] = []
        self.unreadable: list[Passed] = []
        self.unfit: list[Passed] = []
        self.notes: list[str] = []

    def add(self, file: SoundFile) -> int:
        """Index one file; 0 where it is passed over."""
        try:
            sha256 = self._sounds.hash_of(file)
            if sha256 in self._known:
                self.repeated.append(Passed(file.name, f"same sound as {self._known[sha256]}"))
                return 0
            with self._writer.whole(), self._sound_of(sha256) as sound:
                self._add_windows(file, sha256, sound)
        except (AudioError, DataError) as error:
            if self._strict:
                raise
            left_out = self.unfit if isinstance(error, UnfitError) else self.unreadable
            left_out.append(Passed(file.name, str(error)))
            return 0
        self._known[sha256] = file.name
        return 1

    def first_reason(self) -> str:
        """Why the first file could not be used, in brackets."""
        left_out = self.unreadable + self.unfit
        return f" (the first: {left_out[0].reason})" if left_out else ""

    @contextmanager
    def _sound_of(self, sha256: str) -> Iterator[Path | None]:
        """Where the sound of a file is kept, None where it is not; not kept after all when this fails."""
        path = self._writer.audio_folder() / f"{sha256[:24]}.flac" if self._audio else None
        try:
            yield path
        except BaseException:
            if path is not None:
                path.unlink(missing_ok=True)
            raise

    def _add_windows(self, file: SoundFile, sha256: str, sound: Path | None) -> None:
        """Index every window of one file, and keep its sound where asked."""
        opened = self._embedder.open(file.path)
        self.notes += [f"{file.name}: {fault}" for fault in opened.warnings]
        name = sha256[:24]
        gain = 1.0 if sound is None else self._embedder.keep_sound(opened, sound)
        silent = 0
        for window, embedded in enumerate(self._embedder.listen(opened)):
            if embedded.passages is None:
                silent += 1
                continue
            clip = IndexedClip(
                id=f"{name}-{window}",
                source=file.name,
                label=file.label,
                offset_s=embedded.offset_s,
                duration_s=embedded.duration_s,
                sha256=sha256,
                recording=file.recording,
                attribution=self._attributions.get(file.name, ""),
                audio=None if sound is None else sound.name,
                gain=gain,
            ).joined(self._sounds.files.get(sha256, SoundFiles(dict.fromkeys(file.labels))))
            places = {view: find_places(view, embedded.maps, embedded.frames) for view in self._writer.views}
            passages = {
                view: embedded.passages.at(places[view].cells[:, 0])
                for view in PASSAGE_VIEWS.intersection(places)
            }
            self._writer.add(clip, places, embedded.queries, passages, embedded.statistics)
        if silent == window + 1:
            raise UnfitError(f"{file.path}: is silent where its channels are mixed, and so is no prototype")
        if silent:
            self.notes.append(
                f"{file.name}: {silent} of its {window + 1} windows are silent and were left out"
            )


def _announced(files: Sequence[SoundFile], progress: Progress | None) -> Iterator[SoundFile]:
    for done, file in enumerate(files):
        if progress is not None:
            progress(done, len(files), file.name)
        yield file
    if progress is not None:
        progress(len(files), len(files), "")


def _check_labels(manifest: Manifest, files: Sequence[SoundFile]) -> None:
    """Raise LabelError for a class folder that is none of the model's labels; a regression has no classes."""
    if manifest.task == "regression":
        return
    for label in sorted({label for file in files for label in file.labels} - set(manifest.labels)):
        near = difflib.get_close_matches(label, manifest.labels, n=3, cutoff=0.4) or manifest.labels[:3]
        first = next(file for file in files if label in file.labels)
        if first.name.startswith(f"{label}/"):
            what, cure = f"class folder {label!r}", "rename it"
        else:
            what = f"the label {label!r}, which labels.csv gives {first.name},"
            cure = "correct it (';' parts labels)"
        raise LabelError(
            f"{what} is no label of this model (nearest: {', '.join(near)}); {cure}, or allow foreign labels "
            "with --any-label"
        )
