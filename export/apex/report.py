"""`apex.json` beside a bundle's embeddings graph: the report of the U folded into it. Never torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import BundleError
from ...prototypes_index.durability import naming
from ...runtime.manifest import Manifest

REPORT = "apex.json"
_MOST_BYTES = 4 << 20


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write the report into the folder of a bundle that is being made."""
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with naming(folder / REPORT):
        (folder / REPORT).write_text(text, encoding="utf-8")


def read_report(bundle: Path, manifest: Manifest) -> dict[str, Any] | None:
    """The report of the U in the bundle's own embeddings graph; None where that graph has raw channels.

    Raises BundleError where it is damaged.
    """
    if REPORT not in manifest.files:
        return None
    path = bundle / REPORT
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read ({error}); export the bundle again") from error
    if not isinstance(found, dict):
        raise BundleError(f"{path}: is no report; export the bundle again")
    return found
