"""Writes a page: a folder of files that any web server hands out, and nothing else is needed.

index.html     worker/*.js     ort/ (onnxruntime-web)
model/ (facts, graphs, prototypes)     example.* (a sound to begin with)
"""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import msgspec
import onnx

from ...errors import BundleError, SourceError
from ...printable import printable
from ...prototypes_index.atomic import put_in_place, staged
from ...prototypes_index.durability import naming, sync_tree
from ...runtime.bundle.manifest import Manifest
from ...runtime.bundle.open import Bundle
from ...runtime.report.page import check_installed, live_page
from ..graphs.files import save_graph
from .facts import KIND, GraphFiles, facts_of
from .graphs import check, graphs_of
from .onnxruntime_web import copy_runtime
from .prototypes import write_prototypes

MODEL = "model"
FACTS = "model.json"
# Parts of what answers in the browser, in order.
_SCRIPTS = ("decoding.js", "clips.js", "item.js", "browser.js")
# What the page may do besides running its own script: WebAssembly, a worker, and loading its own files.
_ALLOWED = {"script-src": "'self' 'wasm-unsafe-eval'", "worker-src": "'self'", "connect-src": "'self'"}


class WrittenPage(msgspec.Struct, frozen=True):
    """What was written.

    Attributes:
        differences: Of the graphs from the bundle, the largest by output.
        bytes_of: Bytes of the page's parts: "onnxruntime-web", "graphs", "prototypes", "page".

    """

    differences: dict[str, float]
    bytes_of: dict[str, int]


def write_page(
    bundle: Bundle,
    out: Path,
    *,
    force: bool = False,
    example: Path | None = None,
    package: Path | None = None,
) -> WrittenPage:
    """Write a bundle as a static page that explains sound in the browser.

    Args:
        bundle: The open bundle.
        out: The page's folder.
        force: Replace a page that is there. Nothing but a page is ever replaced.
        example: A sound that the page offers to begin with.
        package: The npm package onnxruntime-web, packed or a folder; None: npm fetches it.

    Returns:
        What was written.

    Raises:
        BundleError: Something lies at `out`.
        SourceError: The bundle's stages cannot be joined, or its index is too large for a page.
        ParityError: The page's graphs do not answer as the bundle does.
        MissingDependencyError: Jinja2 is not installed, or onnxruntime-web could not be fetched.
        WriteError: A file cannot be written.

    """
    check_folder(out, force=force)
    check_installed()
    with naming(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with staged(out) as folder:
        (folder / "ort").mkdir()
        # First what may not be there.
        copy_runtime(folder / "ort", package)
        differences = _write_model(bundle, folder, example)
        _write_script(folder, bundle.manifest)
        sync_tree(folder)
        with naming(out):
            put_in_place(folder, out)
    return WrittenPage(differences, _sizes(out))


def check_folder(out: Path, *, force: bool) -> None:
    """Raise BundleError where `out` cannot become a page."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not _is_page(out):
        raise BundleError(f"{out}: exists and is no page; choose another folder")
    if not force:
        raise BundleError(f"{out}: exists; choose another folder or replace it with --force")


def _is_page(folder: Path) -> bool:
    """Whether it is a page that was written here."""
    try:
        facts = msgspec.json.decode((folder / MODEL / FACTS).read_bytes())
    except (OSError, msgspec.MsgspecError):
        return False
    return isinstance(facts, dict) and facts.get("kind") == KIND


def _write_model(bundle: Bundle, folder: Path, example: Path | None) -> dict[str, float]:
    """Graphs, prototypes and facts; the graphs' differences from the bundle."""
    model = folder / MODEL
    model.mkdir()
    graphs = graphs_of(bundle)
    classify = _write_graph(graphs.classify, model / "classify.onnx")
    explain = None if graphs.explain is None else _write_graph(graphs.explain, model / "explain.onnx")
    differences = check(bundle, model / classify.file, None if explain is None else model / explain.file)
    prototypes = write_prototypes(bundle, model / "prototypes")
    shown = ""
    if example is not None:
        shown = f"example{example.suffix.lower()}"
        try:
            shutil.copyfile(example, folder / shown)
        except OSError as error:
            raise SourceError(f"{example}: cannot be read ({error.strerror})") from error
    facts = facts_of(bundle.manifest, classify, explain, graphs.between, prototypes, shown)
    (model / FACTS).write_bytes(msgspec.json.format(msgspec.json.encode(facts), indent=1))
    return differences


def _write_graph(model: onnx.ModelProto, path: Path) -> GraphFiles:
    data = save_graph(model, path)
    return GraphFiles(path.name, data)


def _write_script(folder: Path, manifest: Manifest) -> None:
    """The page itself: a document with its script and styles in it, and the scripts of its worker."""
    own = resources.files(__package__) / "page"
    backend = "\n".join((own / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    credit = " ".join(filter(None, (manifest.attribution, manifest.licence)))
    page = live_page(
        manifest.name, backend, footer=printable(f"Made by earmark. {credit}".strip()), allowed=_ALLOWED
    )
    _write(folder / "index.html", page.text)
    (folder / "worker").mkdir()
    for script in (own / "worker").iterdir():
        if script.name.endswith(".js"):
            _write(folder / "worker" / script.name, script.read_text(encoding="utf-8"))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _sizes(out: Path) -> dict[str, int]:
    """Bytes of the page's parts."""
    parts = {"onnxruntime-web": "ort", "prototypes": f"{MODEL}/prototypes", "graphs": MODEL, "page": "."}
    sizes: dict[str, int] = {}
    for name, folder in parts.items():
        files = [path for path in (out / folder).rglob("*") if path.is_file()]
        sizes[name] = sum(path.stat().st_size for path in files)
    sizes["page"] -= sizes["graphs"] + sizes["onnxruntime-web"]
    sizes["graphs"] -= sizes["prototypes"]
    return sizes
