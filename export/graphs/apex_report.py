"""`apex.json` beside a bundle's embeddings graph: the report of the U folded into it. Never torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...runtime.bundle.apex_report import REPORT, read_report

__all__ = ["REPORT", "read_report", "write_report"]


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write the report into the folder of a bundle that is being made."""
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / REPORT).write_text(text, encoding="utf-8")
