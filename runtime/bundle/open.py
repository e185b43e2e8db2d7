"""Opens a bundle from strangers: types validated, paths confined, sizes and hashes checked.

Hashes, graphs and prototypes are examined when a bundle is first opened on a machine; after that a bundle
whose manifest, sizes and times are unchanged is taken as examined. `earmark verify` always examines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from ... import limits
from ...errors import BundleError
from ...prototypes_index.facts import SchemaVersion
from ...prototypes_index.hashing import sha256_of
from .examined import Examined
from .files import MANIFEST, Files, read_regular
from .graphs import check_graph, stage_data
from .identity import check_identity
from .manifest import SCHEMA_VERSION, Manifest
from .parts import ManifestPart
from .structure import check_structure

__all__ = ["MANIFEST", "Bundle", "BundlePart", "read_manifest"]


class BundlePart(ManifestPart, Protocol):
    """A part of a bundle, checked by those who use it: an explanation method."""

    def examine(self, bundle: Bundle) -> None:
        """Look into its files. Raises BundleError."""

    def without(self, manifest: Manifest) -> Manifest:
        """The manifest without this part and its files."""


class Bundle:
    """A bundle on disk whose manifest has been read and whose files have been checked."""

    def __init__(self, path: Path, manifest: Manifest, parts: Sequence[BundlePart]) -> None:
        self.path = path
        self.manifest = manifest
        self._parts = parts
        self._files = Files(path, manifest.files)

    @classmethod
    def open(
        cls,
        path: Path | str,
        parts: Sequence[BundlePart],
        *,
        examine: bool | None = None,
        without: Sequence[BundlePart] = (),
    ) -> Bundle:
        """Open the bundle in the folder `path`.

        parts: who checks what is theirs; `runtime.opening.open_bundle` hands in the methods
        examine: True recomputes every hash, False none, None where this machine has not yet done so
        without: parts that are left out, unchecked, so that damaged ones can be built again
        Raises BundleError with the file at fault; what was remembered of the bundle is then forgotten.
        """
        folder = Path(path)
        content = _read_manifest(folder)
        _check_name(folder.resolve())
        examined = Examined(folder.resolve())
        try:
            manifest = _decode(folder / MANIFEST, content)
            for part in without:
                manifest = part.without(manifest)
            bundle = cls(folder.resolve(), manifest, parts)
            check_structure(manifest, bundle.path / MANIFEST, parts)
            stamps = bundle._files.stamps()
            if examine is None:
                examine = not examined.holds(content, stamps)
            if examine:
                bundle.examine()
                # A bundle of which parts are left out is not examined in full.
                if not without:
                    examined.remember(content, stamps)
        except BundleError:
            examined.forget()
            raise
        return bundle

    def file(self, name: str) -> Path:
        """Where the bundle's file `name` (forward slashes) lies; every file is opened through it.

        Raises BundleError: not listed, missing, outside the bundle, not regular or of another size.
        """
        return self._files.path(name)

    def forget(self) -> None:
        """A check of this bundle has failed: the next opening on this machine examines it again."""
        Examined(self.path).forget()

    def examine(self) -> None:
        """Recompute every hash, look into every graph and all that the parts keep. Raises BundleError."""
        manifest = self.manifest
        for name, expected in manifest.files.items():
            path = self.file(name)
            if _sha256(path) != expected.sha256:
                raise BundleError(f"{path}: its hash is not the manifest's; fetch or export the bundle again")
        for stage in manifest.stages:
            data = stage_data(manifest, stage)
            check_graph(self.file(stage.file), stage.inputs, stage.outputs, data=data)
        for part in self._parts:
            part.examine(self)
        check_identity(manifest, self.path / MANIFEST)


def read_manifest(folder: Path | str) -> Manifest:
    """The manifest of the bundle in `folder`; its files are not looked at. Raises BundleError."""
    return _decode(Path(folder) / MANIFEST, _read_manifest(Path(folder)))


def _check_name(folder: Path) -> None:
    """Raise BundleError for a name that onnxruntime and faiss cannot open."""
    try:
        str(folder).encode("utf-8")
    except UnicodeEncodeError as error:
        raise BundleError(
            f"{folder}: this folder's name is no UTF-8, and onnxruntime opens no such file: rename the folder"
        ) from error


def _read_manifest(folder: Path) -> bytes:
    path = folder / MANIFEST
    try:
        if path.is_symlink():
            raise BundleError(f"{path}: a link; a bundle holds its files itself")
        content = read_regular(path, limits.MANIFEST_BYTES)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, BundleError):
            raise
        reason = "no such folder" if not folder.exists() else f"no readable {MANIFEST} in it"
        raise BundleError(f"{folder}: not a bundle ({reason}); make one with earmark export") from error
    if len(content) > limits.MANIFEST_BYTES:
        raise BundleError(f"{path}: larger than {limits.MANIFEST_BYTES >> 20} MiB; this is no manifest")
    return content


def _decode(path: Path, content: bytes) -> Manifest:
    try:
        version = msgspec.json.decode(content, type=SchemaVersion).schema_version
        if version > SCHEMA_VERSION:
            raise BundleError(
                f"{path}: schema version {version}, this earmark reads up to {SCHEMA_VERSION}; "
                "pip install --upgrade earmark"
            )
        return msgspec.json.decode(content, type=Manifest)
    except BundleError:
        raise
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: not a valid manifest: {error}") from error


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
