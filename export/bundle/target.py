"""Where a bundle is written: built out of sight, then put in the place of what was there, in one step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ...errors import BundleError
from ...prototypes_index.atomic import put_in_place, staged
from ...prototypes_index.durability import naming, sync_folder, sync_tree
from ...runtime.bundle.open import MANIFEST
from .manifest_file import manifest_lock


def check_target(target: Path, *, force: bool) -> None:
    """Raise BundleError where `target` cannot become a bundle."""
    if not target.name or target.is_symlink():
        raise BundleError(f"{target}: is not a folder name to write a bundle to; choose another")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / MANIFEST).is_file():
        raise BundleError(f"{target}: exists and is not a bundle; choose another folder")
    if not force:
        raise BundleError(f"{target}: exists; choose another folder or replace it with --force")


@contextlib.contextmanager
def building(target: Path, *, force: bool) -> Iterator[Path]:
    """Gives a hidden folder beside `target`, which takes its place, synced, when the block has ended well.

    Whoever looks sees the old bundle or the new one, whole; the next export there removes what a killed one
    left. Raises BundleError where `target` cannot become a bundle, BusyError where another writer is at work.
    """
    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with staged(target) as folder:
        yield folder
        sync_tree(folder)
        with manifest_lock(target) if (target / MANIFEST).is_file() else contextlib.nullcontext():
            check_target(target, force=force)
            with naming(target):
                put_in_place(folder, target)
        sync_folder(target.parent)
