"""How far a bundle's masks are to be believed: every window's parts are classified, and models fitted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import DataError, MethodError
from ...progress import Progress
from ...runtime.audio.sound import open_sound
from ...runtime.audio.stft import as_complex, energies_of, gain
from ...runtime.bundle.manifest import TrustModel, TrustSpec
from ...runtime.engine import Engine
from ...runtime.explainer import Explainer, engine_of
from ...runtime.inference.scores import HOLDS, scores_of
from ...runtime.methods.loading import method_of
from ...runtime.methods.mask.trust import FEATURES, features_of
from ...runtime.values.arrays import Values
from ..data.clips import Tell, ignore, judged_clips
from ..data.folder import Clip, SoundFolder, load_sound
from ..faithfulness.conditions import Condition, conditions_of
from ..report import Column, Report, Table
from ..rescoring import rescore
from ..settings import ConditionName, TrustSettings
from .calibration import calibration_error, cross_fitted, fit, logistic, parts_of, ranking

# A mask is believed in sound as it comes: clean, in noise, and with something else beside it.
USUAL: tuple[ConditionName, ...] = ("clean", "noise_6db", "mixture")
# With fewer windows no model is fitted.
FEWEST_WINDOWS = 20


@dataclass(frozen=True, slots=True)
class TrustRecord:
    """One window: whether its kept part is of the target and its removed part is not, and what is known."""

    clip: str
    recording: str
    condition: str
    window: int
    target: str
    kept: bool
    removed: bool
    features: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class TrustReport(Report[TrustRecord]):
    """What `evaluate_trust` returns; `to_dict` is the document of `earmark evaluate trust --json`.

    Attributes:
        table: A row for what is kept and one for what is removed: how often it holds, and how well that is
            foretold of recordings that a model was not fitted to.
        known: The same for what the bundle holds already, which must be of other recordings; empty where it
            holds nothing.
        spec: Models fitted to all of them, for the bundle.

    """

    fold: int | None
    conditions: Sequence[str]
    windows: int
    recordings: int
    seed: int
    table: Table
    known: Table
    spec: TrustSpec


def evaluate_trust(
    explainer: Explainer,
    sounds: SoundFolder,
    settings: TrustSettings | None = None,
    *,
    tell: Tell = ignore,
    quiet: bool = True,
) -> TrustReport:
    """Measure how far masks are to be believed, and fit what foretells it without classifying their parts.

    Args:
        explainer: The bundle, opened.
        sounds: Labelled clips of recordings that neither classifier nor decoder was trained on.
        settings: Under which conditions; None: the defaults.
        tell: Takes what a person should know, line by line, as soon as it is known.
        quiet: Show no progress bar.

    Returns:
        Tables, models and records.

    Raises:
        MethodError: The bundle has no decoder.
        DataError: There are too few windows; with `strict` the first clip that cannot be read.

    """
    how = settings or TrustSettings()
    engine = engine_of(explainer)
    manifest = engine.manifest
    if manifest.stage("decoder") is None:
        raise MethodError(f"{manifest.name}: has no decoder, hence no masks to believe")
    clips, skipped = judged_clips(sounds, manifest, how, tell=tell, quiet=quiet)
    conditions = conditions_of(how.conditions or USUAL, manifest.sample_rate, how.seed, clips)
    records: list[TrustRecord] = []
    with Progress(len(clips) * len(conditions), "judging", quiet=quiet) as bar:
        for condition in conditions:
            for clip in bar.over(clips):
                records += _judged(engine, clip, condition)
    if len(records) < FEWEST_WINDOWS:
        raise DataError(
            f"{sounds.path}: {len(records)} windows are too few to say how far masks are to be believed; "
            f"give {FEWEST_WINDOWS} or more"
        )
    features = np.array([list(one.features.values()) for one in records])
    recordings = [one.recording for one in records]
    rows, known_rows, models = [], [], []
    for name in ("kept", "removed"):
        holds = np.array([getattr(one, name) for one in records])
        if manifest.trust is not None:
            own: TrustModel = getattr(manifest.trust, name)
            known_rows.append(_row(name, logistic(own.bias + features @ np.array(own.weights)), holds))
        likely = cross_fitted(features, holds, recordings)
        rows.append(_row(name, likely, holds, parts_of(recordings)))
        bias, weights = fit(features, holds, recordings)
        error = float(rows[-1]["error"])
        models.append(TrustModel(bias=bias, weights=weights.tolist(), base=float(holds.mean()), error=error))
    spec = TrustSpec(
        kept=models[0],
        removed=models[1],
        windows=len(records),
        recordings=len(set(recordings)),
    )
    return TrustReport(
        bundle=manifest.name,
        bundle_id=manifest.bundle_id,
        data=str(sounds.path),
        fold=how.fold,
        conditions=[one.name for one in conditions],
        windows=len(records),
        recordings=len(set(recordings)),
        skipped=skipped,
        seed=how.seed,
        table=Table(_COLUMNS, rows),
        known=Table(_COLUMNS, known_rows),
        spec=spec,
        records=records,
    )


_COLUMNS = (
    Column("part", "part"),
    Column("share", "holds", 3),
    Column("error", "calibration error", 3, "lower"),
    Column("auc", "AUC", 3, "higher"),
    Column("brier", "Brier", 3, "lower"),
    Column("base_brier", "Brier of the share", 3),
)


def _row(
    name: str,
    likely: Values,
    holds: npt.NDArray[np.bool_],
    parts: npt.NDArray[np.int64] | None = None,
) -> dict[str, str | float]:
    """How well probabilities foretell what holds; the share alone has a Brier score of its variance.

    parts: [W], where each has a model of its own
    """
    return {
        "part": name,
        "share": float(holds.mean()),
        "error": calibration_error(likely, holds, parts=parts),
        "auc": ranking(likely, holds, parts),
        "brier": float(np.mean((likely - holds) ** 2)),
        "base_brier": float(holds.mean() * (1.0 - holds.mean())),
    }


def _judged(engine: Engine, clip: Clip, condition: Condition) -> Iterator[TrustRecord]:
    """Every window of a clip under a condition, its mask judged by listening to its parts."""
    manifest = engine.manifest
    rate, task = manifest.sample_rate, manifest.task
    waveform = condition(clip, load_sound(clip.path, rate))
    for number, window in enumerate(engine.windows(open_sound((waveform, rate), None, rate))):
        target = int(window.logits.argmax())
        mask = method_of("mask").window_mask(engine.graphs, window, target)
        amplitude = np.abs(as_complex(window.stft))
        gains = gain(mask, amplitude, manifest.mask_gain)
        logits = rescore(engine, window, np.stack([gains, 1.0 - gains]), "audio")
        if task == "multi_label":
            kept, still = (scores_of(logits, task)[:, target] >= HOLDS).tolist()
        else:
            kept, still = (logits.argmax(axis=1) == target).tolist()
        area, energies = float(mask.mean(dtype=np.float64)), energies_of(amplitude, gains)
        features = features_of(window.logits, target, task, area=area, energies=energies)
        yield TrustRecord(
            clip=clip.name,
            recording=clip.recording,
            condition=condition.name,
            window=number,
            target=manifest.labels[target],
            kept=kept,
            removed=not still,
            features=dict(zip(FEATURES, features.tolist(), strict=True)),
        )
