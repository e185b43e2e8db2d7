"""How large a page of many detections is, and how long it takes to write: `python benchmarks/report_page.py`.

How long a browser takes to open it: `pytest -m browser` opens such a page.
"""

from __future__ import annotations

import time
from pathlib import Path

from measuring import options_of

import earmark
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.report.gather import item_of
from earmark.runtime.report.items import Row, SearchedSound
from earmark.runtime.report.page import ReportWriter


def main() -> None:
    """Write a page of one explanation, many times over, and print its size."""
    parser = options_of(__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("report.html"))
    given = parser.parse_args()
    explainer = earmark.load(SHIPPED, "cpu")
    item = item_of(explainer.explain(SHIPPED.with_name("example.flac"), methods=["mask"]))
    begin = time.perf_counter()
    with ReportWriter("Benchmark", "detections", tuple(explainer.labels)) as report:
        report.add_sound(SearchedSound("a.wav", "/a.wav", 2.0 * given.count, 16000))
        for number in range(given.count):
            row = Row(
                f"{number}", "a.wav", "/a.wav", item.label, item.score, 2.0 * number, 2.0 * number + 2.0
            )
            report.add(row, item)
        report.write(given.out)
    took, size = time.perf_counter() - begin, given.out.stat().st_size
    print(f"{given.count} detections: {size / 1e6:.1f} MB, written in {took:.2f} s")


if __name__ == "__main__":
    main()
