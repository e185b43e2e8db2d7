"""What `earmark inspect` says of a bundle's prototypes: kinds of entries, how they are searched, and of U."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import BundleError

if TYPE_CHECKING:
    from ..runtime.bundle import Bundle

APEX = "apex.json"


def index_info(opened: Bundle) -> dict[str, Any] | None:
    """`index_info.json` of the generation in force, and of each view the entries by kind; None without one.

    "prototype": in which some channel is strongest; "clip": all others. Raises PrototypeIndexError where
    the generation is damaged.
    """
    from ..runtime.prototypes import open_generation

    if opened.manifest.prototypes is None:
        return None
    generation = open_generation(opened.path, opened.manifest)
    document: dict[str, Any] = json.loads((generation.folder / "index_info.json").read_text("utf-8"))
    for view in generation.views:
        entries, chosen = generation.info.views[view].entries, len(generation.prototypes(view))
        document["views"][view]["kinds"] = {"prototype": chosen, "clip": entries - chosen}
    return document


def apex_report(opened: Bundle, info: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The report of the learnt U: of the index's graph, else of the bundle's own; None for raw channels."""
    if info is not None:
        found: dict[str, Any] | None = info.get("apex")
        return found
    if APEX not in opened.manifest.files:
        return None
    try:
        report: dict[str, Any] = json.loads((opened.path / APEX).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{opened.path / APEX}: cannot be read ({error}); export the bundle again"
        ) from error
    return report


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


def apex_lines(report: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Lines of (topic, text) of U: how it was learnt, what it kept, and how pure it made the channels."""
    if report is None:
        return
    settings, clips = report.get("settings", {}), report.get("clips", {})
    heard = ", ".join(
        f"{part.replace('_', ' ')} {counts.get('sounds', '?')} sounds" for part, counts in clips.items()
    )
    form = "invertible" if settings.get("invertible") else "orthogonal"
    own = ", one U a view" if settings.get("per_view") else ""
    yield (
        "apex",
        f"{form} U over {report.get('channels', '?')} channels{own}; {heard}; head {report.get('head')}",
    )
    facts = []
    if report.get("orthogonality") is not None:
        facts.append(f"U U^T is the identity within {report['orthogonality']:.1e}")
    for precision, difference in (report.get("invariance") or {}).items():
        if precision in ("fp64", "fp32") and difference is not None:
            facts.append(f"logits kept within {difference:.1e} ({precision})")
    if facts:
        yield "", "; ".join(facts)
    for view, parts in (report.get("purity") or {}).items():
        told = "; ".join(
            f"{part.replace('_', ' ')} {kinds['before']:.3f} -> {kinds['after']:.3f} "
            f"(random U {kinds['random']:.3f})"
            for part, kinds in parts.items()
        )
        yield "  purity", f"{view:<14} {told}"
    for note in report.get("notes", ()):
        yield "", str(note)
