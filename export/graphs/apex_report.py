"""`apex.json` beside a bundle's embeddings graph: the report of the U folded into it. Never torch."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from ...runtime.bundle.apex_report import REPORT


class SoundCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How much a part of the clips holds: files, windows of sound, source recordings."""

    sounds: int
    windows: int
    recordings: int


class Invariance(msgspec.Struct, frozen=True, kw_only=True):
    """How exactly the fold of U keeps the logits.

    Attributes:
        fp64: Largest |W' (U v) + b - (W v + b)| in float64; of a network g: |g(U^-1 U v) - g(v)|; of an
            unknown head, over the feature map: |U^-1 U Z - Z| / max |Z|.
        fp32: Largest |sum of contributions + bias - logit| of the float32 graph; None: they are not additive.
        same_top1: Share of the windows in which both put the same class first, 0..1; None: as `fp32`.
        windows: Windows measured.

    """

    fp64: float
    fp32: float | None
    same_top1: float | None
    windows: int


class RotationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is reported of a learnt U (docs/apex_training.md).

    Attributes:
        recipe: How it was learnt.
        settings: The settings of the training.
        channels: C of U [C, C].
        clips: Part ("train", "held_out") -> what it holds.
        n: Top clips per channel that purity is measured on.
        purity: View -> part -> "before", "after", "random" -> purity, -1..1.
        listed: Part -> "before", "after", "random" -> the share of the sum of all contributions, which is the
            logit beyond the bias where the head is linear, in the five largest; empty without a known head.
        rest: The same of all others, their absolute values.
        head: Whether contributions are "additive", "gradient x activation" or "localisation only".
        orthogonality: Largest absolute row sum of U U^T - I.
        invariance: How exactly the logits are kept.
        notes: What the user should know of the data.
        seconds: Time of the training.

    """

    recipe: str = "apex"
    settings: dict[str, object]
    channels: int
    clips: dict[str, SoundCounts]
    n: int
    purity: dict[str, dict[str, dict[str, float]]]
    listed: dict[str, dict[str, float]] = {}
    rest: dict[str, dict[str, float]] = {}
    head: str
    orthogonality: float
    invariance: Invariance
    notes: list[str]
    seconds: float


def write_report(folder: Path, report: RotationReport) -> None:
    """Write the report into the folder of a bundle that is being written."""
    text = json.dumps(msgspec.to_builtins(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / REPORT).write_text(text, encoding="utf-8")
