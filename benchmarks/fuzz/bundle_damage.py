"""Damage to a bundle, with or without making its hashes true again, as a stranger who means it would."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import random
import socket
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import array_damage
import byte_damage
import graph_damage
import json_damage
import numpy as np

MANIFEST = "bundle.json"
# Bytes of arrays that are read to be changed.
_WORKABLE = 64 << 20


Change = Callable[[bytes, random.Random], tuple[bytes, str]]


class Damaged:
    """A copy of a bundle that is damaged step by step: hard links, replaced and never written into."""

    def __init__(self, source: Path, folder: Path, draw: random.Random) -> None:
        self.source, self.folder, self.draw = source, folder, draw
        self.steps: list[str] = []
        # Files that differ from the source; whether the manifest was damaged itself.
        self.touched: set[str] = set()
        self.manifest_damaged = False
        folders, self.names = _contents(source)
        for name in folders:
            os.makedirs(f"{folder}/{name}", exist_ok=True)  # noqa: PTH103 (a third of a case's time)
        for name in self.names:
            os.link(f"{source}/{name}", f"{folder}/{name}")

    def manifest(self) -> dict[str, Any]:
        """The manifest as it is now."""
        return json.loads(self.read(MANIFEST))

    def write(self, name: str, content: bytes) -> None:
        """Replace a file."""
        path = self.folder / name
        time = path.stat().st_mtime_ns
        path.unlink()
        path.write_bytes(content)
        # What is remembered of a bundle goes by size and time: whoever means harm keeps them.
        os.utime(path, ns=(time, time))
        self.touched.add(name)
        self.manifest_damaged |= name == MANIFEST

    def change(self, name: str, damage: Change) -> str:
        """Replace a file by its content, damaged; returns what was done."""
        content, done = damage(self.read(name), self.draw)
        self.write(name, content)
        return f"{name}: {done}"

    def read(self, name: str) -> bytes:
        """A file's content. Raises FileNotFoundError for a pipe or a device, which has no end."""
        if not (self.folder / name).is_file():
            raise FileNotFoundError(name)
        return (self.folder / name).read_bytes()

    def pick(self, *suffixes: str) -> str:
        """A file by the ends of its name; sounds, of which there are many, less often."""
        names = [one for one in self.names if one.endswith(suffixes)] if suffixes else self.names
        few = [one for one in names if not one.endswith(".flac")]
        return self.draw.choice(few if few and self.draw.random() < 0.9 else names)

    def step(self, kinds: Sequence[str] = ()) -> None:
        """One more change, of one of `kinds`, else of any."""
        kinds = kinds or tuple(_KINDS)
        kind = self.draw.choices(kinds, [_KINDS[one][1] for one in kinds])[0]
        try:
            self.steps.append(f"{kind}({_KINDS[kind][0](self)})")
        except Exception:
            # What an earlier step took away or made unreadable cannot be damaged further.
            if not self.steps:
                raise

    def sign(self) -> None:
        """Make hashes and sizes true again, those inside the generation of prototypes too."""
        from earmark.runtime.bundle.identity import identity
        from earmark.runtime.bundle.open import read_manifest
        from earmark.runtime.methods.prototypes.generation import model_hash

        for name in sorted(self.touched - {MANIFEST}, key=lambda one: one.endswith("index_info.json")):
            self._sign_one(name)
        manifest = self.manifest()
        stages = {"frontend.onnx", "classifier.onnx", "classifier.onnx.data"}
        generation = f"prototypes/{manifest['prototypes']['generation']}"
        if self.touched & {*stages, f"{generation}/embeddings.onnx"}:
            info = json.loads(self.read(f"{generation}/index_info.json"))
            info["model_sha256"] = model_hash(read_manifest(self.folder))
            info["embeddings_sha256"] = hashlib.sha256(self.read(f"{generation}/embeddings.onnx")).hexdigest()
            self.write(f"{generation}/index_info.json", json.dumps(info).encode())
            self._sign_one(f"{generation}/index_info.json")
        if manifest["bundle_id"].startswith("2-"):
            manifest = self.manifest() | {"bundle_id": identity(read_manifest(self.folder))}
            (self.folder / MANIFEST).unlink()
            (self.folder / MANIFEST).write_text(json.dumps(manifest))

    def _sign_one(self, name: str) -> None:
        manifest, path = self.manifest(), self.folder / name
        if path.is_file() and name in manifest["files"]:
            content = path.read_bytes()
            manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            (self.folder / MANIFEST).unlink()
            (self.folder / MANIFEST).write_text(json.dumps(manifest))


