r"""Faithfulness over several seeds: mean and spread, and paired differences pooled over the seeds.

    python benchmarks/faithfulness.py DATA --out DIR --fold 4 \
        --family compact S0 S1 S2 --sources RUN0 RUN1 RUN2 [--family heavy H0 H1 H2] \
        [--condition clean noise_6db ...] [--method mask energy ...] [--markdown]

A family is one bundle a seed; the first family gets every method, further ones mask and thresholded
alone. Each bundle and condition is one `earmark evaluate masks`, kept in DIR and not repeated as long as
bundle, data and options are the same. Prints tables; all of it goes to DIR/summary.json.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from measuring import run_main

from earmark.evaluation.faithfulness.evaluate import differences
from earmark.evaluation.faithfulness.judge import MaskRecord
from earmark.evaluation.faithfulness.metrics import METRICS
from earmark.evaluation.report import Column, Table

MASKS = ("mask", "thresholded")


def main(
    data: Path,
    *,
    out: Path,
    family: Sequence[Sequence[str]],
    sources: Sequence[str] = (),
    fold: int | None = None,
    condition: Sequence[str] = ("clean",),
    method: Sequence[str] = (),
    curves: bool = False,
    markdown: bool = False,
) -> None:
    """Evaluate what is missing, then put it together."""
    out.mkdir(parents=True, exist_ok=True)
    records: list[tuple[str, int, MaskRecord]] = []
    reports = []
    for called, *bundles in family:
        everything = called == family[0][0]
        for (seed, bundle), under in product(enumerate(bundles), condition):
            name = f"{called}-{seed}-{under}"
            lines = out / f"{name}.jsonl"
            words = ["--condition", under, "--records", str(lines)]
            words += [word for one in (method if everything else MASKS) for word in ("--method", one)]
            if everything and seed < len(sources):
                words += ["--source", sources[seed]]
            if everything and curves:
                words += ["--curves", str(out / f"{name}-curves.json")]
            document = kept_report("masks", Path(bundle), data, fold, words, out / f"{name}.json")
            reports.append({"family": called, "seed": seed, **document})
            records += [(called, seed, record_of(line)) for line in lines.read_text().splitlines()]
    rows = over_seeds(records)
    first = family[0][0]
    pooled = differences([_named(*one, first) for one in records], "mask")
    print(f"{len(family[0]) - 1} seeds, fold {fold}: mean and standard deviation over seeds\n")
    print(rows.markdown() if markdown else rows.text())
    print(f"\n{first} mask minus the others, window by window, all seeds; intervals over source recordings\n")
    print(pooled.markdown(intervals=True) if markdown else pooled.text(intervals=True))
    summary = {"reports": reports, "table": rows.to_dict(), "differences": pooled.to_dict()}
    (out / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")


def kept_report(
    question: str, bundle: Path, data: Path, fold: int | None, words: Sequence[str], report: Path
) -> dict[str, Any]:
    """The report of one `earmark evaluate`, from its file where that is of the same question and bundle."""
    command = ["evaluate", question, str(bundle), str(data), "--json", *words]
    command += ["--fold", str(fold)] if fold is not None else []
    manifest = hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
    asked = {"command": command, "manifest_sha256": manifest}
    if not report.exists() or json.loads(report.read_text()).get("asked") != asked:
        print(f"earmark {' '.join(command)}", file=sys.stderr)
        done = subprocess.run(
            [sys.executable, "-m", "earmark.cli", *command], stdout=subprocess.PIPE, text=True, check=True
        )
        document = {"asked": asked, **json.loads(done.stdout)}
        report.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def record_of(line: str) -> MaskRecord:
    """A record as it was before it became JSON."""
    fields = json.loads(line)
    values = {key: np.nan if value is None else value for key, value in fields["values"].items()}
    return MaskRecord(**{**fields, "values": values})


def _named(family: str, seed: int, record: MaskRecord, first: str) -> MaskRecord:
    """The record under a name that keeps seeds and families apart; the first family's names stay."""
    masker = record.masker if family == first else f"{family} {record.masker}"
    return replace(record, clip=f"{seed}/{record.clip}", masker=masker)


def over_seeds(records: Sequence[tuple[str, int, MaskRecord]]) -> Table:
    """A row a condition, domain, family and masker: the mean over seeds and its spread."""
    columns = [Column(key, key) for key in ("condition", "domain", "family", "method")]
    columns += [Column("area", "area"), Column("area_spread", "spread")]
    columns += [
        Column(key, METRICS[key].name, better=METRICS[key].better) for key in METRICS if key != "area"
    ]
    columns += [Column("ms", "ms", 1)]
    rows = []
    for names, seeds in _seeds(records):
        row = dict(zip(("condition", "domain", "family", "method"), names, strict=True))
        for key, metric in METRICS.items():
            means = [np.nanmean([one.values[key] for one in some]) for some in seeds]
            digits = 1 if metric.high == 100.0 else 3
            spread = np.std(means, ddof=1) if len(means) > 1 else np.nan
            row[key] = f"{np.mean(means):z.{digits}f}" + (f" ± {spread:.{digits}f}" if len(means) > 1 else "")
        row["area_spread"] = float(np.mean([np.std([one.values["area"] for one in some]) for some in seeds]))
        row["ms"] = float(np.median([one.milliseconds for some in seeds for one in some]))
        rows.append(row)
    return Table(columns, rows)


def _seeds(
    records: Sequence[tuple[str, int, MaskRecord]],
) -> Iterator[tuple[tuple[str, str, str, str], list[list[MaskRecord]]]]:
    """Records of one condition, domain, family and masker, seed by seed."""
    groups: dict[tuple[str, str, str, str], dict[int, list[MaskRecord]]] = {}
    for family, seed, one in records:
        key = (one.condition, one.domain, family, one.masker)
        groups.setdefault(key, {}).setdefault(seed, []).append(one)
    order = {pair: index for index, pair in enumerate(dict.fromkeys(key[:2] for key in groups))}
    for key, seeds in sorted(groups.items(), key=lambda item: order[item[0][:2]]):
        yield key, list(seeds.values())


if __name__ == "__main__":
    run_main(main)
