"""One call for every table: anybody's method beside a bundle's own, by the protocols of the papers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import MethodError
from ..runtime.explainer import Explainer
from ..runtime.methods.segments.settings import SegmentSettings
from .data.clips import Tell, ignore, listed_clips
from .data.folder import list_sounds
from .faithfulness.evaluate import evaluate_masks
from .faithfulness.maskers import masker_by
from .localisation.evaluate import evaluate_events
from .localisation.localisers import by_function
from .presets import PRESETS, TABLES, Preset, Table, preset_of
from .prototypes.evaluate import evaluate_prototypes
from .questions import Explaining, name_of
from .report import Table as Figures
from .settings import ClipSettings, LocalisationSettings, MaskSettings, PrototypeSettings

_SETTINGS = {"masks": MaskSettings, "events": LocalisationSettings, "prototypes": PrototypeSettings}


@dataclass(frozen=True)
class Benchmark(Figures):
    """What `evaluate` returns: the table, a row a method (of prototypes: or view), as text, CSV or Markdown.

    Attributes:
        document: All of the report, with all settings, JSON-ready.

    """

    document: dict[str, Any]


def evaluate(
    table: Table,
    explainer: Explainer,
    data: str | Path,
    methods: Sequence[str | Explaining] = (),
    *,
    preset: str | None = None,
    tell: Tell = ignore,
    quiet: bool = True,
    **settings: Any,
) -> Benchmark:
    """Judge explanation methods of a bundle's model, anybody's beside its own.

    Args:
        table: "masks" (does the part kept convince, the part removed not), "events" (does it point at the
            true event), or "prototypes" (do the nearest training sounds bear the label).
        explainer: The bundle, opened.
        data: Folder of class folders of sound; for events with events.csv in it.
        methods: Rows: names of the bundle's own, functions (see `evaluation.questions`), or functions by
            "module:function"; none: what the bundle has.
        preset: A paper's protocol, see `evaluation.presets`; `settings` go before it.
        tell: Takes what a person should know, line by line, as soon as it is known.
        quiet: Show no progress bar.
        **settings: Of the table by name, see `MaskSettings`, `LocalisationSettings`, `PrototypeSettings`; for
            events also those of `SegmentSettings` in a dict `segments`.

    Returns:
        The table, and a document with all settings.

    Raises:
        MethodError: There is no such table, method, preset or setting.
        DataError: Nothing can be judged.

    Examples:
        >>> def loud(question):  # an importance for each segment
        ...     pieces = np.array_split(question.waveform, len(question.edges) - 1)
        ...     return [float(np.square(piece).mean()) for piece in pieces]
        >>> report = evaluate("events", earmark.load("bundle"), "data", ["segments", loud])
        >>> print(report.text(intervals=True))

    """
    if table not in TABLES:
        raise MethodError(f"there is no table {table!r}; there are {', '.join(TABLES)}")
    paper = None if preset is None else preset_of(preset, table)
    segments = settings.pop("segments", {})
    functions: dict[str, Callable[..., Any]] = {
        name_of(one): one for one in methods if not isinstance(one, str)
    }
    names = tuple(one if isinstance(one, str) else name_of(one) for one in methods)
    how = settings_of(table, paper, {**settings, **({"methods": names} if names else {})})
    sounds = listed_clips(data, how) if isinstance(how, ClipSettings) else list_sounds(data, fewest_classes=1)
    told: dict[str, Any] = {"tell": tell, "quiet": quiet}
    report: Any
    if isinstance(how, MaskSettings):
        maskers = [masker_by(name, one) for name, one in functions.items()]
        report = evaluate_masks(explainer, sounds, how, more=maskers, **told)
    elif isinstance(how, LocalisationSettings):
        located = {name: partial(by_function, name=name, function=one) for name, one in functions.items()}
        asked = SegmentSettings.of({**(paper.segments if paper else {}), **segments})
        report = evaluate_events(explainer, sounds, how, segments=asked, more=located, **told)
    else:
        report = evaluate_prototypes(explainer, sounds, how, more=functions, **told)
    figures: Figures = report.prototypes if table == "prototypes" else report.table
    return Benchmark(figures.columns, figures.rows, document_of(report.to_dict(), preset))


def settings_of(
    table: Table, preset: Preset | None, given: dict[str, Any]
) -> MaskSettings | LocalisationSettings | PrototypeSettings:
    """The settings of a table: what is given, else a preset's, else the defaults. Raises MethodError."""
    kind: Callable[..., Any] = _SETTINGS[table]
    known = [one.name for one in fields(_SETTINGS[table])]
    for name in given:
        if name not in known:
            raise MethodError(f"{table} has no setting {name!r}; it has {', '.join(known)}")
    made: MaskSettings | LocalisationSettings | PrototypeSettings = kind(
        **{**(preset.settings if preset else {}), **given}
    )
    return made


def document_of(report: dict[str, Any], preset: str | None) -> dict[str, Any]:
    """A report as JSON has it, where a preset was named with its citation."""
    if preset is None:
        return report
    paper = PRESETS[preset]
    return {"preset": {"name": preset, "citation": paper.citation, "differs": paper.differs}, **report}
