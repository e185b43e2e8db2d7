"""`earmark evaluate prototypes`: labels of the nearest prototypes, and what their places are worth."""

from __future__ import annotations

from pathlib import Path

import click

from ...errors import DataError
from ...progress import Progress
from ..console import say, say_json, tell
from ..inputs import tell_skipped
from ..options import device_option, json_option
from ..written import write_lines
from .inputs import chosen_clips, fail_for, readable_clips
from .options import (
    bundle_and_data,
    fold_option,
    intervals_option,
    records_option,
    seed_option,
    strict_option,
)


@click.command()
@bundle_and_data
@click.option(
    "--domain",
    type=click.Choice(["spectrogram", "audio"]),
    help="Where the place is removed from. [default: the spectrogram, where it can be heard again]",
)
@fold_option
@intervals_option
@records_option
@strict_option
@device_option
@seed_option
@json_option
def prototypes(
    bundle: Path,
    data: Path,
    domain: str | None,
    fold: int | None,
    intervals: bool,
    records: Path | None,
    strict: bool,
    device: str,
    seed: int,
    as_json: bool,
) -> None:
    """Judge the nearest prototypes of BUNDLE on DATA, a folder of class folders of sound.

    Every row is a view: how often its nearest prototypes bear the clip's label, and what the logit loses
    where the matched place is removed. Exits with 1 where a clip or a folder could not be read and was left
    out.
    """
    from ...evaluation.data.folder import list_sounds
    from ...evaluation.prototypes.judge import judge_prototypes
    from ...evaluation.rescoring import domains_of
    from ...runtime.explainer import engine_of, load

    explainer = load(bundle, device=device)
    engine = engine_of(explainer)
    folder = list_sounds(data, fewest_classes=1)
    tell_skipped(folder.skipped)
    clips = chosen_clips(folder, engine.manifest, fold)
    clips, skipped = readable_clips(folder, clips, engine.manifest.sample_rate, strict)
    if not clips:
        raise DataError(f"{data}: none of its clips can be read ({skipped[0]['reason']})")
    where = domains_of(engine, domain or "both")[0]
    with Progress(len(clips), "judging") as bar:
        made = judge_prototypes(explainer, clips, domain=where, seed=seed, on_clip=bar.step)
    if made.known:
        tell(f"left out {len(made.known)} clips that are in the index themselves")
    if not made.records:
        raise DataError(f"{data}: no clip is left to judge; give sounds that are not in the index")
    if records is not None:
        write_lines(records, [record.to_dict() for record in made.records])
    table = made.table(seed=seed)
    if as_json:
        document = {
            "bundle": engine.manifest.name,
            "bundle_id": engine.manifest.bundle_id,
            "data": str(data),
            "domain": where,
            "clips": made.clips,
            "right": made.right,
            "known": made.known,
            "skipped": skipped,
            "seed": seed,
            "prototypes": table.to_dict(),
        }
        say_json(document, indent=2)
        fail_for(skipped)
        return
    say(
        f"{engine.manifest.name}: {made.clips} clips, {made.right / made.clips:.1%} heard right; removed "
        f"from the {where}",
        "",
    )
    say(*table.text(intervals=intervals).split("\n"))
    fail_for(skipped)