@functools.cache
def _contents(source: Path) -> tuple[list[str], list[str]]:
    """The folders of the intact bundle and its files, sorted."""
    paths = sorted(source.rglob("*"))
    manifest = source / MANIFEST
    if manifest.exists():
        # Generations that are not in force are looked at by nobody.
        current = source / "prototypes" / json.loads(manifest.read_bytes())["prototypes"]["generation"]
        others = [one for one in (source / "prototypes").iterdir() if one != current]
        paths = [one for one in paths if not any(one.is_relative_to(other) for other in others)]
    folders = ["."] + [str(one.relative_to(source)) for one in paths if one.is_dir()]
    return folders, [str(one.relative_to(source)) for one in paths if one.is_file()]


def _fields(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """A JSON document with other fields."""
    document, done = json_damage.damage(json.loads(content), draw)
    return json_damage.text(document, draw), done


def _unlisted(one: Damaged) -> str:
    """A file stays and is listed no longer."""
    manifest = one.manifest()
    name = one.draw.choice(list(manifest["files"]))
    del manifest["files"][name]
    one.write(MANIFEST, json.dumps(manifest).encode())
    if one.draw.random() < 0.5:
        return f"{_special(one, name)} unlisted"
    return name


def _exchanged(one: Damaged) -> str:
    name, other = one.pick(), one.pick()
    one.manifest_damaged |= other == MANIFEST
    first, second = one.read(name), one.read(other)
    one.write(name, second)
    if one.draw.random() < 0.5:
        one.write(other, first)
    return f"{name} <- {other}"


def _special(one: Damaged, name: str | None = None) -> str:
    """Something that is no regular file in the place of a file."""
    name = name or one.pick()
    path = one.folder / name
    one.manifest_damaged |= name == MANIFEST
    one.touched.add(name)
    content = one.read(name)
    path.unlink()
    what = one.draw.choice(
        ["gone", "folder", "pipe", "socket", "zero", "null", "out", "inside", "loop", "dangling", "parent"]
    )
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "socket":
        # The path of a socket is short; its name may be anything.
        short = one.folder.parent / "s"
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(str(short))
        short.rename(path)
    elif what in ("zero", "null"):
        path.symlink_to(f"/dev/{what}")
    elif what == "out":
        outside = one.folder.parent / "outside"
        outside.write_bytes(content)
        path.symlink_to(outside)
    elif what == "inside":
        path.with_name("elsewhere").write_bytes(content)
        path.symlink_to("elsewhere")
    elif what == "loop":
        path.symlink_to(path.name)
    elif what == "dangling":
        path.symlink_to("/nowhere/at/all")
    elif what == "parent" and path.parent != one.folder:
        # The folder that holds it lies outside.
        outside = one.folder.parent / "folder"
        path.write_bytes(content)
        path.parent.rename(outside)
        path.parent.symlink_to(outside)
    return f"{name} is {what}"


def _table(one: Damaged) -> str:
    """A .npy table: its header, or values in it."""

    def values(content: bytes, draw: random.Random) -> tuple[bytes, str]:
        array = np.load(io.BytesIO(content)).copy()
        done = array_damage.set_values(array, draw)
        return array_damage.npy(array), done

    return one.change(one.pick(".npy"), values if one.draw.random() < 0.5 else array_damage.npy_header)


def _search(one: Damaged) -> str:
    """A FAISS index: its header, or a vector that is not finite."""
    name = one.pick(".faiss")
    content = bytearray(one.read(name))
    at = one.draw.randrange(64) if one.draw.random() < 0.6 else one.draw.randrange(len(content) - 4)
    value = one.draw.choice([b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff" * 4, bytes(4), one.draw.randbytes(4)])
    content[at : at + 4] = value
    if one.draw.random() < 0.1:
        content[:4] = one.draw.choice([b"IxFI", b"IxF2", b"IHNf", b"IwFl", b"IxPT", b"IxMp", b"null"])
    one.write(name, bytes(content))
    return f"{name}: at {at}"


def _lines(one: Damaged) -> str:
    """clips.jsonl, with the positions in clips.npy made true again."""
    folder = str(Path(one.pick("clips.jsonl")).parent)
    lines = one.read(f"{folder}/clips.jsonl").splitlines()
    at = one.draw.randrange(len(lines))
    what = one.draw.choice(["fields", "fields", "bytes", "exchanged", "twice", "empty"])
    done = what
    if what == "fields":
        lines[at], done = _fields(lines[at], one.draw)
    elif what == "bytes":
        lines[at], done = byte_damage.damage(lines[at], one.draw)
    elif what == "exchanged":
        lines[at], lines[-1] = lines[-1], lines[at]
    elif what == "twice":
        lines[at] = lines[-1]
    else:
        lines[at] = b""
    content = b"".join(line + b"\n" for line in lines)
    one.write(f"{folder}/clips.jsonl", content)
    clips = np.load(io.BytesIO(one.read(f"{folder}/clips.npy"))).copy()
    ends = np.cumsum([len(line) + 1 for line in lines])
    clips["length"] = [len(line) + 1 for line in lines]
    clips["position"] = ends - clips["length"]
    one.write(f"{folder}/clips.npy", array_damage.npy(clips))
    return f"clips.jsonl: {done}"


def _arrays(one: Damaged) -> str:
    """golden.npz or dictionary.npz: other values, shapes, types, names, and a small file of many bytes."""
    name = one.pick(".npz")
    content = one.read(name)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _WORKABLE:
            # A bomb of an earlier step: to change it here would be this process's memory, not earmark's.
            return f"{name}: as it is"
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    key = one.draw.choice(list(arrays))
    array = arrays[key].copy()
    what = one.draw.choice(["values", "values", "gone", "kind", "shape", "name", "bomb", "objects", "scalar"])
    if what == "values":
        what = array_damage.set_values(array, one.draw)
    elif what == "kind":
        array = array.astype(one.draw.choice(["f8", "f2", "i4", "?", "U4", "c8", ">f4"]))
    elif what == "shape":
        array = one.draw.choice([array.T, array.reshape(-1), array[None], array[..., :1], array[..., :0]])
    elif what == "objects":
        array = np.array([None, {"a": 1}], dtype=object)
    elif what == "scalar":
        array = np.float32(one.draw.choice([0.0, np.nan]))
    arrays[key] = array
    if what == "gone":
        del arrays[key]
    if what == "name":
        arrays[one.draw.choice(["../out", "waveform_99", "waveform_0 ", "x" * 300, "mask_7"])] = array
    buffer = io.BytesIO(array_damage.bomb() if what == "bomb" else b"")
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        for entry, value in arrays.items():
            archive.writestr(f"{entry}.npy", array_damage.npy(value))
    one.write(name, buffer.getvalue())
    return f"{name}: {key} {what}"


# Each with its weight in the draw.
_KINDS: dict[str, tuple[Callable[[Damaged], str], float]] = {
    "manifest": (lambda one: one.change(MANIFEST, _fields), 5.0),
    "manifest bytes": (lambda one: one.change(MANIFEST, byte_damage.damage), 0.5),
    "unlisted": (_unlisted, 1.5),
    "bytes": (lambda one: one.change(one.pick(), byte_damage.damage), 3.0),
    "exchanged": (_exchanged, 0.7),
    "special": (_special, 1.5),
    "graph": (lambda one: one.change(one.pick(".onnx"), graph_damage.damage), 5.0),
    "table": (_table, 3.0),
    "search": (_search, 1.5),
    "lines": (_lines, 2.0),
    "info": (lambda one: one.change(one.pick("index_info.json"), _fields), 2.5),
    "arrays": (_arrays, 1.2),
}
