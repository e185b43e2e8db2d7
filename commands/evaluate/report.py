"""What `earmark evaluate` says: facts of the judgement, tables for people, records for programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import bold, say
from ..written import write_lines

if TYPE_CHECKING:
    from ...evaluation.faithfulness.conditions import Condition
    from ...evaluation.faithfulness.judge import Faithfulness, Plan
    from ...evaluation.table import Table
    from ...runtime.engine import Engine


def about(
    engine: Engine, plan: Plan, conditions: Sequence[Condition], made: dict[str, Faithfulness]
) -> dict[str, Any]:
    """What was judged and how, JSON-ready."""
    from dataclasses import asdict
    from statistics import median

    return {
        "bundle": engine.manifest.name,
        "bundle_id": engine.manifest.bundle_id,
        "device": engine.device,
        "seed": plan.seed,
        "reference": plan.reference,
        "area": plan.area,
        "conditions": {
            one.name: {
                "text": one.text,
                "clips": made[one.name].clips,
                "windows": made[one.name].windows,
                "right": made[one.name].right,
                "classify_ms": median(made[one.name].classify_ms),
                "silence": {domain: asdict(found) for domain, found in made[one.name].silence.items()},
                "windows_of_silence_class": made[one.name].silent_class,
                "warnings": made[one.name].warnings,
            }
            for one in conditions
        },
    }


def print_report(document: dict[str, Any], tables: dict[str, Table], *, intervals: bool) -> None:
    """The tables for people."""
    say(bold(document["bundle"]))
    for name, about in document["conditions"].items():
        silence = "; ".join(
            f"silence ({domain}) is heard as {found['label']} {found['score']:.0%}"
            for domain, found in about["silence"].items()
        )
        say(
            f"{name}: {about['text']}. {about['clips']} clips, {about['windows']} windows, "
            f"{about['right'] / about['windows']:.1%} heard right in {about['classify_ms']:.1f} ms each; "
            f"{silence}"
        )
    say("")
    say(*tables["table"].text(intervals=intervals).split("\n"))
    if intervals and tables["differences"].rows:
        say("", "mask minus the others, window by window")
        say(*tables["differences"].text(intervals=True).split("\n"))


def write_records(path: Path, made: dict[str, Faithfulness]) -> None:
    """One line of JSON a record."""
    write_lines(path, (record.to_dict() for one in made.values() for record in one.records))
