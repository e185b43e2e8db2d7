"""Replacing a bundle's manifest, atomically and under a lock. Without PyTorch: indexing needs no more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ...errors import BundleError
from ...prototypes_index.atomic import HIDDEN, write_whole
from ...prototypes_index.hashing import sha256_of
from ...prototypes_index.locks import locked
from ...runtime.bundle.identity import identity
from ...runtime.bundle.manifest import FileSpec, Manifest
from ...runtime.bundle.open import MANIFEST

LOCK = ".lock"


def replace_manifest(bundle: Path | str, manifest: Manifest) -> Manifest:
    """Replace a bundle's manifest atomically; returns it with its `bundle_id`.

    Call it under `manifest_lock` after reading the old one.
    """
    folder = Path(bundle)
    if not (folder / MANIFEST).is_file():
        raise BundleError(f"{folder}: not a bundle (no {MANIFEST}); export one first")
    return write_manifest(folder, manifest)


@contextmanager
def manifest_lock(bundle: Path | str, timeout: float = 60.0) -> Iterator[None]:
    """Hold the bundle's writer lock: one writer at a time reads, adds files and replaces the manifest.

    Raises BusyError where another writer holds it for longer than `timeout` seconds, or the file system
    has no locks.
    """
    with locked(Path(bundle) / LOCK, timeout=timeout):
        yield


def file_spec(path: Path) -> FileSpec:
    """Hash and size of a file."""
    return FileSpec(sha256=sha256_of(path), size=path.stat().st_size)


def describe_files(folder: Path, known: Mapping[str, FileSpec] | None = None) -> dict[str, FileSpec]:
    """Every file under `folder` but manifest and lock, by its path with forward slashes, sorted.

    known: files that need not be read, since they are described already
    """
    known = known or {}
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in paths}
    return {
        name: known.get(name) or file_spec(path)
        for name, path in named.items()
        if name != MANIFEST and not name.startswith((LOCK, HIDDEN))
    }


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Replace bundle.json as a whole, synced; returns it with its `bundle_id`. Raises WriteError."""
    manifest = msgspec.structs.replace(manifest, bundle_id=identity(manifest))
    write_whole(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    return manifest
