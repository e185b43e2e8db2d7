"""What a learnt U changes: nothing of the model, measured; and how pure channels are, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from ....errors import EarmarkError, RunError
from ....evaluation.data.folder import Clip
from ....evaluation.prototypes.purity import purity_table, random_rotation
from ....runtime.audio.sound import open_sound
from ....runtime.bundle.manifest import FeatureMapSpec, Manifest
from ....runtime.bundle.open import Bundle
from ....runtime.engine import Engine
from ....runtime.inference.window import Window
from ....runtime.values.arrays import Array
from ...graphs.apex_report import Invariance, RotationReport, SoundCounts
from ...graphs.heads import Head, inverse_of
from ..settings import to_record
from .evidence import pooled_of
from .maps import ClipMaps
from .settings import ApexSettings

# Part of the clips -> "before", "after", "random" -> a figure.
Parts = dict[str, dict[str, float]]

# Windows that the figures are measured on, of clips spread over all.
_WINDOWS = 64
_FP64, _FP32, _ORTHOGONAL = 1e-9, 1e-3, 1e-4


def report_of(
    bundle: Bundle,
    graph: Path,
    head: Head | None,
    rotation: Array,
    clips: Sequence[Clip],
    parts: Mapping[str, ClipMaps],
    settings: ApexSettings,
    seconds: float,
) -> RotationReport:
    """What is reported of U. Raises RunError where it is no rotation or does not keep the logits."""
    listed, rest = _listed(parts, rotation, settings.seed)
    return RotationReport(
        settings=to_record(settings),
        channels=len(rotation),
        clips={
            part: SoundCounts(sounds=one.sounds, windows=one.maps.clips, recordings=one.recordings)
            for part, one in parts.items()
        },
        n=settings.n_last,
        purity=purity_table(
            {part: one.maps for part, one in parts.items()},
            rotation,
            settings.n_last,
            seed=settings.seed,
        ),
        listed=listed,
        rest=rest,
        head=_kind_of(head),
        orthogonality=_orthogonality(rotation),
        invariance=invariance(bundle, graph, head, rotation, clips),
        notes=list(_notes(bundle.manifest, parts, settings)),
        seconds=seconds,
    )


def _listed(parts: Mapping[str, ClipMaps], rotation: Array, seed: int) -> tuple[Parts, Parts]:
    """What the five largest contributions, and the others, are of the sum: raw, with U, with a random one."""
    channels = len(rotation)
    kinds = {"before": np.eye(channels), "after": rotation, "random": random_rotation(channels, seed)}
    listed: Parts = {}
    rest: Parts = {}
    for part, one in parts.items():
        if one.evidence is not None:
            both = {kind: one.evidence.listed(u) for kind, u in kinds.items()}
            listed[part] = {kind: round(five, 6) for kind, (five, _) in both.items()}
            rest[part] = {kind: round(others, 6) for kind, (_, others) in both.items()}
    return listed, rest


def _kind_of(head: Head | None) -> str:
    if head is None:
        return "localisation only"
    return "additive" if head.linear else "gradient x activation"


def _notes(manifest: Manifest, parts: Mapping[str, ClipMaps], settings: ApexSettings) -> Iterator[str]:
    """What the user should know of the data."""
    rows = parts["train"].maps.rows
    if rows == 1:
        yield "one row of frequency: the views frequency and time_frequency do not exist, and time is square"
    for part, one in parts.items():
        if one.recordings < settings.n_last:
            yield (
                f"{part.replace('_', ' ')}: {one.recordings} source recordings, so a channel has fewer than "
                f"the {settings.n_last} top clips asked for"
            )
    known = set(parts["train"].labels)
    without = [label for label in manifest.labels if label not in known]
    if without:
        more = ", ..." if len(without) > 5 else ""
        yield f"no clip to learn from in the class {', '.join(without[:5])}{more}"


def invariance(
    bundle: Bundle, embeddings: Path, head: Head | None, rotation: Array, clips: Sequence[Clip]
) -> Invariance:
    """How exactly the fold keeps the logits, on up to 64 windows of sound.

    Raises RunError where a difference is beyond its limit (1e-9 in float64, 1e-3 in float32).
    """
    spec = bundle.manifest.feature_map
    assert spec is not None  # noqa: S101 (its maps were computed)
    fp64, fp32, agreed, windows = 0.0, 0.0, 0, 0
    u, back = rotation.astype(np.float64), inverse_of(rotation)
    with Engine(bundle, "cpu") as engine:
        for piece in islice(_windows(engine, spec, clips), _WINDOWS):
            windows += 1
            fp64 = max(fp64, _folded_error(piece, spec, head, u, back))
            output = engine.sessions.run_graph(embeddings, {tap: piece.taps[tap] for tap in spec.taps})
            if head is not None and head.linear:
                total = output["contributions"][0].sum(axis=-1) + output["bias"].reshape(-1)
                fp32 = max(fp32, float(np.abs(total - piece.logits).max()))
                agreed += int(total.argmax() == piece.logits.argmax())
    additive = head is not None and head.linear
    figures = Invariance(
        fp64=fp64,
        fp32=fp32 if additive else None,
        same_top1=agreed / max(1, windows) if additive else None,
        windows=windows,
    )
    if not fp64 < _FP64 or (additive and not fp32 < _FP32):
        raise RunError(
            f"U does not keep the logits: {msgspec.to_builtins(figures)}; train it again with other settings"
        )
    return figures


def _orthogonality(rotation: Array) -> float:
    """Largest absolute row sum of U U^T - I. Raises RunError where it is no rotation."""
    u = rotation.astype(np.float64)
    off = float(np.abs(u @ u.T - np.eye(len(u))).sum(axis=1).max())
    if not off < _ORTHOGONAL:
        raise RunError(f"U is not orthogonal (off by {off:.1e}); learn it again")
    return off


def table_lines(report: RotationReport) -> Iterator[str]:
    """Purity, and what contributions are of their sum, for people: a line a view and part."""
    yield f"{'purity':<16} {'':<9} {'before':>7} {'after':>7} {'random':>7}"
    more = {"five largest": report.listed, "others, absolute": report.rest}
    for view, parts in {**report.purity, **more}.items():
        for part, figures in parts.items():
            values = " ".join(f"{figures[kind]:7.3f}" for kind in ("before", "after", "random"))
            yield f"{view:<16} {part.replace('_', ' '):<9} {values}"


def _windows(engine: Engine, spec: FeatureMapSpec, clips: Sequence[Clip]) -> Iterator[Window]:
    """Windows of clips spread over all; what cannot be read is passed over."""
    step = max(1, len(clips) // _WINDOWS)
    for clip in clips[::step]:
        try:
            opened = open_sound(clip.path, None, engine.manifest.sample_rate)
            for piece in engine.windows(opened):
                if np.isfinite(piece.taps[spec.tap]).all():
                    yield piece
        except EarmarkError:
            continue


def _folded_error(piece: Window, spec: FeatureMapSpec, head: Head | None, u: Array, back: Array) -> float:
    z = piece.taps[spec.tap][0].astype(np.float64)
    if head is None:
        kept = np.einsum("cd,dtf->ctf", back @ u, z)
        return float(np.abs(kept - z).max() / max(1.0, float(np.abs(z).max())))
    pooled = pooled_of(z, spec, piece.taps)
    turned = pooled @ u.T
    own = head.logits(pooled)
    if not head.linear:
        return float(np.abs(head.logits(turned @ back.T) - own).max())
    weight, bias = head.layers[0].weight.astype(np.float64) @ back, head.layers[0].bias
    folded = (turned * weight).sum(axis=-1) + bias
    return float(np.abs(folded - own).max())
