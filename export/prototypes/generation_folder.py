"""The generations of prototypes in a bundle's folder: written beside the old one, then put in force.

    prototypes/.building-x/   being written by the one writer that holds the bundle's lock
    prototypes/g0001/ ...     whole; bundle.json names the one in force

Whatever stops a writer, bundle.json names the old generation or the new one, and both are whole.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

import msgspec

from ...errors import BundleError
from ...prototypes_index.atomic import write_whole
from ...prototypes_index.durability import is_full, sync_folder
from ...prototypes_index.generation import AUDIO
from ...prototypes_index.golden import GOLDEN, golden_entries
from ...prototypes_index.info import GenerationInfo, write_info
from ...prototypes_index.opening import read_generation
from ...prototypes_index.spec import PrototypesSpec
from ...runtime.bundle.manifest import FileSpec, Manifest
from ...runtime.bundle.open import MANIFEST, read_manifest
from ...runtime.methods.prototypes.comparing import measure
from ...runtime.methods.prototypes.generation import examine_generation
from ..bundle.card import CARD, prototypes_card
from ..bundle.manifest_file import describe_files, manifest_lock, replace_manifest

FOLDER = "prototypes"
_BUILDING = ".building-"
_GENERATION = re.compile(r"^g(\d{4,})$")


class GenerationFolder:
    """A bundle's generations in the hands of the bundle's only writer."""

    def __init__(self, bundle: Path, manifest: Manifest) -> None:
        """Use `GenerationFolder.hold`."""
        self.bundle, self.manifest = bundle, manifest

    @classmethod
    @contextmanager
    def hold(cls, bundle: Path) -> Iterator[Self]:
        """Hold the bundle's lock, and remove what a writer that was killed left.

        Raises BundleError where this is no bundle, another writer is at work, or the disk is full.
        """
        if not (bundle / MANIFEST).is_file():
            raise BundleError(f"{bundle}: not a bundle (no {MANIFEST}); export one first")
        try:
            with manifest_lock(bundle, timeout=0):
                held = cls(bundle, read_manifest(bundle))
                held._remove_leftovers()
                yield held
        except OSError as error:
            if is_full(error):
                file = Path(error.filename).name if error.filename else "a file"
                raise BundleError(
                    f"{bundle}: {file} cannot be written: the disk is full (or a limit on file sizes is "
                    "reached); the bundle is unchanged; free some space and try again"
                ) from error
            raise

    @contextmanager
    def building(self) -> Iterator[Path]:
        """A folder to write the next generation into; it is gone afterwards, unless it was published."""
        parent = self.bundle / FOLDER
        parent.mkdir(exist_ok=True)
        # Not by mkdtemp: modes follow the umask.
        building = parent / f"{_BUILDING}{secrets.token_hex(8)}"
        building.mkdir()
        try:
            yield building
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def publish(
        self, building: Path, info: GenerationInfo, known: Mapping[str, FileSpec] | None = None
    ) -> None:
        """Check the generation as a reader would, put it in its place, and name it in the manifest.

        known: files, by their name in the generation, that need not be read to know their hash
        """
        name = _name(max((*self._numbers(), 0)) + 1)
        spec = PrototypesSpec(
            generation=name,
            views=list(info.views),
            entries={view: index.entries for view, index in info.views.items()},
            dimensions={view: index.dimension for view, index in info.views.items()},
            clips=info.clips,
            removed=info.removed,
            audio=(building / AUDIO).is_dir(),
        )
        generation = read_generation(building, spec, embeddings_sha256=info.embeddings_sha256)
        examine_generation(generation, self.manifest)
        if self.manifest.feature_map is not None and info.queries:
            # Before the files are described; what is open does not need it.
            info = replace(info, usual=measure(generation, self.manifest.feature_map.bands_hz))
            write_info(building, info)
        write_whole(building / GOLDEN, golden_entries(generation))
        write_whole(building / CARD, prototypes_card(self.manifest, spec, info))
        files = {path: one for path, one in self.manifest.files.items() if not path.startswith(f"{FOLDER}/")}
        files |= {f"{FOLDER}/{name}/{path}": one for path, one in describe_files(building, known).items()}
        explainers = self.manifest.explainers
        manifest = msgspec.structs.replace(
            self.manifest,
            prototypes=spec,
            files=files,
            explainers=explainers if "prototypes" in explainers else [*explainers, "prototypes"],
        )
        building.rename(self.bundle / FOLDER / name)
        try:
            sync_folder(self.bundle / FOLDER)
            manifest = replace_manifest(self.bundle, manifest)
        except BaseException:
            if read_manifest(self.bundle).prototypes != spec:
                shutil.rmtree(self.bundle / FOLDER / name, ignore_errors=True)
            raise
        self.manifest = manifest

    def prune(self, keep: int = 1) -> list[str]:
        """Remove generations but the one in force and `keep` before it; returns their names.

        Readers that hold a removed one keep what they mapped.
        """
        if self.manifest.prototypes is None:
            return []
        current = _number(self.manifest.prototypes.generation)
        older = sorted((number for number in self._numbers() if number < current), reverse=True)
        removed = [_name(number) for number in sorted(older[keep:])]
        for name in removed:
            shutil.rmtree(self.bundle / FOLDER / name, ignore_errors=True)
        return removed

    def _remove_leftovers(self) -> None:
        """Remove unfinished folders, and generations never put in force."""
        parent = self.bundle / FOLDER
        if not parent.is_dir():
            return
        current = 0 if self.manifest.prototypes is None else _number(self.manifest.prototypes.generation)
        for entry in parent.iterdir():
            unused = _GENERATION.match(entry.name) and _number(entry.name) > current
            if entry.name.startswith(_BUILDING) or unused:
                shutil.rmtree(entry, ignore_errors=True)

    def _numbers(self) -> list[int]:
        """The numbers of the generations that are there."""
        entries = (self.bundle / FOLDER).iterdir()
        return [_number(entry.name) for entry in entries if _GENERATION.match(entry.name)]


def _number(name: str) -> int:
    """The number in a generation's name; 0 for a name of another kind."""
    match = _GENERATION.match(name)
    return int(match[1]) if match else 0


def _name(number: int) -> str:
    return f"g{number:04d}"
