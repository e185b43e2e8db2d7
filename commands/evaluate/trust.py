"""`earmark evaluate trust`: how far the masks of a bundle are to be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...evaluation.settings import TrustSettings
from ..console import tell
from ..options import device_option, examples, json_option
from ..settings_options import Given, settings_options
from .options import Output, bundle_and_data, fail_for, records_option


@click.command(epilog=examples("earmark evaluate trust bundle data --fold 4 --store"))
@bundle_and_data
@settings_options(TrustSettings)
@click.option("--store", is_flag=True, help="Keep it in BUNDLE: every result then says it of its mask.")
@records_option
@device_option
@json_option
def trust(
    bundle: Path, data: Path, given: Given[TrustSettings], store: bool, device: str, **output: Any
) -> None:
    """Measure how far the masks of BUNDLE are to be believed, on DATA that nothing was trained on.

    Whether the kept part alone is of the class and the removed part is not, and how well that is foretold
    from what is known without classifying the parts. Exits with 1 where a clip or a folder could not be read
    and was left out.
    """
    from ...evaluation.data.clips import listed_clips
    from ...evaluation.trust.evaluate import evaluate_trust
    from ...runtime.explainer import load

    settings = given.settings()
    explainer, sounds = load(bundle, device=device), listed_clips(data, settings)
    report = evaluate_trust(explainer, sounds, settings, tell=tell, quiet=False)
    if store:
        from ...export.bundle.trust import store_trust

        store_trust(bundle, report.spec, report.bundle_id)
    out = Output(**output)
    text = [
        f"{report.bundle}: {report.windows} windows of {report.recordings} recordings "
        f"({', '.join(report.conditions)})",
        "",
        *out.lines(report.table),
    ]
    if report.known.rows:
        text += ["", "by what the bundle held before", *out.lines(report.known)]
    out.give(report, report.table, text)
    if store:
        tell(f"{bundle}: every result now says how far its mask is to be believed")
    fail_for(report.skipped)
