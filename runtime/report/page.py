"""Writes pages: reports, and the page that explains live.

A report is one HTML file with its script, styles, sound and pictures, that asks nobody for anything. Items
are written as they come into a temporary file, and from there into the page, so that memory does not grow
with their number. The content security policy allows the page's own script and styles by their hashes and
nothing else, so that no name or label can run or load anything, whatever is in it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tempfile
from collections.abc import Callable, Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, Self

import msgspec

from ...errors import MissingDependencyError, WriteError
from ...printable import printable
from ...prototypes_index.atomic import open_whole
from ...prototypes_index.durability import naming
from .items import Index, Item, Row, SearchedSound, ShownView, script_json

if TYPE_CHECKING:
    from jinja2 import Template

# Parts of the scripts, in order: what shows an item, and what a page does with items.
_ITEM = ("audio.js", "picture.js", "player.js", "parts.js")
_REPORT = (*_ITEM, "decisions.js", "index.js", "shell.js", "main.js")
_LIVE = (*_ITEM, "shell.js", "live.js")
# Of sound and pictures in one page: browsers open it within two seconds.
MOST_BYTES = 48 << 20
# The same within a notebook, which keeps all of its outputs in one file; pixels of the frame there.
_FRAME_BYTES, _FRAME_HEIGHT = 4 << 20, 760
# How pages are called; what is called otherwise tells by its begin what it is, behind space at most.
_SUFFIXES, _LONGEST_BEGIN = {".html", ".htm"}, 512


def check_replaceable(path: Path) -> None:
    """Raise WriteError where a file lies at `path` that is no page; it may be a recording."""
    if path.suffix.lower() in _SUFFIXES or not path.is_file():
        return
    with naming(path), path.open("rb") as file:
        begin = file.read(_LONGEST_BEGIN).strip()
    if begin and not begin.lower().startswith((b"<!doctype html", b"<html")):
        raise WriteError(f"{path}: is there already and is no page; choose another file")


class LivePage(NamedTuple):
    """A page and its content security policy, which its server sends along."""

    text: str
    policy: str


class ReportWriter:
    """Collects the items of a page and writes it at the end; to be closed, or used in a with statement.

    kind: what its rows are; labels: of the model; values: whether its scores are values of a regression
    most_bytes: of the items together; beyond it rows stand without sound and pictures, but for the first,
        which loses its sound alone
    Raises MissingDependencyError where Jinja2 is not installed.
    """

    def __init__(
        self,
        title: str,
        kind: Literal["sounds", "detections"],
        labels: tuple[str, ...],
        *,
        values: bool = False,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        check_installed()
        self._title, self._kind, self._labels, self._left = title, kind, labels, most_bytes
        self._values = values
        self._rows: list[Row] = []
        self._sounds: list[SearchedSound] = []
        self._bare = 0
        self._spool = tempfile.TemporaryFile(prefix="earmark-report-")  # noqa: SIM115 (closed by close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    @property
    def full(self) -> bool:
        """Whether rows to come stand without sound and pictures."""
        return self._bare > 0

    def add_sound(self, sound: SearchedSound) -> None:
        """A sound that the page is about."""
        self._sounds.append(sound)

    def add(self, row: Row, item: Item | bytes) -> None:
        """A row and its item, which may be JSON as `script_json` gives it; while there is room for it."""
        text = script_json(item).encode() if isinstance(item, Item) else item
        if self.full or len(text) > self._left:
            self._bare += bool(self._rows)
            text = script_json(_bare(item) if self._rows else _silent(item)).encode()
        self._left -= len(text)
        self._rows.append(row)
        self._spool.write(text + b"\n")

    def write(self, path: Path | str) -> None:
        """Write the page. Raises WriteError, also where a file that is no page would be lost."""
        check_replaceable(Path(path))
        with open_whole(Path(path)) as file:
            self.write_to(file)

    def write_to(self, file: BinaryIO) -> None:
        """Write the page into a file that is open."""
        notes = []
        if self._bare:
            notes.append(
                f"{self._bare} of {len(self._rows)} have no sound and no picture here: "
                "the page would be too large."
            )
        index = Index(
            kind=self._kind,
            key=hashlib.sha256("\n".join(row.id for row in self._rows).encode()).hexdigest()[:16],
            labels=[printable(label) for label in self._labels],
            rows=self._rows,
            sounds=self._sounds,
            notes=notes,
            values=self._values,
        )
        script, style = _file(*_REPORT), _file("report.css")
        self._spool.seek(0)
        stream = _template("report.html").stream(
            title=printable(self._title),
            policy=_policy(script, style),
            script=script,
            style=style,
            items=(line.decode().rstrip("\n") for line in self._spool),
            index=script_json(index),
        )
        for text in stream:
            file.write(text.encode())


def notebook_frame(page_of: Callable[[int], ReportWriter], title: str) -> str | None:
    """A page, of at most so many bytes, as an element that shows it apart from all else in a notebook.

    An iframe whose page is its own attribute, escaped; its scripts run without the notebook's origin, so that
    they reach nothing in it. None where Jinja2 is not installed.
    """
    file = io.BytesIO()
    try:
        with page_of(_FRAME_BYTES) as report:
            report.write_to(file)
    except MissingDependencyError:
        return None
    return (
        f'<iframe title="{escape(title)}" srcdoc="{escape(file.getvalue().decode())}" '
        'sandbox="allow-scripts allow-downloads" allow="autoplay" loading="lazy" width="100%" '
        f'height="{_FRAME_HEIGHT}" style="border:0"></iframe>'
    )


def check_installed() -> None:
    """Raise MissingDependencyError where a page cannot be made."""
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("an HTML report needs Jinja2: pip install 'earmark[report]'") from error


def _bare(item: Item | bytes) -> Item:
    """The item without what takes room."""
    return msgspec.structs.replace(_silent(item), picture=None, views=[])


def _silent(item: Item | bytes) -> Item:
    """The item without sound."""
    whole = msgspec.json.decode(item, type=Item) if isinstance(item, bytes) else item
    matches = [[msgspec.structs.replace(one, stretch=None) for one in view.matches] for view in whole.views]
    return msgspec.structs.replace(
        whole,
        sounds=None,
        tracks=[],
        clips=[],
        views=[ShownView(view.name, mine) for view, mine in zip(whole.views, matches, strict=True)],
        without="the page would be too large with its sound",
    )


def live_page(
    title: str,
    backend: str,
    *,
    footer: str,
    allowed: Mapping[str, str] | None = None,
) -> LivePage:
    """A page on which sounds are dropped, chosen or recorded, and explained.

    backend: the script that answers, which calls `startLive` of live.js; footer: a sentence at its end
    allowed: directive of the content security policy -> what it allows beyond the page's own script, styles
    Raises MissingDependencyError where Jinja2 is not installed.
    """
    check_installed()
    script, style = "\n".join((_file(*_LIVE), backend)), _file("report.css")
    policy = _policy(script, style, allowed or {})
    text = _template("live.html").render(
        title=printable(title), policy=policy, script=script, style=style, footer=footer
    )
    return LivePage(text, policy)


def _template(name: str) -> Template:
    """A template; what it is given is escaped, but for what this module has escaped itself."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("earmark.runtime.report", "page")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template(name)


def _file(*names: str) -> str:
    """Files of the page, one after the other."""
    folder = resources.files(__package__) / "page"
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)


def _policy(script: str, style: str, allowed: Mapping[str, str] | None = None) -> str:
    """The content security policy of a page; allowed: directive -> what it allows beyond that."""
    directives = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    for name, more in (allowed or {}).items():
        directives[name] = f"{directives.get(name, '')} {more}".strip()
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
