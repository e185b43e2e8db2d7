"""Folders given in each other's place: a bundle for sound, a run for a bundle; said with the cure."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ..errors import SourceError

_RUN_FILES = ("classifier.safetensors", "decoder.safetensors", "interpreter.safetensors")


def is_bundle(path: str | Path) -> bool:
    """Whether `path` is a folder that holds a manifest."""
    return os.path.isfile(os.path.join(path, "bundle.json"))  # noqa: PTH113, PTH118 (never raise)


def is_run(path: str | Path) -> bool:
    """Whether `path` is a run directory of earmark train."""
    return any(os.path.isfile(os.path.join(path, name)) for name in _RUN_FILES)  # noqa: PTH113, PTH118


def no_sound(argument: str) -> str | None:
    """What was given in the place of a sound, and what to do; None where it may be sound."""
    if is_bundle(argument):
        return f"{argument} is a bundle, not sound: name it by -b {argument}"
    if os.path.basename(argument) == "bundle.json" and os.path.isfile(argument):  # noqa: PTH113, PTH119
        folder = os.path.dirname(argument) or "."  # noqa: PTH120
        return f"{argument} is the manifest of a bundle, not sound: name the bundle by -b {folder}"
    if is_run(argument):
        return (
            f"{argument} is a run directory, not sound: earmark export {argument} -o BUNDLE, then -b BUNDLE"
        )
    if argument.lower().endswith(".onnx"):
        return f"{argument} is a model, not sound: earmark export {argument} -o BUNDLE, name that by -b"
    return None


class BundleFolder(click.Path):
    """The folder of a bundle. What is plainly something else is wrong usage."""

    def __init__(self) -> None:
        super().__init__(exists=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path; fails for a file and for a run directory."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if os.path.isfile(path):  # noqa: PTH113
            self.fail(f"{path} is a file: give the folder of a bundle, which holds bundle.json", param, ctx)
        if is_run(path) and not is_bundle(path):
            self.fail(f"{path} is a run directory: earmark export {path} -o BUNDLE first", param, ctx)
        return path


class BundleOrGraph(BundleFolder):
    """The folder of a bundle, or an .onnx file that may become one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path; fails for other files and for a run directory.

        Models in other formats are told the way that leads out.
        """
        path = os.fsdecode(value)
        if path.lower().endswith(".onnx") and os.path.isfile(path):  # noqa: PTH113
            return Path(path)
        if not is_bundle(path):
            from ..export.sources.foreign import refuse_foreign

            try:
                refuse_foreign(path)
            except SourceError as error:
                self.fail(str(error), param, ctx)
        return super().convert(value, param, ctx)


class OutputFolder(click.Path):
    """A folder to write to: a Path, or a URL as it stands."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """The path or the URL; fails for a file."""
        if isinstance(value, str) and "://" in value:
            return value
        return Path(os.fsdecode(super().convert(value, param, ctx)))


class DataFolder(click.Path):
    """A folder with a folder of sounds for each class. What is plainly something else is wrong usage."""

    def __init__(self) -> None:
        super().__init__(exists=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path; fails for a file, a bundle and a run directory."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        want = "DATA is a folder with a folder of sounds for each class"
        if os.path.isfile(path):  # noqa: PTH113
            self.fail(f"{path} is a file: {want}", param, ctx)
        for found, what in ((is_bundle, "a bundle"), (is_run, "a run directory")):
            if found(path):
                self.fail(f"{path} is {what}: {want}, and comes after it", param, ctx)
        return path
