"""`earmark verify`: is a bundle whole, and does it compute here what it computed at home."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import click

from .console import say, say_json, tell
from .options import bundle_argument, device_option, examples, json_option


@click.command(epilog=examples("earmark verify bundle --device cpu"))
@bundle_argument
@device_option
@json_option
def verify(bundle: Path | None, device: str, as_json: bool) -> None:
    """Check every hash of BUNDLE and recompute its golden outputs (the shipped one when none is named).

    Exits with 1 where a file is damaged or a number differs by more than its limit.
    """
    from ..runtime.explainer import bundle_path
    from ..runtime.verify import verify as recompute

    opened, checks = recompute(bundle_path(bundle), device)
    manifest = opened.manifest
    failed = [check for check in checks if not check.passed]
    if as_json:
        far = [one.max_abs if math.isfinite(one.max_abs) else None for one in checks]
        records = [
            {**asdict(one), "max_abs": most, "passed": one.passed}
            for one, most in zip(checks, far, strict=True)
        ]
        say_json({"bundle_id": manifest.bundle_id, "files": len(manifest.files), "checks": records})
    else:
        say(f"{opened.path}: {len(manifest.files)} files as hashed")
        for check in checks:
            mark = "ok" if check.passed else "DIFFERS"
            say(f"  {check.output:<10} {check.max_abs:.1e} of {check.limit:.0e} allowed  {mark}")
    if failed:
        tell(f"{len(failed)} of {len(checks)} golden outputs differ: this machine computes otherwise")
        raise click.exceptions.Exit(1)
