"""The page of a run of `earmark explain`; its parts wait in the output folder, for a run that goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ..prototypes_index.atomic import write_whole
from ..prototypes_index.durability import naming
from .detection_page import PARTS

if TYPE_CHECKING:
    from ..runtime.report.results import ResultPart
    from ..runtime.results.result import Result
    from .long_run.ledger import Entry

_DIGITS = 16


class ExplanationPage:
    """Collects what is explained and writes the page at the end; to be used in a with statement.

    Args:
        names: Of the sounds.
        labels: Of the model.
        values: Whether its scores are values of a regression.
        output: Below it parts are kept; None: the run cannot go on another time.

    Raises:
        MissingDependencyError: Jinja2 is not installed.

    """

    def __init__(
        self, names: Sequence[str], labels: Sequence[str], *, values: bool, output: Path | None
    ) -> None:
        from ..runtime.report.page import ReportWriter

        title = Path(names[0]).name if len(names) == 1 else f"{len(names)} sounds"
        self._report = ReportWriter(f"{title}, explained", "sounds", tuple(labels), values=values)
        self._labels, self._parts = labels, None if output is None else output / PARTS

    def __enter__(self) -> Self:
        self._report.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._report.__exit__(*raised)

    def add(self, name: str, results: Sequence[Result]) -> None:
        """Show the results of a sound, and keep what is shown of them. Raises WriteError."""
        from ..runtime.report.results import part_of

        parts = [part_of(result, name, self._labels) for result in results]
        if self._parts is not None:
            with naming(self._parts):
                self._parts.mkdir(parents=True, exist_ok=True)
            write_whole(self._file(self._parts, name), b"".join(part.encoded for part in parts))
        self._show(parts)

    def add_failure(self, name: str, error: str) -> None:
        """Show that a sound could not be explained."""
        from ..runtime.report.results import add_failure

        add_failure(self._report, name, error)

    def again(self, name: str, entry: Entry) -> bool:
        """Show what an earlier run said of a sound; False where it kept nothing for a page."""
        if entry.status != "done":
            self.add_failure(name, entry.error)
            return True
        import msgspec

        from ..runtime.report.results import decoded_parts

        parts: list[ResultPart] = []
        if self._parts is not None:
            with suppress(OSError, msgspec.MsgspecError):
                parts = decoded_parts(self._file(self._parts, name).read_bytes())
        self._show(parts)
        return bool(parts)

    def write(self, path: Path) -> None:
        """Write the page. Raises WriteError."""
        self._report.write(path)

    def _show(self, parts: Sequence[ResultPart]) -> None:
        from ..runtime.report.results import add_part

        for part in parts:
            add_part(self._report, part)

    def _file(self, folder: Path, name: str) -> Path:
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:_DIGITS]
        return folder / f"{digest}.jsonl"
