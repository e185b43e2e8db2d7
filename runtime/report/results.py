"""Pages of explained sounds: `Result.to_html`, `earmark explain --html`."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path, PurePath
from typing import Protocol

import msgspec

from ...printable import printable
from ..scores.text import score_text
from . import notebook
from .gather import ExplainedSound, item_of
from .items import Row, SearchedSound, script_json
from .page import MOST_BYTES, ReportWriter

_ID_DIGITS = 16


class NamedResult(ExplainedSound, Protocol):
    """What is asked of a `Result`, with the name of its sound."""

    @property
    def input(self) -> str: ...  # noqa: D102


def write_result(result: NamedResult, path: Path | str) -> None:
    """Write the page of one result. Raises MissingDependencyError, WriteError."""
    with _page(result, MOST_BYTES) as report:
        report.write(path)


def result_frame(result: NamedResult) -> str:
    """The page of one result for a notebook. Raises MissingDependencyError."""
    with _page(result, notebook.MOST_BYTES) as report:
        return notebook.frame_of(report, f"{printable(result.target)}, explained")


def _page(result: NamedResult, most_bytes: int) -> ReportWriter:
    labels = tuple(sorted(label for label, _ in result.predictions))
    title = f"{PurePath(result.input).name}: {result.target}, {score_text(result.score, result.task)}"
    values = result.task == "regression"
    report = ReportWriter(title, "sounds", labels, values=values, most_bytes=most_bytes)
    add_part(report, part_of(result, result.input, labels))
    return report


class ResultPart(msgspec.Struct, frozen=True):
    """What a page shows of one result, which can wait in a file: `encoded` and `decoded_part`."""

    row: Row
    sound: SearchedSound
    item: msgspec.Raw

    @property
    def encoded(self) -> bytes:
        """Itself as one line of JSON."""
        return msgspec.json.encode(self) + b"\n"


def decoded_parts(lines: bytes) -> list[ResultPart]:
    """The parts of a file of lines. Raises msgspec.MsgspecError."""
    return msgspec.json.Decoder(ResultPart).decode_lines(lines)


def part_of(result: NamedResult, name: str, labels: Collection[str]) -> ResultPart:
    """A result for a page, under the name of its input; its folder is the truth where it is a label."""
    row = Row(
        id=hashlib.sha256(f"{name}\n{result.target}".encode(errors="surrogatepass")).hexdigest()[:_ID_DIGITS],
        file=printable(name),
        path=printable(name),
        label=printable(result.target),
        score=result.score,
        start_s=0.0,
        end_s=result.duration_s,
        truth=truth_of(name, labels),
    )
    sound = SearchedSound(row.file, row.path, result.duration_s, result.sample_rate)
    return ResultPart(row, sound, msgspec.Raw(script_json(item_of(result)).encode()))


def add_part(report: ReportWriter, part: ResultPart) -> None:
    """Add a result to a page."""
    report.add_sound(part.sound)
    report.add(part.row, bytes(part.item))


def add_failure(report: ReportWriter, name: str, error: str) -> None:
    """Tell on a page that a sound could not be explained."""
    report.add_sound(SearchedSound(printable(name), printable(name), 0.0, 0, error=error))


def truth_of(path: str, labels: Collection[str]) -> str:
    """The name of the folder that a sound lies in, where that is a label; else empty."""
    folder = PurePath(path).parent.name
    return printable(folder) if folder in labels else ""
