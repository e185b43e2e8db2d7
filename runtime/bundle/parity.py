"""What a bundle says of its export: how far its graphs are from their source, and int8 from fp32."""

from __future__ import annotations

import msgspec


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far one output of the graphs was from the source's, over all sounds that were compared at export.

    Attributes:
        max_abs: Largest absolute difference.
        limit: What it may be at the most, at export and in `earmark verify`.
        lengths: Lengths of the sounds, in samples.
        batches: Batch sizes.

    """

    max_abs: float
    limit: float
    lengths: list[int] = []
    batches: list[int] = []


class LogitsAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """Largest and mean absolute difference of logits, and the limit that `earmark verify` holds them to."""

    max_abs: float
    mean_abs: float
    limit: float


class LabelsAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """Share 0..1 of equal predictions, and the least that is accepted."""

    agreement: float
    limit: float


class RanksAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """Spearman correlation of the predicted class's log-odds over perturbed versions of a clip.

    Attributes:
        spearman: Mean over the clips, -1..1.
        least: Of the clip with the least.
        limit: The least mean that is accepted.

    """

    spearman: float
    least: float
    limit: float


class IntervalSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A mean over clips and the ends of its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


class ExplanationsAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far `segments` that ask the int8 classifier say what they say by fp32, over clips.

    Attributes:
        ranks: Spearman correlation of the importances of a clip's segments, mean.
        overlap: Of the fifth of the segments that is most important by fp32, the share that is by int8, too.
        ff: What removing that fifth takes from the target's score, by fp32.
        ad: What keeping it alone takes.
        ff_change: FF of int8's fifth minus that of fp32's.
        ad_change: The same of AD.
        limit: The loss of either that no whole interval may lie beyond.
        clips: On which it was measured.

    """

    ranks: float
    overlap: float
    ff: float
    ad: float
    ff_change: IntervalSpec
    ad_change: IntervalSpec
    limit: float
    clips: int


class Int8Parity(msgspec.Struct, frozen=True, kw_only=True):
    """How far the int8 classifier is from this bundle's own fp32 (export/bundle/quantization.py).

    Attributes:
        logits: Of clips, perturbed clips and golden sounds.
        labels: Of clips and perturbed clips.
        ranks: Of perturbed clips.
        calibration_clips: Clips that it was calibrated with.
        clips: Others, on which it was measured.
        perturbed: Perturbed versions of these.
        explanations: Of these clips; None of bundles exported before it was measured.

    """

    logits: LogitsAgreement
    labels: LabelsAgreement
    ranks: RanksAgreement
    calibration_clips: int
    clips: int
    perturbed: int
    explanations: ExplanationsAgreement | None = None


class Parity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was measured at export, by precision: fp32 against the source by output, int8 against fp32."""

    fp32: dict[str, Agreement] = {}
    int8: Int8Parity | None = None

    def limit(self, precision: str, output: str) -> float | None:
        """What `output` of that precision may differ by; None where it was not measured."""
        if precision == "int8":
            return None if self.int8 is None or output != "logits" else self.int8.logits.limit
        return self.fp32[output].limit if output in self.fp32 else None
