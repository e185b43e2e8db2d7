"""onnxruntime-web, which runs a page's graphs: of one version, from npm, each file held to its hash.

Its WebAssembly has 14 MB, so the wheel does not carry it: `npm pack` fetches it when a page is written.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from ...errors import MissingDependencyError, SourceError
from ...printable import printable

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web@{VERSION}"
# File of the package: its name in a page, and its SHA-256. Scripts end in .js there: every web server knows
# what that is.
_FILES = {
    "dist/ort.wasm.min.mjs": (
        "ort.wasm.min.js",
        "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    ),
    "dist/ort-wasm-simd-threaded.mjs": (
        "ort-wasm-simd-threaded.js",
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    ),
    "dist/ort-wasm-simd-threaded.wasm": (
        "ort-wasm-simd-threaded.wasm",
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    ),
}
_GIVE = f"or give the package by --onnxruntime-web (what npm pack {PACKAGE} writes)"


def copy_runtime(folder: Path, package: Path | None = None) -> None:
    """Write the files of onnxruntime-web that a page needs.

    Args:
        folder: Where to; it exists.
        package: The npm package, packed (.tgz) or as a folder; None: npm fetches it.

    Raises:
        MissingDependencyError: There is no npm, or it could not fetch the package.
        SourceError: The package is not the one of this version.

    """
    if package is not None:
        _copy(package, folder)
        return
    with tempfile.TemporaryDirectory(prefix="earmark-npm-") as place:
        _copy(_fetched(Path(place)), folder)


def _fetched(place: Path) -> Path:
    """The packed package, fetched into a folder by npm, which keeps what it fetches in its own cache."""
    npm = shutil.which("npm")
    if npm is None:
        raise MissingDependencyError(
            f"a page needs {PACKAGE}, which npm fetches: install Node.js with npm, {_GIVE}"
        )
    command = [npm, "pack", PACKAGE, "--prefer-offline", "--ignore-scripts", "--silent"]
    ended = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)  # noqa: S603
    packed = next(place.glob("*.tgz"), None)
    if ended.returncode != 0 or packed is None:
        lines = [line for line in ended.stderr.splitlines() if line.strip()]
        why = printable(lines[0]) if lines else f"it ended with {ended.returncode}"
        raise MissingDependencyError(f"npm could not fetch {PACKAGE} ({why}): try again, {_GIVE}")
    return packed


def _copy(package: Path, folder: Path) -> None:
    """Copy the files out of a package, packed or not."""
    for name, (shown, expected) in _FILES.items():
        content = _read(package, name)
        if hashlib.sha256(content).hexdigest() != expected:
            raise SourceError(f"{package}: its {name} is not that of {PACKAGE}; give that version")
        (folder / shown).write_bytes(content)


def _read(package: Path, name: str) -> bytes:
    """One file of a package."""
    try:
        if package.is_dir():
            return (package / name).read_bytes()
        with tarfile.open(package) as archive:
            member = archive.extractfile(f"package/{name}")
            if member is None:
                raise KeyError(name)
            return member.read()
    except (OSError, KeyError, tarfile.TarError) as error:
        raise SourceError(f"{package}: is not the npm package {PACKAGE} (no {name})") from error
