"""How large a page of many detections is, and how long it takes to write: `python benchmarks/report_page.py`.

How long a browser takes to open it: `pytest -m browser` opens such a page.
"""

from __future__ import annotations

import time
from pathlib import Path

from measuring import run_main

import earmark
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.report.gather import item_of
from earmark.runtime.report.items import Row, SearchedSound
from earmark.runtime.report.page import ReportWriter


def main(*, count: int = 1000, out: Path = Path("report.html")) -> None:
    """Write a page of one explanation, many times over, and print its size."""
    explainer = earmark.load(SHIPPED, "cpu")
    item = item_of(explainer.explain(SHIPPED.with_name("example.flac"), methods=["mask"]))
    begin = time.perf_counter()
    with ReportWriter("Benchmark", "detections", tuple(explainer.labels)) as report:
        report.add_sound(SearchedSound("a.wav", "/a.wav", 2.0 * count, 16000))
        for number in range(count):
            row = Row(
                f"{number}", "a.wav", "/a.wav", item.label, item.score, 2.0 * number, 2.0 * number + 2.0
            )
            report.add(row, item)
        report.write(out)
    took, size = time.perf_counter() - begin, out.stat().st_size
    print(f"{count} detections: {size / 1e6:.1f} MB, written in {took:.2f} s")


if __name__ == "__main__":
    run_main(main)
