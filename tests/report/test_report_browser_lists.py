"""Pages of many detections in Chromium and Firefox: lists, the confusion matrix and decisions."""

import csv

import numpy as np
import pytest
from browsers import until
from report_tabs import READY, opened

pytestmark = pytest.mark.browser


def listed(tab):
    """Numbers of the rows that the list shows."""
    return tab.evaluate(
        "[...document.querySelectorAll('#index tr[data-number]')].map((row) => +row.dataset.number)"
    )


def test_a_thousand_detections(browser, page_of_many):
    with opened(browser, page_of_many) as tab:
        # Two seconds are what a person should wait; ten, a machine that does other things besides.
        assert tab.evaluate("performance.now()") < 10_000
        assert tab.inner_text("#index-title") == "1000 detections in 2 files"
        assert tab.locator("#index tbody tr[data-number]").count() == 200
        tab.fill("#search", "two.wav")
        assert "500 of 1000" in tab.inner_text("#index [role=status]")
        tab.select_option("#class", "bell")
        tab.fill("#least", "90")
        wanted = [n for n in range(500, 1000) if n % 8 == 0 and (n % 100) / 100 >= 0.9]
        shown = listed(tab)
        assert shown == wanted
        tab.click("#index thead >> text=Score")
        assert tab.get_attribute("#index th:has-text('Score')", "aria-sort") == "descending"
        shown = listed(tab)
        assert shown == sorted(wanted, key=lambda n: -(n % 100))
        tab.click(f"tr[data-number='{wanted[3]}'] .link")
        tab.wait_for_selector("article[data-ready]")
        assert tab.evaluate("view.row.id") == f"id-{wanted[3]}"


def test_the_confusion_matrix_counts_and_lists(browser, page_of_many):
    with opened(browser, page_of_many) as tab:
        agree = sum(n % 3 == 0 for n in range(1000))
        assert f"{agree} of 1000 agree" in tab.inner_text(".confusion summary")
        tab.click(".confusion summary")
        cells = tab.locator(".confusion tbody td").all_inner_texts()
        counts = np.array([int(cell) for cell in cells]).reshape(8, 8)
        assert counts.sum() == 1000
        assert counts.trace() == agree


def test_decisions_are_kept_and_go_out_as_tables(chromium, page_of_many, tmp_path):
    import crowsetta

    tables = {}
    with opened(chromium, page_of_many, accept_downloads=True) as tab:
        tab.click("[data-decision=accept]")
        tab.keyboard.press("n")
        until(tab, "view.row.id === 'id-1'")
        tab.click("[data-decision=reject]")
        tab.keyboard.press("n")
        until(tab, "view.row.id === 'id-2'")
        tab.fill(".decide input", 'a "new", one')
        tab.click("[data-decision=relabel]")
        # After it was closed and opened again.
        tab.goto("about:blank")
        tab.goto(page_of_many.as_uri())
        tab.wait_for_selector(READY)
        assert tab.inner_text("tr[data-number='1'] td:last-child") == "rejected"
        for name in ("csv", "raven"):
            with tab.expect_download() as download:
                tab.click(f"#{name}")
            tables[name] = tmp_path / download.value.suggested_filename
            download.value.save_as(tables[name])
    with tables["csv"].open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1000
    assert [row["decision"] for row in rows[:4]] == ["accepted", "rejected", "relabelled", "open"]
    assert [row["decided_label"] for row in rows[:4]] == [
        rows[0]["label"],
        "",
        'a "new", one',
        rows[3]["label"],
    ]
    raven = crowsetta.formats.bbox.Raven.from_file(tables["raven"], annot_col="Annotation")
    assert len(raven.df) == 999
    assert raven.df["annotation"].iloc[1] == 'a "new", one'
    # The second file's times go on from the end of the first one's.
    assert raven.df["begin_time_s"].iloc[499] == pytest.approx(1000.0)
