"""What an explanation answers: frozen records with arrays, JSON-ready by `to_dict`, files by `save`.

Most of its lines are the reference of one public class, which is read in one place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast, get_args

from ...errors import MethodError, WriteError
from ...printable import printable
from ..audio.writing import SoundFormat
from ..document import ExplainSettings, Origin, ResultDict, head
from ..drawing.png import write_png
from ..drawing.scales import FrequencyScale
from ..methods.loading import all_methods, method_of
from ..methods.result import AudioKind, MethodResult
from ..methods.saving import write_new
from ..result_files.folder import ARRAYS
from ..scores.labels import SHOWN, checked_bounds, label_index
from ..scores.text import reaching
from ..scores.windows import WindowScores
from ..values.arrays import FloatArray
from ..values.dataframes import import_pandas
from ..values.records import ResultRecord
from .pictures import about_of, chart_of, sheet_of
from .stored import read_stored, write_stored

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..audio.sound import OpenSound
    from ..bundle.manifest import Task
    from ..methods.components.result import ComponentsResult
    from ..methods.mask.result import MaskResult
    from ..methods.prototypes.channels import Contributions
    from ..methods.prototypes.prototype import Prototype
    from ..methods.rescoring import Rescored
    from ..methods.segments.result import SegmentsResult


class SaveOptions(TypedDict, total=False):
    """What `Result.save` writes beside result.json; it says what each means."""

    arrays: bool
    audio: AudioKind
    format: SoundFormat


@dataclass(frozen=True, eq=False, repr=False)
class Result(ResultRecord):
    """The explanation of one sound for one label.

    What the methods give is an attribute, too: `mask`, `rescored`, `segments`, `components`, `prototypes` and
    `channels`, each None where its method did not run.

    Attributes:
        input: Name of the sound: its path, the name of the file object, or "the array".
        predictions: All K labels with their scores, best first; scores are probabilities, 0..1. Of a
            regression its values, in the labels' order.
        target: The label explained.
        logits: [K] of the sound, in the order of the labels; of a long one the mean over its windows.
        sample_rate: Of the input, in Hz.
        channel_count: Of the input.
        duration_s: Of the input, in seconds.
        windows: Scores of every window of the model; `len(windows)` says how many the sound has.
        device: What ran: cpu, cuda:N, tensorrt, or names of providers.
        bundle_id: Hash of the bundle that answered.
        seed: Seed of everything that was drawn at random.
        parts: Name of each method that ran -> its part.
        timings: Stage -> milliseconds.
        warnings: What the user should know before believing this, one line each.
        bundle: Name of the bundle that answered.
        partial: True where time was over or the user cancelled; a warning says what is missing.
        sound: The input, for the players of `to_html`; None where the result did not come from an explainer.
        settings: What was asked for.
        flat: Whether the input was a waveform [samples], without an axis for channels.

    Examples:
        >>> result = earmark.load(device="cpu").explain("clip.wav", rescore=True)  # doctest: +SKIP
        >>> result.predictions[0], result.mask.audio.shape  # doctest: +SKIP
        (('snare', 0.98), (48000,))

    """

    input: str
    predictions: tuple[tuple[str, float], ...]
    target: str
    logits: FloatArray
    sample_rate: int
    channel_count: int
    duration_s: float
    windows: WindowScores
    device: str
    bundle_id: str
    seed: int
    parts: Mapping[str, MethodResult] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict, compare=False)
    warnings: tuple[str, ...] = ()
    bundle: str = ""
    partial: bool = False
    sound: OpenSound | None = field(default=None, repr=False, compare=False)
    settings: ExplainSettings = field(default_factory=ExplainSettings, repr=False)
    flat: bool = False

    if TYPE_CHECKING:
        # What the methods give, for type checkers: methods of other packages are found in `parts`.
        @property
        def mask(self) -> MaskResult | None:
            """Which part of the sound the class rests on."""

        @property
        def rescored(self) -> Mapping[str, Rescored] | None:
            """What the classifier says of what the mask keeps and removes; with rescore=True only."""

        @property
        def segments(self) -> SegmentsResult | None:
            """How much each segment speaks for or against the target."""

        @property
        def components(self) -> ComponentsResult | None:
            """Of which components the evidence consists."""

        @property
        def prototypes(self) -> Mapping[str, tuple[Prototype, ...]] | None:
            """View -> the nearest prototypes, best first."""

        @property
        def channels(self) -> Contributions | None:
            """What each channel adds to the target's logit."""

    else:

        def __getattr__(self, name: str) -> Any:
            """A field of a method's part; None where the method did not run."""
            for method in all_methods():
                if name in method.gives:
                    part = self.__dict__.get("parts", {}).get(method.name)
                    return None if part is None else part.fields()[name]
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
            )

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(name for method in all_methods() for name in method.gives)]

    @property
    def ok(self) -> bool:
        """True: the sound was explained (a `Failure` says False)."""
        return True

    @property
    def task(self) -> Task:
        """Of the bundle: "single_label", "multi_label" or "regression", whose scores are values."""
        return self.windows.task

    @property
    def score(self) -> float:
        """The target's score, 0..1; of a regression its value."""
        return next(score for label, score in self.predictions if label == self.target)

    def shown(
        self, top: int | None = SHOWN, *, min_score: float = 0.0, labels: Sequence[str] | None = None
    ) -> list[tuple[str, float]]:
        """The predictions within bounds.

        Args:
            top: How many labels at the most; None: all.
            min_score: Labels with a lower score are left out, 0..1.
            labels: Only these, or either half of a `Scientific_Common`; None: any.

        Returns:
            Pairs (label, score), best first.

        Raises:
            MethodError: A bound that is none.
            LabelError: One of `labels` does not exist.

        """
        checked_bounds(top, min_score)
        known = self.windows.labels
        among = known if labels is None else {known[label_index(one, known, self.bundle)] for one in labels}
        return [one for one in self.predictions if one[0] in among and reaching(one[1], min_score)][:top]

    def to_dict(
        self,
        top: int | None = SHOWN,
        *,
        min_score: float = 0.0,
        windows: bool = False,
        labels: Sequence[str] | None = None,
    ) -> ResultDict:
        """Everything but arrays and sound in plain types; arrays appear as their summaries.

        docs/results_format.md describes it field by field.

        Args:
            top: How many labels at the most, of the sound and of each window; None: all.
            min_score: Labels with a lower score are left out, 0..1.
            windows: Whether to give the scores of every window, as "window_scores".
            labels: Only these labels, of the sound and of each window; None: any.

        Returns:
            A JSON-ready mapping; fields are added, never renamed.

        Raises:
            MethodError: A bound that is none.
            LabelError: One of `labels` does not exist.

        """
        shown = self.shown(top, min_score=min_score, labels=labels)
        origin = Origin(
            bundle=self.bundle,
            bundle_id=self.bundle_id,
            device=self.device,
            seed=self.seed,
            settings=self.settings.to_dict(),
        )
        record: ResultDict = {
            **head("result", self.input, origin),
            "predictions": [{"label": label, "score": score} for label, score in shown],
            "task": self.task,
            "label_count": len(self.predictions),
            "target": self.target,
            "target_score": self.score,
            "sample_rate": self.sample_rate,
            "channel_count": self.channel_count,
            "duration_s": round(self.duration_s, 6),
            "windows": len(self.windows),
            "window_scores": self.windows.to_dict(top, min_score=min_score, labels=labels)
            if windows
            else None,
            "partial": self.partial,
            "timings_ms": {name: round(value, 3) for name, value in self.timings.items()},
            "warnings": list(self.warnings),
        }
        # What methods give is known to them alone.
        given = {name: _plain(getattr(self, name)) for method in all_methods() for name in method.gives}
        return cast("ResultDict", {**record, **given})

    def lines(self, top: int = 3) -> Iterator[tuple[str, str]]:
        """Say in words what the methods gave.

        Args:
            top: Most lines of what there are many, 0 or more.

        Returns:
            Pairs (topic, text), one for each line; the topic is empty where it goes on.

        """
        for part in self._in_order():
            yield from part.lines(top)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Say at first sight what the methods gave: when, which band, like which training sound.

        Returns:
            Pairs (topic, text), one for each line; the topic is empty where it goes on.

        """
        for part in self._in_order():
            yield from part.summary()

    def evidence_spans(self) -> list[tuple[float, float]]:
        """Say where in time the evidence lies, by the first method that knows.

        Returns:
            Pairs (start_s, end_s) in seconds, in order; empty where no method says it.

        """
        return next((list(spans) for part in self._in_order() if (spans := part.evidence_spans())), [])

    def _in_order(self) -> Iterator[MethodResult]:
        """The parts, in the order of the table of methods."""
        return (self.parts[method.name] for method in all_methods() if method.name in self.parts)

    def save(
        self,
        folder: Path | str,
        *,
        top: int | None = SHOWN,
        min_score: float = 0.0,
        windows: bool = False,
        labels: Sequence[str] | None = None,
        arrays: bool = True,
        audio: AudioKind = "full",
        format: SoundFormat = "wav",  # noqa: A002 (says what it is)
    ) -> None:
        """Write result.json and the files of every method that ran: pictures, tables, sound.

        The folder
        becomes this result as a whole or stays as it was: what an earlier result left in it goes. Files that
        earmark did not write stay; where there are some, the files are replaced one by one.

        Args:
            folder: Where to; it is made where it does not exist.
            top: How many labels result.json holds at the most, of the sound and of each window; None: all.
            min_score: Labels with a lower score are left out, 0..1.
            windows: Whether result.json holds the scores of every window.
            labels: Only these labels in result.json; None: any.
            arrays: Whether to write arrays.npz, of which `load` makes the result again.
            audio: Which sound to write: "none"; "clips", of what is kept only where the evidence lies; or
                "full", all that is kept and removed. Crops of prototypes come with both.
            format: How sound is written: "flac" or "wav16" in 16 bits; or "wav" in 32-bit float, in which
                what is kept and what is removed sum to the input.

        Raises:
            MethodError: A bound that is none, another kind of audio or format, or sound is asked for that a
                loaded result does not have.
            LabelError: One of `labels` does not exist.
            WriteError: Something cannot be written, or a file of another is in the way.

        """
        from ..result_files.folder import RECORD, replacing

        record = self.to_dict(top, min_score=min_score, windows=windows, labels=labels)
        about = about_of(self, audio, format)
        for name, value, known in (("audio", audio, AudioKind), ("format", format, SoundFormat)):
            if value not in get_args(known):
                raise MethodError(f"{name} is {value!r}: give one of {', '.join(get_args(known))}")
        if not os.fspath(folder) or "\0" in os.fspath(folder):
            raise WriteError(f"{os.fspath(folder)!r} names no folder: say where the result goes")
        with replacing(Path(folder)) as target:
            for name, part in self.parts.items():
                method_of(name).save(part, target, about)
                for stem, picture in method_of(name).pictures(part, about).items():
                    write_new(target / f"{stem}.png", partial(write_png, picture=picture))
            if arrays:
                write_new(target / ARRAYS, partial(write_stored, fields=vars(self), audio=audio))
            text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
            # Bytes of a name that are no UTF-8 become what JSON escapes them with.
            content = text.encode(errors="backslashreplace")
            write_new(target / RECORD, lambda file: file.write(content))

    def to_html(self, path: Path | str) -> None:
        """Write a page that shows the explanation and plays it: one file, which needs nothing else.

        The page holds the spectrogram with the mask on it, players for the sound and its parts, and what
        every method answered. Sound is the mean of the channels, in 16 bits.

        Args:
            path: The file, an HTML page; an old one is replaced.

        Raises:
            MissingDependencyError: Jinja2 is not installed (the extra `report`).
            WriteError: The file cannot be written, or one that is no page is there.

        """
        from ..report.results import page_of

        with page_of(self) as page:
            page.write(path)

    def _repr_html_(self) -> str | None:
        """The page of `to_html` in a frame, for notebooks; None where Jinja2 is not installed."""
        from ..report.page import notebook_frame
        from ..report.results import page_of

        return notebook_frame(partial(page_of, self), f"{printable(self.target)}, explained")

    def plot(
        self,
        method: str | None = None,
        *,
        ax: Axes | None = None,
        frequency: FrequencyScale = "linear",
        title: str | None = None,
        size: tuple[float, float] | None = None,
        dpi: float | None = None,
    ) -> Axes:
        """Plot the explanation over time with matplotlib: for papers, as SVG or PDF, and for notebooks.

        It is what the method's PNG of `save` shows: the spectrogram in dB, what the mask keeps outlined
        and the rest faded; segments as bars below it or tiles on it; components as curves below it.

        Args:
            method: Whose answer is shown; None: that of the first method that has a picture over time, or
                the spectrogram alone.
            ax: Axes to draw on; strips and colour bars take their room from them. None: those of a new
                figure of pyplot.
            frequency: How frequency is laid over the height: "linear", "mel" or "log".
            title: In place of label and score.
            size: Of a new figure in inches, (width, height).
            dpi: Of a new figure, dots per inch.

        Returns:
            The axes of the spectrogram; `ax.figure.savefig("explanation.pdf")` writes them.

        Raises:
            MissingDependencyError: matplotlib is not installed (the extra `plot`).
            MethodError: The method did not run, or has no such picture.

        """
        from ..drawing.axes import Sizes, plot_chart

        return plot_chart(chart_of(self, method, title), ax, frequency, Sizes(size, dpi))

    def plot_prototypes(
        self,
        *,
        channels: bool = False,
        figure: Figure | None = None,
        frequency: FrequencyScale = "linear",
        title: str | None = None,
        size: tuple[float, float] | None = None,
        dpi: float | None = None,
    ) -> Figure:
        """Plot the nearest prototypes, each place of the sound beside the places that match it.

        Args:
            channels: Show the channels and the clips in which they are strongest instead.
            figure: A figure or a part of one to draw on; None: a new figure of pyplot.
            frequency: How frequency is laid over the height: "linear", "mel" or "log".
            title: In place of label and score.
            size: Of a new figure in inches, (width, height).
            dpi: Of a new figure, dots per inch.

        Returns:
            The figure.

        Raises:
            MissingDependencyError: matplotlib is not installed (the extra `plot`).
            MethodError: The method did not run.
            PrototypeIndexError: The sound of a prototype is gone or damaged.

        """
        from ..drawing.axes import Sizes, plot_sheet

        sheet = sheet_of(self, "channels" if channels else "prototypes", title)
        return plot_sheet(sheet, figure, frequency, Sizes(size, dpi))

    def to_dataframe(self) -> pandas.DataFrame:
        """The predictions as a table, a row for each label; `windows.to_dataframe()` has the windows.

        Returns:
            Columns input, label and score, best first.

        Raises:
            MissingDependencyError: pandas is not installed.

        """
        rows = [(self.input, label, score) for label, score in self.predictions]
        return import_pandas().DataFrame(rows, columns=["input", "label", "score"])

    @classmethod
    def load(cls, folder: Path | str) -> Result:
        """Read what `save` wrote with `arrays=True`.

        Args:
            folder: That of `save`; nothing outside of it is read.

        Returns:
            Equal to what was saved, but for its timings. Its sound is read when it is asked for, as far as
            it was saved: a FLAC is of 16 bits. Large arrays stay in the folder.

        Raises:
            DataError: There is nothing of that kind, it is damaged, or a newer earmark wrote it.

        """
        return cls(**read_stored(Path(folder)))


def _plain(value: Any) -> Any:
    """A field of a part as JSON has it."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
