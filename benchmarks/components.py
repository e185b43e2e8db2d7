r"""Components over several seeds: fidelity, faithfulness beside random components, places of events.

    python benchmarks/components.py DATA --out DIR --fold 4 \
        --family post-hoc P0 P1 P2 [--family by-design D0 D1 D2] [--events DATA/events.csv]

A family is one bundle a seed. Each bundle is one `earmark evaluate masks` (and one `events`, where --events
is given), kept in DIR and not repeated as long as bundle, data and options are the same. Prints tables:
means and standard deviations over seeds, paired differences pooled over the seeds' windows with intervals
over source recordings; all of it goes to DIR/components.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from faithfulness import kept_report, over_seeds, record_of
from measuring import run_main

from earmark.evaluation.faithfulness.evaluate import differences
from earmark.evaluation.faithfulness.judge import MaskRecord
from earmark.evaluation.report import Column, Table
from earmark.runtime.bundle.open import read_manifest

METHODS = (
    "components",
    "random_components",
    "random_components_area",
    "random_theta",
    "components_log",
    "random_components_area_log",
)
PLACES = ("components", "energy", "random")
FIGURES = ("relative_error", "squared_error", "selected", "none_selected")


def main(
    data: Path,
    *,
    out: Path,
    family: Sequence[Sequence[str]],
    fold: int | None = None,
    events: Path | None = None,
    domain: Literal["spectrogram", "audio", "both"] = "both",
    method: Sequence[str] = METHODS,
) -> None:
    """Evaluate what is missing, then put it together."""
    out.mkdir(parents=True, exist_ok=True)
    records: list[tuple[str, int, MaskRecord]] = []
    reports: list[dict[str, Any]] = []
    located: list[dict[str, Any]] = []
    for called, *bundles in family:
        for seed, bundle in enumerate(map(Path, bundles)):
            mask = ("mask",) if read_manifest(bundle).stage("decoder") is not None else ()
            name, lines = f"{called}-{seed}", out / f"{called}-{seed}.jsonl"
            words = [word for one in (*mask, *method) for word in ("-m", one)]
            words += ["--domain", domain, "--records", str(lines)]
            report = kept_report("masks", bundle, data, fold, words, out / f"{name}.json")
            reports.append({"family": called, "seed": seed, **report})
            records += [(called, seed, record_of(line)) for line in lines.read_text().splitlines()]
            if events is not None:
                words = [word for one in (*mask, *PLACES) for word in ("-m", one)]
                words += ["--events", str(events)]
                report = out / f"{name}-events.json"
                found = kept_report("events", bundle, data, fold, words, report)
                located.append({"family": called, "seed": seed, **found})
    tables = {
        "fidelity": fidelity(reports),
        "faithfulness": over_seeds(records),
    }
    for first in ("components", "components_log"):
        if first in method:
            tables[f"{first} minus the others"] = _pooled(records, first)
    if located:
        tables["places of events"] = places(located)
    for title, table in tables.items():
        print(f"{title}\n\n{table.text(intervals=True)}\n")
    document = {
        "reports": reports,
        "located": located,
        "tables": {title: table.to_dict() for title, table in tables.items()},
    }
    (out / "components.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def fidelity(reports: list[dict[str, Any]]) -> Table:
    """A row a family and speaker: mean and spread over seeds of what `earmark evaluate` says of them."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    keys: dict[str, str] = {}
    for report in reports:
        found = report["components"]
        table = found["fidelity"]["clean"]
        keys |= {column["key"]: column["title"] for column in table["columns"] if column["key"] != "method"}
        figures = {key: found["figures"]["clean"][key] for key in FIGURES}
        for row in table["rows"]:
            own = figures if row["method"] == "components" else {}
            groups.setdefault((report["family"], row["method"]), []).append({**row, **own})
    titles = {**keys, "relative_error": "error", "squared_error": "MSE", "selected": "selected"}
    titles |= {"none_selected": "none"}
    columns = [Column("family", "family"), Column("method", "says")]
    columns += [Column(key, title) for key, title in titles.items()]
    rows = []
    for (family, method), some in groups.items():
        cells = {key: _spread([one.get(key) for one in some]) for key in titles}
        rows.append({"family": family, "method": method, **cells})
    return Table(columns, rows)


def places(located: list[dict[str, Any]]) -> Table:
    """A row a family and method: mean and spread over seeds of AUC and average precision."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for report in located:
        for row in report["table"]["rows"]:
            groups.setdefault((report["family"], row["method"]), []).append(row)
    columns = [Column(key, key) for key in ("family", "method", "auc", "precision")]
    rows = [
        {"family": family, "method": method}
        | {key: _spread([one.get(key) for one in some]) for key in ("auc", "precision")}
        for (family, method), some in groups.items()
    ]
    return Table(columns, rows)


def _spread(cells: list[Any]) -> str | None:
    """Mean and standard deviation of the seeds' estimates."""
    found = [cell["estimate"] for cell in cells if cell is not None and cell["estimate"] is not None]
    if not found:
        return None
    digits = 1 if max(found) >= 2 else 3
    spread = f" ± {np.std(found, ddof=1):.{digits}f}" if len(found) > 1 else ""
    return f"{np.mean(found):.{digits}f}{spread}"


def _pooled(records: list[tuple[str, int, MaskRecord]], first: str) -> Table:
    """`first` minus the others over all windows and seeds, family by family (told as the condition)."""
    named = [
        replace(record, clip=f"{seed}/{record.clip}", condition=family) for family, seed, record in records
    ]
    return differences(named, first)


if __name__ == "__main__":
    run_main(main)
