"""`earmark evaluate --prototypes`: labels of the nearest prototypes, and what their places are worth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..errors import DataError
from .console import say, say_json, tell
from .evaluate_inputs import chosen_clips, progress, readable_clips
from .inputs import tell_skipped

# The options of `earmark evaluate` that mean something here.
_SHARED = ("fold", "domain", "intervals", "records", "strict", "device", "seed", "as_json")
_DEFAULTS = {"threshold": 0.5}


def evaluate_prototypes(bundle: Path, data: Path, options: Mapping[str, Any]) -> None:
    """Print the table: views as rows, shares of labels, and drops of the logit.

    Raises UsageError for an option that belongs to another table.
    """
    from ..evaluation.prototypes import judge_prototypes
    from ..evaluation.rescoring import domains_of
    from ..evaluation.sound_folders import list_sounds
    from ..runtime.explainer import load

    for name, value in options.items():
        if name not in _SHARED and value and value != _DEFAULTS.get(name):
            raise click.UsageError(f"--{name.replace('_', '-').rstrip('s')} does not go with --prototypes")
    explainer = load(bundle, device=options["device"])
    folder = list_sounds(data, fewest_classes=1)
    tell_skipped(folder.skipped)
    clips = chosen_clips(folder, explainer.manifest, options["fold"])
    clips, skipped = readable_clips(clips, explainer.manifest.sample_rate, options["strict"])
    domain = domains_of(explainer, options["domain"])[0]
    with progress(len(clips), "judging") as step:
        made = judge_prototypes(explainer, clips, domain=domain, seed=options["seed"], on_clip=step)
    if made.known:
        tell(f"left out {len(made.known)} clips that are in the index themselves")
    if not made.records:
        raise DataError(f"{data}: no clip is left to judge; give sounds that are not in the index")
    if options["records"] is not None:
        path: Path = options["records"]
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(record.to_dict(), ensure_ascii=False) + "\n" for record in made.records]
        path.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
    table = made.table(seed=options["seed"])
    if options["as_json"]:
        document = {
            "bundle": explainer.manifest.name,
            "bundle_id": explainer.manifest.bundle_id,
            "data": str(data),
            "domain": domain,
            "clips": made.clips,
            "right": made.right,
            "known": made.known,
            "skipped": skipped,
            "seed": options["seed"],
            "prototypes": table.to_dict(),
        }
        say_json(document, indent=2)
        return
    say(
        f"{explainer.manifest.name}: {made.clips} clips, {made.right / made.clips:.1%} heard right; removed "
        f"from the {domain}",
        "",
    )
    say(*table.text(intervals=options["intervals"]).split("\n"))
