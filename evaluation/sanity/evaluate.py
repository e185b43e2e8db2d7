"""Sanity checks of a bundle's masks: the whole evaluation, from bundles and a data folder to a report.

What has to change a mask: a classifier whose weights are shuffled, layer by layer from its output; labels
that were shuffled before training; the decoder's own weights. What must not: level, a shift, noise that is
hardly audible, another rate, codecs. Between: another seed. How alike the masks of two unrelated clips are
anyway is the row to compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import MethodError
from ...progress import Progress
from ...runtime.audio.sound import open_sound
from ...runtime.engine import Engine
from ...runtime.explainer import Explainer, engine_of, load
from ...runtime.methods.loading import method_of
from ...runtime.values.arrays import FloatArray, Values
from ..data.clips import Tell, ignore, judged_clips
from ..data.folder import Clip, SoundFolder, load_sound
from ..report import Cell, Column, Report, Table
from ..seeding import generator
from ..settings import SanitySettings
from ..statistics import Interval, by_recording
from .changes import Changed, changes, layers_of, randomised

# How far the shift is, in seconds; a whole number of frames next to it.
_SHIFT_S = 0.1
# Masks of a model that knows nothing which overlap so much with the model's own explain something else.
_SAME = 0.5
# The stage by which a method makes masks.
_STAGES = {"mask": "decoder", "components": "interpreter"}
_COLUMNS = (
    Column("check", "check"),
    Column("what", "what"),
    Column("same", "same label", 2),
    Column("rank", "rank correlation", 3),
    Column("ssim", "SSIM", 3),
    Column("overlap", "overlap", 3),
    Column("change", "change", 3),
    Column("worst", "largest change", 3),
)


@dataclass(frozen=True, slots=True)
class SanityRecord:
    """One clip under one check: how alike its mask is to the mask of the bundle itself.

    same: whether the label put first is the same; values: by measure
    """

    check: str
    what: str
    clip: str
    recording: str
    target: str
    same: bool
    values: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class SanityReport(Report[SanityRecord]):
    """What `evaluate_sanity` returns; `to_dict` is the document of `earmark evaluate sanity --json`."""

    method: str
    fold: int | None
    clips: int
    seed: int
    table: Table
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True)
class _ClipMask:
    """A clip's mask [T, F] for a class index, and the class that the model puts first."""

    mask: FloatArray
    first: int


def evaluate_sanity(
    explainer: Explainer,
    sounds: SoundFolder,
    settings: SanitySettings | None = None,
    *,
    others: Sequence[Path | str] = (),
    shuffled: Sequence[Path | str] = (),
    tell: Tell = ignore,
    quiet: bool = True,
) -> SanityReport:
    """Check what changes a bundle's masks and what does not.

    Args:
        explainer: The bundle, opened.
        sounds: Labelled clips, as `list_sounds(folder, fewest_classes=1)` lists them.
        settings: Which masks, and how many clips; None: the defaults.
        others: Bundles of the same classes trained with other seeds.
        shuffled: Bundles of the same classes trained on shuffled labels.
        tell: Takes what a person should know, line by line, as soon as it is known.
        quiet: Show no progress bar.

    Returns:
        A row for each check, and records.

    Raises:
        MethodError: The bundle has no such masks, or another bundle has other labels or another spectrogram.
        DataError: No clip can be judged; with `strict` the first that cannot.

    """
    how = settings or SanitySettings()
    engine = engine_of(explainer)
    manifest = engine.manifest
    stage = _STAGES[how.method]
    if manifest.stage(stage) is None:
        raise MethodError(f"{manifest.name}: has no {stage}, hence no masks of the method {how.method}")
    clips, skipped = judged_clips(sounds, manifest, how, tell=tell, quiet=quiet)
    checking = _Checking(engine, _spread(clips, how.clips), how)
    cascade = _cascade(layers_of(engine.bundle, "classifier"), how.steps)
    weights = [("classifier", *step) for step in cascade]
    weights.append((stage, f"all of the {stage}", layers_of(engine.bundle, stage)))
    steps = 1 + len(weights) + len(others) + len(shuffled) + len(changes(0.0))
    records: list[SanityRecord] = []
    with Progress(steps, "checking", quiet=quiet) as bar:

        def done(some: list[SanityRecord]) -> None:
            records.extend(some)
            bar.step()

        done(checking.unrelated())
        for part, name, layers in weights:
            with randomised(engine.bundle, part, layers, how.seed) as folder:
                done(checking.against("random weights", name, folder))
        for check, bundles in (("shuffled labels", shuffled), ("another seed", others)):
            for path in bundles:
                done(checking.against(check, Path(path).name, path))
        for one in changes(checking.shift_s):
            done(checking.changed(one))
    table = _table(records, how.seed)
    return SanityReport(
        bundle=manifest.name,
        bundle_id=manifest.bundle_id,
        data=str(sounds.path),
        method=how.method,
        fold=how.fold,
        clips=len(checking.clips),
        seed=how.seed,
        skipped=skipped,
        table=table,
        warnings=_warnings(table),
        records=records,
    )


