"""The report of a learnt U, as types: `apex.json` beside a bundle's own graph, `apex` of an index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ... import limits
from ...errors import BundleError
from ...prototypes_index.facts import check_facts
from .files import Files, read_regular
from .manifest import Manifest

REPORT = "apex.json"


class Figures(msgspec.Struct, frozen=True):
    """A figure of one part of the clips: of the channels as they were, with U, with a random U."""

    before: float | None = None
    after: float | None = None
    random: float | None = None


class PartCount(msgspec.Struct, frozen=True):
    """How many sounds a part of the clips has."""

    sounds: int | None = None


class KeptLogits(msgspec.Struct, frozen=True):
    """How exactly U keeps the logits: largest difference in float64, in float32, and equal first classes."""

    fp64: float | None = None
    fp32: float | None = None
    same_top1: float | None = None
    windows: int | None = None


class ApexReport(msgspec.Struct, frozen=True):
    """What is shown of U; a report may hold more (docs/apex_training.md)."""

    clips: dict[str, PartCount] = {}
    channels: int | None = None
    head: str | None = None
    orthogonality: float | None = None
    invariance: KeptLogits | None = None
    # How pure channels are, by view, then by part.
    purity: dict[str, dict[str, Figures]] | None = None
    # The share of all contributions in the five largest, and in the others, by part; older ones have none.
    listed: dict[str, Figures] = {}
    rest: dict[str, Figures] = {}
    notes: list[str] = []


def report_in(document: Mapping[str, Any], where: Path) -> ApexReport:
    """The report as types. Raises BundleError where it is none; the text names `where` it stands."""
    try:
        check_facts(document)
        return msgspec.convert(document, ApexReport)
    except (msgspec.ValidationError, ValueError) as error:
        raise BundleError(
            f"{where}: is no report of a learnt U ({error}); export the bundle again"
        ) from error


def read_report(bundle: Path, manifest: Manifest) -> dict[str, Any] | None:
    """The report of the U in the bundle's own embeddings graph; None where that graph has raw channels.

    Raises BundleError where it is damaged.
    """
    if REPORT not in manifest.files:
        return None
    path = Files(bundle, manifest.files).path(REPORT)
    try:
        text = read_regular(path, limits.REPORT_BYTES)
        if len(text) > limits.REPORT_BYTES:
            raise ValueError(f"larger than {limits.REPORT_BYTES >> 20} MiB")
        document = msgspec.json.decode(text, type=dict[str, Any])
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: cannot be read ({error}); export the bundle again") from error
    report_in(document, path)
    return document
