"""`earmark evaluate sanity`: what changes the masks of a bundle, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...evaluation.settings import SanitySettings
from ..console import tell
from ..options import device_option, examples, json_option
from ..paths import BundleFolder
from ..settings_options import Given, settings_options
from .options import Output, bundle_and_data, csv_option, fail_for, intervals_option, records_option


@click.command(epilog=examples("earmark evaluate sanity bundle data --fold 4 --other bundle1"))
@bundle_and_data
@settings_options(SanitySettings)
@click.option(
    "--other",
    "others",
    multiple=True,
    type=BundleFolder(),
    metavar="BUNDLE",
    help="Of the same classes, trained with another seed.",
)
@click.option(
    "--shuffled",
    multiple=True,
    type=BundleFolder(),
    metavar="BUNDLE",
    help="Of the same classes, trained on shuffled labels.",
)
@intervals_option
@csv_option
@records_option
@device_option
@json_option
def sanity(
    bundle: Path,
    data: Path,
    given: Given[SanitySettings],
    others: tuple[Path, ...],
    shuffled: tuple[Path, ...],
    device: str,
    **output: Any,
) -> None:
    """Check what changes the masks of BUNDLE on DATA, a folder of class folders of sound.

    Random weights, layer by layer, and shuffled labels must change them; level, a shift, faint noise, another
    rate and codecs must not. Rows say how alike masks are to those of BUNDLE itself; compare with the masks
    of unrelated clips. Exits with 1 where a clip or a folder could not be read and was left out.
    """
    from ...evaluation.data.clips import listed_clips
    from ...evaluation.sanity.evaluate import evaluate_sanity
    from ...runtime.explainer import load

    settings = given.settings()
    report = evaluate_sanity(
        load(bundle, device=device),
        listed_clips(data, settings),
        settings,
        others=others,
        shuffled=shuffled,
        tell=tell,
        quiet=False,
    )
    out = Output(**output)
    head = f"{report.bundle}: {report.method} of {report.clips} clips"
    out.give(report, report.table, [head, "", *out.lines(report.table)])
    for line in report.warnings:
        tell(line)
    fail_for(report.skipped)