class _Checking:
    """The masks of one bundle, beside which all others are held."""

    def __init__(self, engine: Engine, clips: Sequence[Clip], settings: SanitySettings) -> None:
        self.engine, self.clips, self._settings = engine, clips, settings
        rate, hop = engine.manifest.sample_rate, engine.manifest.analysis.hop
        # A whole number of frames.
        self.shift_s = max(1, round(_SHIFT_S * rate / hop)) * hop / rate
        self._waves = [load_sound(clip.path, rate) for clip in clips]
        self._own = [self._explain(engine, wave) for wave in self._waves]

    def unrelated(self) -> list[SanityRecord]:
        """Every clip's mask beside that of the clip before it, of another class: what any two masks share."""
        return [
            self._record("reference", "another clip's mask", number, self._own[number - 1])
            for number in range(len(self.clips))
        ]

    def against(self, check: str, what: str, bundle: Path | str) -> list[SanityRecord]:
        """Every clip explained by another bundle, for the label that this one puts first."""
        other = engine_of(load(bundle, device=self.engine.device))
        labels, theirs = self.engine.manifest.labels, other.manifest
        if set(labels) != set(theirs.labels) or theirs.analysis != self.engine.manifest.analysis:
            raise MethodError(
                f"{other.bundle.path}: has other labels or another spectrogram than "
                f"{self.engine.manifest.name}"
            )
        records = []
        for number, wave in enumerate(self._waves):
            label = labels[self._own[number].first]
            explained = self._explain(other, wave, theirs.labels.index(label))
            same = theirs.labels[explained.first] == label
            records.append(self._record(check, what, number, explained, same=same))
        return records

    def changed(self, change: Changed) -> list[SanityRecord]:
        """Every clip changed, explained for the label of the clip as it is."""
        rate, hop = self.engine.manifest.sample_rate, self.engine.manifest.analysis.hop
        random = generator(self._settings.seed, change.name)
        frames = round(change.delay_s * rate / hop)
        records = []
        for number, wave in enumerate(self._waves):
            changed = change.apply(wave, rate, random)
            explained = self._explain(self.engine, changed, self._own[number].first)
            records.append(self._record("stability", change.name, number, explained, frames=frames))
        return records

    def _explain(self, engine: Engine, wave: FloatArray, target: int | None = None) -> _ClipMask:
        """The mask of a clip's first window, for the class asked for, else the one put first."""
        rate = engine.manifest.sample_rate
        window = next(iter(engine.windows(open_sound((wave, rate), None, rate))))
        first = int(window.logits.argmax())
        asked = first if target is None else target
        mask = method_of(self._settings.method).window_mask(engine.graphs, window, asked)
        return _ClipMask(mask, first)

    def _record(
        self,
        check: str,
        what: str,
        number: int,
        other: _ClipMask,
        *,
        same: bool | None = None,
        frames: int = 0,
    ) -> SanityRecord:
        clip, own = self.clips[number], self._own[number]
        # Clips of other lengths have other numbers of frames.
        count = min(len(own.mask), len(other.mask) - frames)
        mask, theirs = own.mask[:count], other.mask[frames : frames + count]
        return SanityRecord(
            check=check,
            what=what,
            clip=clip.name,
            recording=clip.recording,
            target=self.engine.manifest.labels[own.first],
            same=own.first == other.first if same is None else same,
            values={name: measure(mask, theirs) for name, measure in MEASURES.items()},
        )


