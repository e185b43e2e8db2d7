"""What is computed for a request, in a thread: a question and an upload become a record, as JSON."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from operator import itemgetter
from typing import Any, NamedTuple, cast

import msgspec

from ...errors import AudioError, EarmarkError, MethodError, as_earmark_error
from ...printable import printable
from ...runtime.audio.decoding import FileSource
from ...runtime.audio.source import BoundedSource
from ...runtime.detections.detection import Detection
from ...runtime.detections.recent import Stretch
from ...runtime.detections.settings import DetectOptions, settled
from ...runtime.document import Kind, Origin, ResultDict, error_dict, failure_record
from ...runtime.explainer import Explainer, engine_of
from ...runtime.explaining.request import ExplainOptions, request_of
from ...runtime.inference.deadline import Cancel, Deadline
from ...runtime.report.items import Item, Row
from ...runtime.results.result import Result
from .questions import DetectQuestion, ExplainQuestion
from .refusals import ErrorAnswer, Refused, status_of
from .settings import ANSWER_BYTES, NAME_LENGTH, PAGE_VALUES, WINDOW_SCORES, ServerSettings
from .uploads import Upload


class Answer(NamedTuple):
    """What goes back: a status, JSON, and the error where there is one."""

    status: int
    body: bytes
    error: EarmarkError | None = None


class Shown(msgspec.Struct, frozen=True):
    """What the page shows of a sound."""

    row: Row
    item: Item


class _Rows:
    """Detections as JSON, as soon as they have ended: their explanations hold sound."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, str, msgspec.Raw]] = []
        self._size = 0

    @property
    def full(self) -> bool:
        """Whether an answer holds no more."""
        return self._size >= ANSWER_BYTES

    def take(self, detection: Detection, _: Stretch) -> None:
        """Add one."""
        text = msgspec.json.encode(detection.to_dict())
        self._size += len(text)
        self.rows.append((detection.start_s, detection.label, msgspec.Raw(text)))

    def sorted(self) -> list[msgspec.Raw]:
        """All of them, in the order of their begin."""
        return [text for _, _, text in sorted(self.rows, key=itemgetter(0, 1))]


# Takes the upload, and whether to stop; gives the record.
Task = Callable[[BoundedSource, str, Cancel], Any]


class UploadAnswers:
    """Explains and searches uploads with one explainer, which threads share."""

    def __init__(self, explainer: Explainer, settings: ServerSettings) -> None:
        self._explainer, self._settings = explainer, settings
        self._engine = engine_of(explainer)
        self.window_s = self._engine.manifest.window.seconds

    def explain(self, question: ExplainQuestion) -> Prepared:
        """How to explain a sound. Raises EarmarkError for what cannot be asked."""

        def record(result: Result) -> ResultDict:
            if question.windows:
                _check_windows(len(result.windows), min(question.top, len(result.predictions)))
            return result.to_dict(question.top, windows=question.windows)

        return self._explained(question, record, self._settings.max_values)

    def show(self, question: ExplainQuestion) -> Prepared:
        """How to explain a sound for the page. Raises EarmarkError for what cannot be asked."""

        def shown(result: Result) -> Shown:
            from ...runtime.report.gather import item_of

            file = printable(result.input)
            row = Row("", file, file, printable(result.target), result.score, 0.0, result.duration_s)
            return Shown(row, item_of(result))

        return self._explained(question, shown, min(PAGE_VALUES, self._settings.max_values))

    def _explained(
        self, question: ExplainQuestion, answer: Callable[[Result], Any], most_values: int
    ) -> Prepared:
        how, target = self._how(question), question.target
        request = request_of(self._engine, [] if target is None else [target], how)

        def task(source: BoundedSource, name: str, cancel: Cancel) -> Any:
            how["cancel"] = cancel
            return answer(self._explainer.explain(source, name=name, target=target, **how))

        origin = request.origin(self._engine)
        return Prepared("result", question.name, origin, task, self._settings, most_values)

    def detect(self, question: DetectQuestion) -> Prepared:
        """How to search a sound. Raises EarmarkError for what cannot be asked."""
        how = self._how(question)
        if how["methods"] is None:
            how["methods"] = [name for name in ("mask",) if name in self._explainer.methods]
        named = {name: getattr(question, name) for name in DetectOptions.__annotations__}
        counts = cast("DetectOptions", named)
        detecting, request = settled(self._engine, counts, how)
        origin = detecting.origin(self._engine, request)

        def record(source: BoundedSource, name: str, cancel: Cancel) -> Any:
            rows = _Rows()
            how["cancel"] = lambda: cancel() or rows.full
            found = self._explainer.detect(source, name=name, on_detection=rows.take, **counts, **how)
            if rows.full:
                line = (
                    f"only the first {len(rows.rows)} detections are here: give a higher min_score, or labels"
                )
                found = replace(found, warnings=(*found.warnings, line))
            return {**found.to_dict(), "detections": rows.sorted()}

        settings = self._settings
        return Prepared("detections", question.name, origin, record, settings, settings.max_values)

    def _how(self, question: ExplainQuestion | DetectQuestion) -> ExplainOptions:
        return question.how(self._settings.timeout_s, self.window_s)


class Prepared(msgspec.Struct, frozen=True):
    """A question that can be answered, as soon as there is a sound.

    kind: of its record; origin: what is asked, for the record of a failure
    name: what the sound is called; None: as its upload
    task: what is done; most_values: samples times channels that the sound may hold
    """

    kind: Kind
    name: str | None
    origin: Origin
    task: Task
    settings: ServerSettings
    most_values: int

    def answer(self, upload: Upload, cancel: Cancel) -> Answer:
        """A record, or where the sound is none its record with an error, or an error; it never raises."""
        name = (self.name or upload.name)[:NAME_LENGTH].encode(errors="replace").decode()
        bounded: BoundedSource | None = None
        try:
            if upload.size == 0:
                raise AudioError(f"{name} is empty: it has 0 bytes")
            # To look for the sound in a file is bounded, too.
            stop = Deadline(self.settings.timeout_s, cancel)
            with closing(FileSource(upload.file, name, stop)) as source:
                bounded = BoundedSource(source, self.settings.max_seconds, self.most_values)
                record = self.task(bounded, name, cancel)
            return Answer(200, msgspec.json.encode(record))
        except Exception as raised:
            error = as_earmark_error(raised)
        if bounded is not None and bounded.exceeded:
            return Answer(413, msgspec.json.encode(ErrorAnswer(Refused(413, str(error)).error)), error)
        status = status_of(error)
        if isinstance(error, AudioError):
            failed = failure_record(self.kind, printable(name), error_dict(error), self.origin)
            return Answer(status, msgspec.json.encode(failed), error)
        return Answer(status, msgspec.json.encode(ErrorAnswer(error_dict(error))), error)


def _check_windows(windows: int, labels: int) -> None:
    """Raise MethodError where an answer would hold too many scores."""
    if windows * labels > WINDOW_SCORES:
        raise MethodError(
            f"{labels} labels of {windows} windows are more than {WINDOW_SCORES} scores: give a smaller top "
            "or a larger hop_s"
        )
