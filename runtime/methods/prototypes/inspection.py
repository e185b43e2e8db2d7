"""What `earmark inspect` tells of prototypes: kinds of entries, how they are searched, and of U."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...bundle.apex_report import read_report, report_in
from ..protocol import Inspection

if TYPE_CHECKING:
    from ...bundle.apex_report import ApexReport
    from ...bundle.open import Bundle


def inspect_prototypes(bundle: Bundle) -> Inspection:
    """Lines on index and U; `index_info` and `apex` for JSON, None where there are none.

    Raises PrototypeIndexError where the generation is damaged, BundleError where the report of U is.
    """
    info = _index_info(bundle)
    report = _apex_report(bundle, info)
    told = _apex_types(bundle, report)
    lines = (*_prototype_lines(bundle, info), *_apex_lines(told))
    return Inspection(lines, {"index_info": info, "apex": report})


def _index_info(opened: Bundle) -> dict[str, Any] | None:
    """`index_info.json` of the generation in force, and of each view the entries by kind; None without one.

    "prototype": in which some channel is strongest; "clip": all others. Raises PrototypeIndexError where
    the generation is damaged.
    """
    if opened.manifest.prototypes is None:
        return None
    from ....prototypes_index.info import info_document
    from .generation import open_generation

    generation = open_generation(opened.path, opened.manifest)
    document = info_document(generation.info)
    for view in generation.views:
        entries, chosen = generation.info.views[view].entries, len(generation.prototypes(view))
        document["views"][view]["kinds"] = {"prototype": chosen, "clip": entries - chosen}
    return document


def _apex_report(opened: Bundle, info: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The report of the learnt U: of the index's graph, else of the bundle's own; None for raw channels."""
    if info is None:
        return read_report(opened.path, opened.manifest)
    found: dict[str, Any] | None = info.get("apex")
    return found


def _apex_types(opened: Bundle, report: Mapping[str, Any] | None) -> ApexReport | None:
    """The report as types. Raises BundleError where it is none."""
    return None if report is None else report_in(report, opened.path)


def _prototype_lines(opened: Bundle, info: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
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


def _apex_lines(report: ApexReport | None) -> Iterator[tuple[str, str]]:
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