def _spread(clips: Sequence[Clip], count: int) -> list[Clip]:
    """`count` clips, taken in turn from every class."""
    by_label: dict[str, list[Clip]] = {}
    for clip in clips:
        by_label.setdefault(clip.label, []).append(clip)
    rounds = range(max(map(len, by_label.values())))
    turns = [some[turn] for turn in rounds for some in by_label.values() if turn < len(some)]
    return turns[:count]


def _cascade(layers: Sequence[str], steps: int) -> list[tuple[str, list[str]]]:
    """The cascade from the output on, in at most `steps` steps: (name, layers that are shuffled)."""
    depths = np.unique(np.linspace(1, len(layers), min(steps, len(layers))).round().astype(int)).tolist()
    return [(f"top {depth} of {len(layers)} layers", list(layers[:depth])) for depth in depths]


def _table(records: Sequence[SanityRecord], seed: int) -> Table:
    """A row for each check, in their order."""
    rows: list[dict[str, Cell]] = []
    for check, what in dict.fromkeys((one.check, one.what) for one in records):
        some = [one for one in records if (one.check, one.what) == (check, what)]
        row: dict[str, Cell] = {"check": check, "what": what}
        row["same"] = float(np.mean([one.same for one in some]))
        for name in MEASURES:
            row[name] = by_recording([one.values[name] for one in some], some, seed)
        row["worst"] = float(np.nanmax([one.values["change"] for one in some]))
        rows.append(row)
    return Table(_COLUMNS, rows)


def _warnings(table: Table) -> list[str]:
    """Where masks fail a check."""
    return [
        f"{row['check']} ({row['what']}): masks overlap by {shared.estimate:.2f} with the model's own: they "
        "hardly depend on what it has learnt there"
        for row in table.rows
        if row["check"] in {"random weights", "shuffled labels"} and not str(row["what"]).startswith("top 1 ")
        if isinstance(shared := row["overlap"], Interval) and shared.estimate >= _SAME
    ]


# Side of SSIM's square window in cells, and its constants for values within 0..1 (Wang et al. 2004).
_SIDE = 7
_C1, _C2 = 0.01**2, 0.03**2


def rank_correlation(one: FloatArray, other: FloatArray) -> float:
    """Spearman's rank correlation of all cells, -1..1; NaN where a mask has one value only."""
    from scipy.stats import rankdata

    first, second = (rankdata(mask.ravel()) for mask in (one, other))
    if first[0] == first.max() == first.min() or second.max() == second.min():
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def structural_similarity(one: FloatArray, other: FloatArray) -> float:
    """SSIM of two masks [T, F] within 0..1: mean over windows of 7 x 7 cells (Wang et al. 2004), -1..1.

    NaN where a mask is smaller than such a window.
    """
    from scipy.ndimage import uniform_filter

    if min(one.shape) < _SIDE:
        return float("nan")
    first, second = one.astype(np.float64), other.astype(np.float64)
    # Sample covariance, as in the paper's code.
    unbiased = _SIDE**2 / (_SIDE**2 - 1)

    def mean(values: Values) -> Values:
        filtered: Values = uniform_filter(values, _SIDE)
        return filtered

    a, b = mean(first), mean(second)
    of_a = unbiased * (mean(first * first) - a * a)
    of_b = unbiased * (mean(second * second) - b * b)
    both = unbiased * (mean(first * second) - a * b)
    index = (2 * a * b + _C1) * (2 * both + _C2) / ((a * a + b * b + _C1) * (of_a + of_b + _C2))
    edge = _SIDE // 2
    return float(index[edge:-edge, edge:-edge].mean())


def overlap(one: FloatArray, other: FloatArray) -> float:
    """Sum of the lesser over sum of the greater values, 0..1 (a soft intersection over union)."""
    greater = float(np.maximum(one, other).sum(dtype=np.float64))
    return float(np.minimum(one, other).sum(dtype=np.float64)) / greater if greater else 1.0


def relative_change(one: FloatArray, other: FloatArray) -> float:
    """|M - M'| / |M| in the Frobenius norm, 0 and more: of small changes the largest is max-sensitivity."""
    size = float(np.linalg.norm(one))
    return float(np.linalg.norm(one - other)) / size if size else float("nan")


MEASURES = {
    "rank": rank_correlation,
    "ssim": structural_similarity,
    "overlap": overlap,
    "change": relative_change,
}
