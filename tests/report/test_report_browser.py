"""Pages of one explanation in Chromium and Firefox: what is drawn and heard, and keys; no error, no request.

What is heard is measured: the page renders it in an OfflineAudioContext by the same graph that plays.
"""

import numpy as np
import pytest
import soundfile
from browsers import nothing_runs, tab_of, until
from report_tabs import READY, close, heard, named, opened, unlevelled

pytestmark = pytest.mark.browser

RATE = 16000
HOSTILE = '</script><script>window.ran=1</script><img src=x onerror="window.ran=1">\''


def light(tab, box):
    """Mean luminance of a place of the spectrogram, as a print in grey shows it."""
    return tab.evaluate(
        """(box) => {
          const { canvas } = view.picture;
          const [x0, x1] = [view.picture.x(box[0]), view.picture.x(box[1])];
          const [y0, y1] = [view.picture.y(box[3]), view.picture.y(box[2])];
          const place = [x0, y0, x1 - x0, y1 - y0].map((one) => one * canvas.width / canvas.clientWidth);
          const { data } = canvas.getContext("2d").getImageData(...place);
          let sum = 0;
          for (let at = 0; at < data.length; at += 4) {
            sum += 0.2126 * data[at] + 0.7152 * data[at + 1] + 0.0722 * data[at + 2];
          }
          return sum / (data.length / 4);
        }""",
        list(box),
    )


def test_playing_goes_on_where_it_was_when_the_voice_is_switched(browser, page_of_all):
    with opened(browser, page_of_all) as tab:
        tab.click("text=Play >> nth=0")
        until(tab, "view.transport.time > 0.15")
        assert tab.inner_text(".play") == "Pause"
        before = tab.evaluate("view.transport.time")
        tab.keyboard.press("Escape")
        tab.evaluate("document.activeElement.blur()")
        tab.keyboard.press("2")
        after = tab.evaluate(
            "[view.transport.time, view.transport.playing, [...view.transport.shares.keys()]]"
        )
        # The clock of sound steps by whole buffers.
        assert before - 0.05 <= after[0] < before + 0.6
        assert after[1:] == [True, ["kept"]]
        assert tab.is_checked("input[value=kept]")
        left = tab.evaluate("parseFloat(view.cursor.style.left)")
        until(tab, f"parseFloat(view.cursor.style.left) > {left}")
        assert float(tab.input_value(".position")) > before
        tab.keyboard.press(" ")
        assert tab.inner_text(".play") == "Play"
        stopped = tab.evaluate("view.transport.time")
        tab.wait_for_timeout(150)
        assert tab.evaluate("view.transport.time") == stopped
        tab.keyboard.press("ArrowRight")
        assert tab.evaluate("view.transport.time") == pytest.approx(stopped + 0.04, abs=1e-3)


def test_the_end_is_the_beginning(browser, page_of_all):
    with opened(browser, page_of_all) as tab:
        tab.evaluate("view.transport.seek(1.8)")
        tab.click(".play")
        until(tab, "!view.transport.playing")
        assert tab.evaluate("view.transport.time") == 0
        assert tab.inner_text(".play") == "Play"


def test_what_is_heard_is_the_sound_and_its_parts(browser, page_of_all, whole):
    mask = whole.mask
    voices = {"original": mask.audio + mask.residual, "kept": mask.audio, "removed": mask.residual}
    with opened(browser, page_of_all) as tab:
        unlevelled(tab)
        for voice, sound in voices.items():
            tab.check(f"input[value={voice}]")
            close(heard(tab), np.ravel(sound))
        tab.check("#level")
        loud = {}
        for voice in voices:
            tab.check(f"input[value={voice}]")
            samples = heard(tab)
            assert np.abs(samples).max() <= 0.99
            blocks = np.square(samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)).mean(1)
            loud[voice] = np.sqrt(blocks[blocks >= 1e-4 * blocks.max()].mean()), np.abs(samples).max()
        # As loud as the others, or as loud as full scale allows.
        assert all(abs(rms - 0.1) < 0.01 or peak > 0.95 for rms, peak in loud.values()), loud


def test_a_selection_is_looped(browser, page_of_all, whole):
    with opened(browser, page_of_all) as tab:
        unlevelled(tab)
        box = tab.locator(".spectrogram").first.bounding_box()
        at = [box["x"] + tab.evaluate(f"view.picture.x({time})") for time in (0.5, 0.8)]
        tab.mouse.move(at[0], box["y"] + 100)
        tab.mouse.down()
        tab.mouse.move(at[1], box["y"] + 120, steps=4)
        tab.mouse.up()
        start, end = tab.evaluate("view.selection")
        assert (start, end) == (pytest.approx(0.5, abs=0.01), pytest.approx(0.8, abs=0.01))
        original = np.ravel(whole.mask.audio + whole.mask.residual)
        close(heard(tab), original[round(start * RATE) : round(end * RATE)])
        tab.click(".play")
        seen = [start]
        while len(seen) < 100 and seen == sorted(seen):
            tab.wait_for_timeout(40)
            seen.append(tab.evaluate("view.transport.time"))
        assert all(start - 1e-6 <= at <= end for at in seen)
        # It went back to the begin.
        assert seen != sorted(seen)
        tab.keyboard.press("Escape")
        assert tab.evaluate("view.selection") is None


