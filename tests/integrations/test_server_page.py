"""The page of `earmark serve` in Chromium: sounds chosen, dropped and recorded; tokens; what goes wrong."""

from contextlib import contextmanager
from importlib.resources import files

import pytest
from browsers import tab_of, until
from http_server import flac, served

from earmark.runtime.explainer import SHIPPED

pytestmark = pytest.mark.browser

TOKEN = "a-token-of-the-tests"
CLIP = SHIPPED.with_name("example.flac")
HOSTILE = '"><img src=x onerror="window.ran=1">.flac'


@pytest.fixture(scope="module")
def server():
    with served("--max-bytes", "1M", "--max-seconds", "30") as one:
        yield one


@contextmanager
def opened(browser, server, *, refused=0, **options):
    """A tab with the page; whatever it complains of or asks elsewhere is an error.

    refused: answers that are errors, which browsers write into the console themselves
    """
    with tab_of(browser, server.url, server.url, **options) as (tab, told):
        tab.set_default_timeout(20_000)
        yield tab
        assert tab.evaluate("window.ran === undefined")
    assert len(told) == refused, told
    assert all(text.startswith("Failed to load resource") for text in told)


def explained(tab):
    """The heading of what is shown, when all of it is there."""
    until(tab, "document.querySelector('article[data-ready]') || !document.querySelector('#error').hidden")
    assert not tab.is_visible("#error"), tab.inner_text("#error")
    return tab.inner_text("#item-title")


def drop(tab, name, content):
    """Drop a file onto the page."""
    tab.evaluate(
        """([name, bytes]) => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(bytes)], name));
            for (const type of ["dragover", "drop"]) {
                document.body.dispatchEvent(new DragEvent(type, { dataTransfer: files, bubbles: true }));
            }
        }""",
        [name, list(content)],
    )


def test_a_chosen_sound_is_explained(chromium, server):
    with opened(chromium, server) as tab:
        tab.wait_for_selector("#live[data-ready]")
        tab.set_input_files("#file", CLIP)
        assert explained(tab).startswith("snare")
        assert "is explained" in tab.inner_text("#status")
        # The report's own players.
        assert tab.evaluate("[...view.transport.voices.keys()]") == ["original", "kept", "removed"]
        tab.click(".play")
        tab.wait_for_timeout(400)
        assert tab.evaluate("view.transport.time") > 0.1
        assert "Prototypes" in tab.inner_text('[role="tablist"]')
        tab.uncheck('input[value="prototypes"]')
        # Another label explains the sound again.
        tab.select_option("#target", "bell")
        until(tab, "document.querySelector('#item-title')?.textContent.startsWith('bell')")
        assert explained(tab).startswith("bell")
        assert "Prototypes" not in tab.inner_text('[role="tablist"]')


def test_a_name_with_markup_is_text(chromium, server):
    with opened(chromium, server) as tab:
        tab.wait_for_selector("#live[data-ready]")
        drop(tab, HOSTILE, CLIP.read_bytes())
        explained(tab)
        assert HOSTILE in tab.inner_text(".file")


def test_what_cannot_be_used_is_said_and_the_page_goes_on(chromium, server):
    with opened(chromium, server, refused=1) as tab:
        tab.wait_for_selector("#live[data-ready]")
        drop(tab, "notes.txt", b"this is no sound")
        tab.wait_for_selector("#error:not([hidden])")
        assert "notes.txt is not a sound that can be read" in tab.inner_text("#error")
        drop(tab, "big.wav", bytes(2_000_000))
        until(tab, "document.querySelector('#error').textContent.includes('big.wav')")
        assert tab.inner_text("#error") == "big.wav has 2.0 MB; at most 1.0 MB are taken."
        drop(tab, "empty.wav", b"")
        until(tab, "document.querySelector('#error').textContent.includes('is empty')")
        tab.set_input_files("#file", CLIP)
        assert explained(tab).startswith("snare")
        assert not tab.is_visible("#error")


def test_what_is_recorded_is_explained(chromium, server):
    with opened(chromium, server, permissions=["microphone"]) as tab:
        tab.wait_for_selector("#live[data-ready]")
        tab.click("#record")
        tab.wait_for_selector('#record[aria-pressed="true"]')
        tab.wait_for_timeout(1500)
        tab.click("#record")
        explained(tab)
        assert "recording.wav" in tab.inner_text(".file")
        rate, seconds = tab.evaluate(
            "[view.transport.voices.get('original').buffer.sampleRate, view.item.seconds]"
        )
        assert rate >= 16_000
        assert 0.8 < seconds < 6.0
        # The fake microphone beeps.
        assert (
            tab.evaluate(
                "Math.max(...view.transport.voices.get('original').buffer.getChannelData(0).slice(0, 40000))"
            )
            > 0.01
        )


def test_an_explanation_can_be_cancelled(chromium, server):
    with opened(chromium, server) as tab:
        tab.wait_for_selector("#live[data-ready]")
        tab.uncheck('input[value="mask"]')
        tab.uncheck('input[value="prototypes"]')
        tab.check('input[value="segments"]')
        drop(tab, "noise.flac", flac(20.0))
        tab.wait_for_selector("#cancel:not([hidden])")
        tab.click("#cancel")
        assert tab.inner_text("#status") == "Cancelled."
        assert not tab.is_visible("#cancel")


def test_a_token_is_asked_for(chromium):
    with served(EARMARK_TOKEN=TOKEN) as guarded, opened(chromium, guarded, refused=2) as tab:
        tab.fill("#token", "not the token at all")
        tab.press("#token", "Enter")
        tab.wait_for_selector('[role="alert"]')
        assert tab.inner_text('[role="alert"]') == "That is not its token."
        tab.fill("#token", TOKEN)
        tab.press("#token", "Enter")
        tab.wait_for_selector("#live[data-ready]")
        tab.set_input_files("#file", CLIP)
        assert explained(tab).startswith("snare")
        assert TOKEN not in tab.content()
        assert TOKEN not in tab.url


def test_a_server_that_is_gone_is_said(chromium):
    with served() as going, opened(chromium, going, refused=1) as tab:
        tab.wait_for_selector("#live[data-ready]")
        assert going.stop() == 0
        tab.set_input_files("#file", CLIP)
        tab.wait_for_selector("#error:not([hidden])")
        assert tab.inner_text("#error") == "The server does not answer: does it still run?"


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark", "viewport": {"width": 390, "height": 800}}])
def test_nobody_is_kept_out(chromium, server, options):
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    with opened(chromium, server, **options) as tab:
        tab.wait_for_selector("#live[data-ready]")
        tab.evaluate(axe)
        found = tab.evaluate("axe.run()")["violations"]
        assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found] == []
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        # By keyboard alone.
        tab.focus("#choose")
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.id") == "record"
