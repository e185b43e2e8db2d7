"""What nearest prototypes are worth: the whole evaluation, from a bundle and a data folder to a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import DataError
from ...progress import Progress
from ...runtime.explainer import Explainer, engine_of
from ..data.clips import Tell, ignore, judged_clips, require_classes
from ..data.folder import SoundFolder
from ..questions import PrototypeFunction
from ..report import Report, Table
from ..rescoring import domains_of
from ..settings import Domain, PrototypeSettings
from .judge import PrototypeRecord, judge_prototypes


@dataclass(frozen=True, kw_only=True)
class PrototypeReport(Report[PrototypeRecord]):
    """What `evaluate_prototypes` returns; `to_dict` is the document of `earmark evaluate prototypes --json`.

    Attributes:
        clips, right: Clips that were judged, and those of them whose predicted class is a label of theirs.
        known: Clips that are in the index themselves and were left out.
        prototypes: A row for each view.

    """

    domain: Domain
    clips: int
    right: int
    known: Sequence[str]
    seed: int
    settings: PrototypeSettings
    prototypes: Table


def evaluate_prototypes(
    explainer: Explainer,
    sounds: SoundFolder,
    settings: PrototypeSettings | None = None,
    *,
    more: Mapping[str, PrototypeFunction] | None = None,
    tell: Tell = ignore,
    quiet: bool = True,
) -> PrototypeReport:
    """Judge nearest prototypes: whether they bear the clip's label, and what the matched place is worth.

    Args:
        explainer: The bundle, opened.
        sounds: Labelled clips, as `list_sounds(folder, fewest_classes=1)` lists them.
        settings: Rows, and how places are removed; None: the defaults.
        more: Functions by name, which are rows as well.
        tell: Takes what a person should know, line by line, as soon as it is known.
        quiet: Show no progress bar.

    Returns:
        The table, a row for each view, and records.

    Raises:
        MethodError: The bundle has no prototypes.
        DataError: No clip is left to judge; with `strict` the first that cannot be read.

    """
    how = settings or PrototypeSettings()
    engine = engine_of(explainer)
    manifest = engine.manifest
    require_classes(manifest)
    domain = domains_of(engine, how.domain or "both")[0]
    clips, skipped = judged_clips(sounds, manifest, how, tell=tell, quiet=quiet)
    with Progress(len(clips), "judging", quiet=quiet) as bar:
        judged = judge_prototypes(explainer, bar.over(clips), how, more=more)
    if judged.known:
        tell(f"left out {len(judged.known)} clips that are in the index themselves")
    if not judged.records:
        raise DataError(f"{sounds.path}: no clip is left to judge; give sounds that are not in the index")
    return PrototypeReport(
        bundle=manifest.name,
        bundle_id=manifest.bundle_id,
        data=str(sounds.path),
        domain=domain,
        clips=judged.clips,
        right=judged.right,
        known=judged.known,
        skipped=skipped,
        seed=how.seed,
        settings=how,
        prototypes=judged.table(seed=how.seed),
        records=judged.records,
    )