def test_the_mixer_plays_components_alone_and_leaves_them_out(browser, page_of_all, whole):
    with opened(browser, page_of_all) as tab:
        unlevelled(tab)
        tab.click("role=tab[name=Components]")
        first = np.ravel(whole.components[whole.components.selected[0]].audio())
        original = np.ravel(whole.mask.audio + whole.mask.residual)
        tab.click("[data-track=track-0] >> text=Solo")
        assert tab.is_checked("input[value=mixer]")
        close(heard(tab), first)
        tab.click("[data-track=track-0] >> text=Solo")
        close(heard(tab), original)
        tab.click("[data-track=track-0] >> text=Mute")
        close(heard(tab), original - first)


def test_the_slider_sets_how_far_what_is_removed_fades(chromium, page_of_all, whole):
    """In grey: with the mask shown, what is kept stands out by lightness alone, in both themes."""
    for scheme in ("light", "dark"):
        with opened(chromium, page_of_all, color_scheme=scheme) as tab:
            amplitude, mask = whole.mask.overview.amplitude, whole.mask.overview.mask
            frame, top = whole.duration_s / len(mask), whole.mask.max_hz
            # A place that is removed entirely, and is not silent.
            loud = np.where(mask < 0.05, amplitude, 0.0)[:, 8:]
            column, row = divmod(int(loud.argmax()), loud.shape[1])
            hz = (row + 8) * top / mask.shape[1]
            box = (max(0.0, (column - 1) * frame), (column + 2) * frame, max(0.0, hz - 150), hz + 150)
            shown = []
            for strength in (0, 50, 100):
                tab.fill("#strength", str(strength))
                shown.append(light(tab, box))
            paper = 255 if scheme == "light" else 10
            away = [abs(value - paper) for value in shown]
            assert away[0] > away[1] + 2 > away[2] + 4, (scheme, shown)


def test_mel_moves_frequencies(browser, page_of_all):
    with opened(browser, page_of_all) as tab:
        linear = tab.evaluate("view.picture.y(1000)")
        before = tab.evaluate("view.picture.canvas.toDataURL()")
        tab.select_option("#scale", "mel")
        assert tab.evaluate("view.picture.y(1000)") < linear
        assert tab.evaluate("view.picture.canvas.toDataURL()") != before


def test_tabs_by_keys_and_places_of_rows(browser, page_of_all, whole):
    with opened(browser, page_of_all) as tab:
        assert tab.locator("role=tab").all_inner_texts() == [
            "Segments",
            "Prototypes",
            "Components",
            "Contributions",
            "What was run",
        ]
        strongest = whole.segments.strongest(1)[0]
        tab.click(".bars .link >> nth=0")
        start, end = tab.evaluate("view.selection")
        assert start == pytest.approx(float(whole.segments.start_s[strongest]), abs=1e-3)
        assert end == pytest.approx(float(whole.segments.end_s[strongest]), abs=1e-3)
        tab.focus("role=tab[name=Segments]")
        tab.keyboard.press("ArrowRight")
        assert tab.get_attribute("role=tab[name=Prototypes]", "aria-selected") == "true"
        assert tab.is_visible(".match >> nth=0")
        assert not tab.is_visible(".bars >> nth=0")
        tab.keyboard.press("End")
        assert whole.bundle_id in tab.inner_text("#panel-4")


def test_a_prototype_plays_and_stops_the_rest(browser, page_of_all):
    with opened(browser, page_of_all) as tab:
        tab.click(".play")
        tab.click("role=tab[name=Prototypes]")
        tab.click(".match >> nth=0 >> text=Play")
        until(tab, "sounding !== view.transport && sounding.time > 0.1")
        assert tab.inner_text(".play") == "Play"
        painted = tab.evaluate("view.smaller.map((one) => one.canvas.width * one.canvas.height > 5000)")
        assert painted
        assert all(painted)


def test_what_is_heard_can_be_saved(chromium, page_of_all, whole, tmp_path):
    with opened(chromium, page_of_all, accept_downloads=True) as tab:
        unlevelled(tab)
        tab.check("input[value=kept]")
        with tab.expect_download() as download:
            tab.click("text=Save as WAV")
        download.value.save_as(tmp_path / "kept.wav")
    sound, rate = soundfile.read(tmp_path / "kept.wav", dtype="float32")
    assert rate == RATE
    close(sound, np.ravel(whole.mask.audio))


def test_what_is_hostile_never_runs(browser, whole, tmp_path):
    named(whole, HOSTILE).to_html(tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html") as tab:
        assert tab.evaluate("window.ran") is None
        assert tab.locator("img").count() == 0
        assert HOSTILE in tab.inner_text("h2")


def test_a_notebooks_frame_plays(browser, whole, tmp_path):
    """In a page of another origin; Chromium says that scripts of a sandbox are kept apart, which is so."""
    (tmp_path / "notebook.html").write_text(
        f"<!doctype html><meta charset=utf-8><p>A cell</p>{whole._repr_html_()}", encoding="utf-8"
    )
    with tab_of(browser, (tmp_path / "notebook.html").as_uri(), "file:") as (tab, told):
        frame = tab.frames[1]
        frame.wait_for_selector(READY)
        frame.click(".play")
        until(frame, "view.transport.time > 0.1")
        assert [text for text in told if "sandbox" not in text] == []
        assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_policy_holds(browser, page_of_all):
    with tab_of(browser, page_of_all.as_uri(), "file:", READY) as (tab, _):
        nothing_runs(tab)
