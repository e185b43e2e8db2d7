"""`Detections`: what was detected in a recording, the scores of its windows, saving and loading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ...errors import DataError
from ...printable import first_line, printable
from ...times import span_text
from ..document import DetectionsDict, Origin, head
from ..result_files.folder import ARRAYS
from ..values.dataframes import import_pandas
from ..values.records import ResultRecord
from .folder import explanation_folder, read_folder, write_folder
from .settings import DetectionSettings

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

    from ..results.result import SaveOptions
    from ..scores.windows import WindowScores
from .detection import Detection


@dataclass(frozen=True, eq=False, repr=False)
class Detections(ResultRecord):
    """All detections of one recording; iterates over them in the order of their begin.

    Attributes:
        input: Name of the recording: its path, the name of the file object, or "the array".
        items: The detections.
        windows: The scores of all windows for the labels that were looked for, after calibration.
        settings: By which they were detected.
        duration_s: Of the recording, in seconds.
        sample_rate: Of the recording, in Hz.
        channel_count: Of the recording.
        device: What ran.
        bundle: Name of the bundle that answered.
        bundle_id: Hash of it.
        seed: Seed of everything that was drawn at random.
        partial: Whether it was stopped before the end; a warning says where.
        recorded_at: When the recording began, where somebody knows it.
        timings: Stage -> milliseconds.
        warnings: What to know of the recording, one line each.

    Examples:
        >>> detections = earmark.load(device="cpu").detect("field.wav", min_score=0.7)  # doctest: +SKIP
        >>> for detection in detections:  # doctest: +SKIP
        ...     print(detection.label, detection.start_s, detection.end_s, detection.score)
        bell 62.5 63.75 0.98

    """

    input: str
    items: tuple[Detection, ...]
    windows: WindowScores
    settings: DetectionSettings
    duration_s: float
    sample_rate: int
    channel_count: int
    device: str
    bundle: str
    bundle_id: str
    seed: int
    partial: bool = False
    recorded_at: datetime | None = None
    timings: Mapping[str, float] = field(default_factory=dict, compare=False)
    warnings: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Detection]:
        return iter(self.items)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.items)

    def __getitem__(self, index: int) -> Detection:
        return self.items[index]

    def __bool__(self) -> bool:
        """True, also where nothing was detected: there is an answer."""
        return True

    @property
    def ok(self) -> bool:
        """True: the recording was classified (a `Failure` says False)."""
        return True

    @property
    def summary(self) -> str:
        """How many of which label, on one line; where there are none, how near the best window came."""
        if self.items:
            counts: dict[str, int] = {}
            for detection in self.items:
                counts[detection.label] = counts.get(detection.label, 0) + 1
            listed = ", ".join(f"{label} {count}" for label, count in sorted(counts.items()))
            noun = "detection" if len(self.items) == 1 else "detections"
            return f"{len(self.items)} {noun}: {listed}"
        scores = self.windows.scores
        if not scores.size:
            return "nothing detected: no window was classified"
        at, label = divmod(int(scores.argmax()), scores.shape[1])
        return (
            f"nothing detected: the highest score is {scores[at, label]:.3f}, of "
            f"{self.windows.labels[label]!r} at {span_text(self.windows.start_s[at], self.windows.end_s[at])}"
        )

    def to_dict(self) -> DetectionsDict:
        """Everything but arrays and sound in plain types; of the windows how many there are.

        docs/results_format.md describes it field by field.

        Returns:
            A JSON-ready mapping; fields are added, never renamed.

        """
        origin = Origin(
            bundle=self.bundle,
            bundle_id=self.bundle_id,
            device=self.device,
            seed=self.seed,
            settings=self.settings.to_dict(),
        )
        return {
            **head("detections", self.input, origin),
            "detections": [detection.to_dict() for detection in self.items],
            "summary": self.summary,
            "windows": len(self.windows),
            "partial": self.partial,
            "duration_s": self.duration_s,
            "sample_rate": self.sample_rate,
            "channel_count": self.channel_count,
            "recorded_at": None if self.recorded_at is None else self.recorded_at.isoformat(),
            "timings_ms": {name: round(value, 3) for name, value in self.timings.items()},
            "warnings": list(self.warnings),
        }

    def save(self, folder: Path | str, **how: Unpack[SaveOptions]) -> None:
        """Write detections.json, windows.npz (the scores of all windows), and what explanations save.

        The folder becomes this as a whole or stays as it was. An earlier answer in it is replaced.

        Args:
            folder: Where to; it is made where it does not exist.
            **how: `arrays`, `audio` and `format` of `Result.save`, for the explanations.

        Raises:
            MethodError: There is no such kind of audio or format.
            WriteError: Something cannot be written, or the folder holds files that earmark did not write.

        """
        place = Path(folder)
        explained = {
            explanation_folder(place, number, one.id).name: one.explanation
            for number, one in enumerate(self.items)
            if one.explanation is not None
        }
        write_folder(place, self.to_dict(), self.windows, explained, how)

    def to_html(self, path: Path | str) -> None:
        """Write a page that lists the detections, shows and plays each, and takes decisions on them.

        One file, which needs nothing else. Detections without an explanation are cut from the recording,
        where that is a file. Where sound and pictures of all would make the page too large, the last ones
        have none.

        Args:
            path: The file, an HTML page; an old one is replaced.

        Raises:
            MissingDependencyError: Jinja2 is not installed (the extra `report`).
            WriteError: The file cannot be written, or one that is no page is there.

        """
        from .reporting import page_of

        with page_of(self) as page:
            page.write(path)

    def _repr_html_(self) -> str | None:
        """The page of `to_html` in a frame, for notebooks; None where Jinja2 is not installed."""
        from ..report.page import notebook_frame
        from .reporting import page_of

        return notebook_frame(partial(page_of, self), printable(self.summary))

    def plot(
        self,
        *,
        ax: Axes | None = None,
        labels: Sequence[str] | None = None,
        title: str | None = None,
        size: tuple[float, float] | None = None,
        dpi: float | None = None,
    ) -> Axes:
        """Plot the scores of labels over the recording with matplotlib, and outline the detections.

        Args:
            ax: Axes to draw on; None: those of a new figure of pyplot.
            labels: A row for each of these; None: for those that were detected most often, and where none
                was for those with the highest scores; 12 at the most.
            title: In place of how many were detected.
            size: Of a new figure in inches, (width, height).
            dpi: Of a new figure, dots per inch.

        Returns:
            The axes.

        Raises:
            MissingDependencyError: matplotlib is not installed (the extra `plot`).
            LabelError: One of `labels` was not looked for.

        """
        from ..drawing.axes import Sizes, plot_scores
        from .plotting import scores_of

        return plot_scores(scores_of(self, labels, title), ax, Sizes(size, dpi))

    @classmethod
    def load(cls, folder: Path | str) -> Detections:
        """Read what `save` wrote.

        Args:
            folder: That of `save`.

        Returns:
            Equal to what was saved, but for timings. Explanations that were saved without arrays are None.

        Raises:
            DataError: There is nothing of that kind, it is damaged, or a newer earmark wrote it.

        """
        place = Path(folder)
        document, windows = read_folder(place)
        try:
            return cls._of(place, document, windows)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{folder}: its detections.json lacks {first_line(error)}") from error

    @classmethod
    def _of(cls, folder: Path, document: DetectionsDict, windows: WindowScores) -> Detections:
        """What `to_dict` gave, and the explanations in the folder."""
        from ..results.result import Result

        recorded = document["recorded_at"]
        items = []
        for number, one in enumerate(document["detections"]):
            place = explanation_folder(folder, number, one["id"])
            explained = Result.load(place) if (place / ARRAYS).is_file() else None
            items.append(replace(Detection.of(one), explanation=explained))
        # Of a record with an error these are None.
        if None in (document["duration_s"], document["sample_rate"], document["channel_count"]):
            raise ValueError("an answer: it is the record of an error")
        values: dict[str, Any] = {
            **document,
            "items": tuple(items),
            "windows": windows,
            "settings": DetectionSettings.from_dict(document["settings"]),
            "recorded_at": None if recorded is None else datetime.fromisoformat(recorded),
            "timings": document["timings_ms"],
            "warnings": tuple(document["warnings"]),
        }
        return cls(**{one.name: values[one.name] for one in fields(cls)})

    def to_dataframe(self) -> pandas.DataFrame:
        """The detections as a table, a row for each.

        Returns:
            Columns input, id, label, score, mean_score, start_s, end_s, low_hz and high_hz.

        Raises:
            MissingDependencyError: pandas is not installed.

        """
        columns = ("id", "label", "score", "mean_score", "start_s", "end_s", "low_hz", "high_hz")
        rows = [(self.input, *(getattr(one, name) for name in columns)) for one in self.items]
        return import_pandas().DataFrame(rows, columns=["input", *columns])
