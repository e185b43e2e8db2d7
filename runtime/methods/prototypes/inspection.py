"""What `earmark inspect` tells of prototypes: kinds of entries, how they are searched, and of U."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ...bundle.apex_report import read_report, report_in
from ..protocol import Inspection

if TYPE_CHECKING:
    from ....prototypes_index.generation import Generation
    from ....prototypes_index.views import View
    from ...bundle.apex_report import ApexReport, Figures
    from ...bundle.open import Bundle


def inspect_prototypes(bundle: Bundle) -> Inspection:
    """Lines on an index and its U, and for JSON `index_info` and `apex`, None where there are none.

    Of each view `index_info` has `kinds`, the entries by kind: "prototype", in which some channel is
    strongest, and "clip", all others. Raises PrototypeIndexError, BundleError where they are damaged.
    """
    manifest = bundle.manifest
    lines: list[tuple[str, str]] = []
    document: dict[str, Any] | None = None
    if manifest.prototypes is None:
        # The U of the bundle's own graph, which the first index will have.
        report = read_report(bundle.path, manifest)
    else:
        from ....prototypes_index.info import info_document
        from .generation import open_generation

        generation = open_generation(bundle.path, manifest)
        document = info_document(generation.info)
        for view in generation.views:
            document["views"][view]["kinds"] = _kinds(generation, view)
        lines += _index_lines(generation, audio=manifest.prototypes.audio)
        report = generation.info.apex
    if report is not None:
        lines += _apex_lines(report_in(report, bundle.path))
    return Inspection(tuple(lines), {"index_info": document, "apex": report})


def _kinds(generation: Generation, view: View) -> dict[str, int]:
    """How many entries of the view are of each kind."""
    prototypes = len(generation.prototypes(view))
    return {"prototype": prototypes, "clip": generation.info.views[view].entries - prototypes}


def _index_lines(generation: Generation, *, audio: bool) -> Iterator[tuple[str, str]]:
    """Lines of (topic, text) of the index."""
    import msgspec

    info = generation.info
    entries = ", ".join(f"{view} {index.entries}" for view, index in info.views.items())
    sound = "with sound" if audio else "without sound"
    yield "prototypes", f"{generation.folder.name}: {info.clips} clips {sound}; entries: {entries}"
    for view, index in info.views.items():
        kinds = _kinds(generation, view)
        facts = ", ".join(f"{name} {value}" for name, value in msgspec.to_builtins(index).items())
        yield (
            f"  {view}",
            f"{kinds['prototype']} prototypes of channels, {kinds['clip']} other places of clips; {facts}",
        )
    if info.usual is not None:
        acoustics = info.usual.acoustics if len(generation.statistics()) else ()
        older = "; its statistics of sound are of an older kind: `earmark index --rebuild`"
        note = older if len(acoustics) < len(info.usual.acoustics) else ""
        known = ", ".join((*info.usual.views, *acoustics))
        yield "  familiarity", f"by {known}; beside {info.usual.clips} clips{note}"


def _apex_lines(report: ApexReport) -> Iterator[tuple[str, str]]:
    """Lines of (topic, text) of U: how it was learnt, what it kept, and how pure it made the channels."""
    sounds = ", ".join(
        f"{part.replace('_', ' ')} {'?' if counts.sounds is None else counts.sounds} sounds"
        for part, counts in report.clips.items()
    )
    channels = "?" if report.channels is None else report.channels
    yield "apex", f"U over {channels} channels; {sounds}; head {report.head}"
    facts = []
    if report.orthogonality is not None:
        facts.append(f"U U^T is the identity within {report.orthogonality:.1e}")
    if report.invariance is not None:
        kept = {"fp64": report.invariance.fp64, "fp32": report.invariance.fp32}
        facts += [f"logits kept within {one:.1e} ({name})" for name, one in kept.items() if one is not None]
    if facts:
        yield "", "; ".join(facts)
    for view, parts in (report.purity or {}).items():
        yield "  purity", f"{view:<14} {_parts(parts)}"
    if report.listed:
        yield "  listed", f"five largest contributions, of their sum: {_parts(report.listed)}"
        yield "", f"all others, absolute values: {_parts(report.rest)}"
    for note in report.notes:
        yield "", note


def _parts(parts: Mapping[str, Figures]) -> str:
    """The figures of every part of the clips."""
    return "; ".join(
        f"{part.replace('_', ' ')} {_figure(kinds.before)} -> {_figure(kinds.after)} "
        f"(random U {_figure(kinds.random)})"
        for part, kinds in parts.items()
    )


def _figure(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"
