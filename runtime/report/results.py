"""Pages of explained sounds: `Result.to_html`, `earmark explain --html`."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import PurePath

import msgspec

from ...printable import printable
from ..scores.text import score_text
from .gather import ExplainedSound, item_of
from .items import Row, SearchedSound, script_json
from .page import MOST_BYTES, ReportWriter

_ID_DIGITS = 16


def page_of(result: ExplainedSound, most_bytes: int = MOST_BYTES) -> ReportWriter:
    """The page of one result, to be closed. Raises MissingDependencyError."""
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


def part_of(result: ExplainedSound, name: str, labels: Collection[str]) -> ResultPart:
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
