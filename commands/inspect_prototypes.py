"""What `earmark inspect` says of a bundle's prototypes: kinds of entries, how they are searched, and of U."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..runtime.bundle.apex_report import ApexReport
    from ..runtime.bundle.open import Bundle


def index_info(opened: Bundle) -> dict[str, Any] | None:
    """`index_info.json` of the generation in force, and of each view the entries by kind; None without one.

    "prototype": in which some channel is strongest; "clip": all others. Raises PrototypeIndexError where
    the generation is damaged.
    """
    from ..prototypes_index.info import info_document
    from ..runtime.methods.prototypes.method import open_generation

    if opened.manifest.prototypes is None:
        return None
    generation = open_generation(opened.path, opened.manifest)
    document = info_document(generation.info)
    for view in generation.views:
        entries, chosen = generation.info.views[view].entries, len(generation.prototypes(view))
        document["views"][view]["kinds"] = {"prototype": chosen, "clip": entries - chosen}
    return document


def apex_report(opened: Bundle, info: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The report of the learnt U: of the index's graph, else of the bundle's own; None for raw channels."""
    from ..runtime.bundle.apex_report import read_report

    if info is None:
        return read_report(opened.path, opened.manifest)
    found: dict[str, Any] | None = info.get("apex")
    return found


def apex_types(opened: Bundle, report: Mapping[str, Any] | None) -> ApexReport | None:
    """The report as types. Raises BundleError where it is none."""
    from ..runtime.bundle.apex_report import report_in

    return None if report is None else report_in(report, opened.path)


def prototype_lines(opened: Bundle, info: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Lines of (topic, text) of the index."""
    prototypes = opened.manifest.prototypes
    if prototypes is None or info is None:
        return
    entries = ", ".join(f"{view} {prototypes.entries[view]}" for view in prototypes.views)
    sound = "with sound" if prototypes.audio else "without sound"
    yield "prototypes", f"{prototypes.generation}: {prototypes.clips} clips {sound}; entries: {entries}"
    for view, facts in info["views"].items():
        kinds = facts["kinds"]
        plain = {
            key: value
            for key, value in facts.items()
            if value is not None and not isinstance(value, (dict, list))
        }
        told = ", ".join(f"{key} {value}" for key, value in plain.items())
        yield (
            f"  {view}",
            f"{kinds['prototype']} prototypes of channels, {kinds['clip']} other places of clips; {told}",
        )


def apex_lines(report: ApexReport | None) -> Iterator[tuple[str, str]]:
    """Lines of (topic, text) of U: how it was learnt, what it kept, and how pure it made the channels."""
    if report is None:
        return
    heard = ", ".join(
        f"{part.replace('_', ' ')} {'?' if counts.sounds is None else counts.sounds} sounds"
        for part, counts in report.clips.items()
    )
    channels = "?" if report.channels is None else report.channels
    yield "apex", f"U over {channels} channels; {heard}; head {report.head}"
    facts = []
    if report.orthogonality is not None:
        facts.append(f"U U^T is the identity within {report.orthogonality:.1e}")
    for precision, difference in (report.invariance or {}).items():
        if precision in ("fp64", "fp32") and isinstance(difference, (int, float)):
            facts.append(f"logits kept within {difference:.1e} ({precision})")
    if facts:
        yield "", "; ".join(facts)
    for view, parts in (report.purity or {}).items():
        told = "; ".join(
            f"{part.replace('_', ' ')} {_figure(kinds.before)} -> {_figure(kinds.after)} "
            f"(random U {_figure(kinds.random)})"
            for part, kinds in parts.items()
        )
        yield "  purity", f"{view:<14} {told}"
    for note in report.notes:
        yield "", note


def _figure(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"
