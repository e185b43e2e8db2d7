"""How pages look: themes, print, narrow windows and barriers, in Chromium alone.

Screenshots lie in EARMARK_SCREENSHOTS, else in build/screenshots.
"""

import os
from importlib.resources import files
from pathlib import Path

import pytest
from browsers import tab_of
from report_tabs import READY, opened

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = Path(os.environ.get("EARMARK_SCREENSHOTS") or ROOT / "build" / "screenshots")


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1200)])
def test_no_barriers(chromium, page_of_all, page_of_many, scheme, width):
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    for path in (page_of_all, page_of_many):
        with opened(chromium, path, color_scheme=scheme, viewport={"width": width, "height": 800}) as tab:
            assert tab.evaluate("document.documentElement.dataset.theme") == scheme
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            if path == page_of_many:
                # Two hundred rows alike would be looked at for a minute.
                tab.fill("#least", "99")
                tab.click(".confusion summary")
            tab.evaluate(axe)
            # What is below the list is one explanation again.
            for name in tab.locator("role=tab").all_inner_texts()[: None if path == page_of_all else 1]:
                tab.click(f"role=tab[name='{name}']")
                found = tab.evaluate("axe.run()")["violations"]
                assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found] == []


def test_the_theme_can_be_chosen(chromium, page_of_all):
    with opened(chromium, page_of_all, color_scheme="light") as tab:
        before = tab.evaluate("view.picture.canvas.toDataURL()")
        tab.click("#theme")
        assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
        assert tab.evaluate("view.picture.canvas.toDataURL()") != before


def test_print_shows_everything_on_white(chromium, page_of_all, tmp_path):
    with opened(chromium, page_of_all, color_scheme="dark") as tab:
        tab.pdf(path=str(tmp_path / "page.pdf"))
        assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
        tab.emulate_media(media="print")
        assert tab.locator("[role=tabpanel]:visible").count() == 5
        assert not tab.is_visible(".play")
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("look", ["light", "dark", "phone", "print"])
def test_screenshots(chromium, page_of_all, page_of_many, look):
    """For a person to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    options = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2} if look == "phone" else {}
    scheme = "dark" if look == "dark" else "light"
    for name, path in (("one", page_of_all), ("many", page_of_many)):
        with opened(chromium, path, color_scheme=scheme, **options) as tab:
            if look == "print":
                tab.emulate_media(media="print")
            shown = SCREENSHOTS / f"{name}_{look}.png"
            tab.screenshot(path=shown, full_page=look == "print" and name == "one")
            assert shown.read_bytes().startswith(b"\x89PNG")


def test_a_screenshot_of_firefox(firefox, page_of_all):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    # Playwright would hide the caret by a style, which the page refuses, and says so.
    with tab_of(firefox, page_of_all.as_uri(), "file:", READY) as (tab, _):
        tab.screenshot(path=SCREENSHOTS / "one_firefox.png")
    assert (SCREENSHOTS / "one_firefox.png").stat().st_size > 50_000
