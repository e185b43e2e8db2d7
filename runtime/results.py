"""What an explanation answers: frozen records with arrays, JSON-ready by `to_dict`, files by `save`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import WriteError
from .arrays import FloatArray
from .labels import SHOWN, checked_bounds
from .methods.loading import all_methods, method_of
from .methods.result import About, MethodResult
from .methods.saving import write_new
from .records import ResultRecord
from .windows import WindowScores

if TYPE_CHECKING:
    from .audio.sound import OpenSound
    from .methods.components.result import ComponentsResult
    from .methods.mask.result import MaskResult
    from .methods.prototypes.result import Contributions, Prototype
    from .methods.rescoring import Rescored
    from .methods.segments.result import SegmentsResult


@dataclass(frozen=True, eq=False, repr=False)
class Result(ResultRecord):
    """The explanation of one sound for one label.

    What the methods give is an attribute, too: `mask`, `rescored`, `segments`, `components`, `prototypes` and
    `channels`, each None where its method did not run.

    Attributes:
        input: Name of the sound: its path, the name of the file object, or "the array".
        predictions: All K labels with their scores, best first; scores are probabilities, 0..1.
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
    def score(self) -> float:
        """The target's score, 0..1."""
        return next(score for label, score in self.predictions if label == self.target)

    def to_dict(
        self, top: int | None = SHOWN, *, min_score: float = 0.0, windows: bool = False
    ) -> dict[str, Any]:
        """Everything but arrays and sound in plain types; arrays appear as their summaries.

        Args:
            top: How many labels at the most, of the sound and of each window; None: all.
            min_score: Labels with a lower score are left out, 0..1.
            windows: Whether to give the scores of every window, as "window_scores".

        Returns:
            A JSON-ready mapping; fields are added, never renamed.

        Raises:
            MethodError: A bound that is none.

        """
        checked_bounds(top, min_score)
        shown = [one for one in self.predictions[:top] if one[1] >= min_score]
        scores = {"window_scores": self.windows.to_dict(top, min_score=min_score)} if windows else {}
        return {
            "input": self.input,
            "predictions": [{"label": label, "score": score} for label, score in shown],
            "label_count": len(self.predictions),
            "target": self.target,
            "target_score": self.score,
            "sample_rate": self.sample_rate,
            "channel_count": self.channel_count,
            "duration_s": round(self.duration_s, 6),
            "windows": len(self.windows),
            **scores,
            "partial": self.partial,
            **{name: _plain(getattr(self, name)) for method in all_methods() for name in method.gives},
            "timings_ms": {name: round(value, 3) for name, value in self.timings.items()},
            "warnings": list(self.warnings),
            "device": self.device,
            "bundle": self.bundle,
            "bundle_id": self.bundle_id,
            "seed": self.seed,
        }

    def lines(self, top: int = 3) -> Iterator[tuple[str, str]]:
        """Say in words what the methods gave.

        Args:
            top: Most lines of what there are many, 0 or more.

        Returns:
            Pairs (topic, text), one for each line; the topic is empty where it goes on.

        """
        for method in all_methods():
            if method.name in self.parts:
                yield from self.parts[method.name].lines(top)

    def save(
        self,
        folder: Path | str,
        *,
        top: int | None = SHOWN,
        min_score: float = 0.0,
        windows: bool = False,
    ) -> None:
        """Write result.json and the files of every method that ran: pictures, tables, sound.

        WAV is in 32-bit float, so that what is kept and what is removed sum to the input. The folder
        becomes this result as a whole or stays as it was: what an earlier result left in it goes. Files that
        earmark did not write stay; where there are some, the files are replaced one by one.

        Args:
            folder: Where to; it is made where it does not exist.
            top: How many labels result.json holds at the most, of the sound and of each window; None: all.
            min_score: Labels with a lower score are left out, 0..1.
            windows: Whether result.json holds the scores of every window.

        Raises:
            MethodError: A bound that is none.
            WriteError: Something cannot be written, or a file of another is in the way.

        """
        from .result_folder import RECORD, replacing

        record = self.to_dict(top, min_score=min_score, windows=windows)
        title = f"{self.target}  {self.score:.1%}"
        about = About(title, self.sample_rate, self.duration_s)
        if not os.fspath(folder) or "\0" in os.fspath(folder):
            raise WriteError(f"{os.fspath(folder)!r} names no folder: say where the result goes")
        with replacing(Path(folder)) as target:
            for name, part in self.parts.items():
                method_of(name).save(part, target, about)
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
            WriteError: The file cannot be written.

        """
        from .report.results import write_result

        write_result(self, path)


def _plain(value: Any) -> Any:
    """A field of a part as JSON has it."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
