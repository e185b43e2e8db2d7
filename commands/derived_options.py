"""Options of `earmark export` for what is derived from a bundle: one graph, a model repository, a page."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .options import with_options

if TYPE_CHECKING:
    from ..runtime.bundle.open import Bundle

_Command = Callable[..., Any]
_Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Derived:
    """What is to be derived from a bundle; None: not asked for.

    fused: file of one graph; layout: kind and folder of a model repository
    web: folder of a page; example: a sound it offers; package: onnxruntime-web, packed or as a folder
    """

    fused: Path | None
    layout: tuple[Literal["triton"], Path] | None
    web: Path | None
    example: Path | None
    package: Path | None

    def __bool__(self) -> bool:
        return any(one is not None for one in (self.fused, self.layout, self.web))

    def write(self, path: Path, say: _Say, *, force: bool) -> None:
        """Write what was asked for, and say how far its answers are from those of the bundle at `path`."""
        from ..runtime.opening import open_bundle

        for step in (self._write_fused, self._write_repository, self._write_page):
            step(open_bundle(path), say, force)

    def _write_fused(self, bundle: Bundle, say: _Say, force: bool) -> None:
        if self.fused is None:
            return
        from ..export.fused.fuse import fuse

        differences = fuse(bundle, self.fused, force=force)
        say(f"{self.fused}: one graph; {_agreement(differences)}")

    def _write_repository(self, bundle: Bundle, say: _Say, force: bool) -> None:
        if self.layout is None:
            return
        from ..export.fused.triton import model_name, write_repository

        _, folder = self.layout
        differences = write_repository(bundle, folder, force=force)
        name = model_name(bundle.manifest.name)
        say(f"{folder}: a model repository with the model {name}; {_agreement(differences)}")
        say(f"  next     tritonserver --model-repository {shlex.quote(str(folder))}")

    def _write_page(self, bundle: Bundle, say: _Say, force: bool) -> None:
        if self.web is None:
            return
        from ..export.web.write import write_page
        from ..runtime.explainer import SHIPPED

        example = self.example
        if example is None and bundle.path.resolve() == SHIPPED.resolve():
            example = SHIPPED.with_name("example.flac")
        written = write_page(bundle, self.web, force=force, example=example, package=self.package)
        parts = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in written.bytes_of.items())
        say(f"{self.web}: a page of {sum(written.bytes_of.values()) / 1e6:.1f} MB ({parts})")
        say(f"  {_agreement(written.differences)}")
        say(f"  next     python -m http.server -d {shlex.quote(str(self.web))}")


def derived_options(command: _Command) -> _Command:
    """Add --fused, --layout, --web and what belongs to it; the command gets them as `derived`."""

    @wraps(command)
    def run(*arguments: Any, **given: Any) -> Any:
        names = ("fused", "layout", "web", "example", "package")
        derived = Derived(**{name: given.pop(name) for name in names})
        if derived.web is None and (derived.example is not None or derived.package is not None):
            raise click.UsageError("--example and --onnxruntime-web are for the page of --web DIR")
        return command(*arguments, derived=derived, **given)

    return with_options(run, _OPTIONS)


_OPTIONS = (
    click.option(
        "--fused",
        metavar="OUT.onnx",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Also write the bundle as one graph: waveform in; scores, mask and kept sound out.",
    ),
    click.option(
        "--layout",
        metavar="triton DIR",
        type=(click.Choice(["triton"]), click.Path(file_okay=False, path_type=Path)),
        help="Also write that graph into a model repository of NVIDIA Triton.",
    ),
    click.option(
        "--web",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="Also write the bundle as a web page that explains sound in the browser, for any static host.",
    ),
    click.option(
        "--example",
        metavar="SOUND",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A sound that the page of --web offers to begin with.",
    ),
    click.option(
        "--onnxruntime-web",
        "package",
        metavar="PATH",
        type=click.Path(exists=True, path_type=Path),
        help="The npm package for --web, packed or as a folder (by default npm fetches it).",
    ),
)


def _agreement(differences: Mapping[str, float]) -> str:
    listed = ", ".join(f"{name} {far:.1e}" for name, far in differences.items())
    return f"differs from the bundle by at most {listed}"
