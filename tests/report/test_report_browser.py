"""Pages in Chromium and Firefox: what is drawn and heard, keys, lists and decisions; no error, no request.

What is heard is measured: the page renders it in an OfflineAudioContext by the same graph that plays. Themes,
print and barriers are looked at in Chromium alone. Screenshots lie in EARMARK_SCREENSHOTS, else in
build/screenshots.
"""

import csv
import os
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import soundfile
from browsers import FIREFOXES, installed, nothing_runs, tab_of, until

import earmark
from earmark.evaluation.synthesis.clips import make_clip
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.report.gather import item_of
from earmark.runtime.report.items import Row, SearchedSound
from earmark.runtime.report.page import ReportWriter

pytestmark = pytest.mark.browser

RATE = 16000
ROOT = Path(__file__).resolve().parents[2]
HOSTILE = '</script><script>window.ran=1</script><img src=x onerror="window.ran=1">\''
READY = "article[data-ready]"
SCREENSHOTS = Path(os.environ.get("EARMARK_SCREENSHOTS") or ROOT / "build" / "screenshots")


@pytest.fixture(scope="module")
def sound_server(tmp_path_factory):
    """A sound card that nobody hears: Firefox plays nothing without one."""
    folder = tmp_path_factory.mktemp("pulse")
    socket = folder / "socket"
    modules = [f"module-native-protocol-unix socket={socket} auth-anonymous=1", "module-null-sink"]
    options = ["-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disable-shm=true"]
    options += [word for module in modules for word in ("-L", module)]
    own = {**os.environ, "PULSE_RUNTIME_PATH": str(folder), "PULSE_STATE_PATH": str(folder)}
    server = subprocess.Popen([installed(["pulseaudio"]), *options], env=own, stderr=subprocess.DEVNULL)
    for _ in range(200):
        if socket.exists():
            break
        time.sleep(0.05)
    assert socket.exists()
    yield f"unix:{socket}"
    server.terminate()
    server.wait()


@pytest.fixture(scope="module")
def firefox(playwright, sound_server):
    """Debian's, by WebDriver BiDi."""
    opened = playwright.firefox.launch(
        executable_path=installed(FIREFOXES),
        channel="moz-firefox",
        env={**os.environ, "PULSE_SERVER": sound_server},
        # A click by BiDi is none of a person.
        firefox_user_prefs={"media.autoplay.default": 0, "media.autoplay.blocking_policy": 0},
    )
    yield opened
    opened.close()


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def browser(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def whole(components_bundle):
    """An explanation by every method."""
    sound = np.float32(make_clip("bell", [6, 0, 0], snr_db=20.0).waveform)
    methods = ["mask", "segments", "components", "prototypes"]
    return earmark.load(components_bundle, "cpu").explain((sound, RATE), methods=methods, rescore=True)


@pytest.fixture(scope="module")
def page_of_all(whole, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "all.html"
    whole.to_html(path)
    return path


@pytest.fixture(scope="module")
def page_of_many(tmp_path_factory):
    """A thousand detections; as many as fit have sound and pictures; every third agrees with its folder."""
    explainer = earmark.load(SHIPPED, "cpu")
    item = item_of(explainer.explain(SHIPPED.with_name("example.flac"), methods=["mask"]))
    labels = explainer.labels
    path = tmp_path_factory.mktemp("page") / "many.html"
    with ReportWriter("A thousand", "detections", tuple(labels)) as report:
        for name in ("one", "two"):
            report.add_sound(SearchedSound(f"/field/{name}.wav", f"/field/{name}.wav", 1000.0, RATE))
        for number in range(1000):
            name = f"/field/{'one' if number < 500 else 'two'}.wav"
            label = labels[number % 8]
            truth = label if number % 3 == 0 else labels[(number + 1) % 8]
            start = 2.0 * (number % 500)
            place = (start, start + 2.0, 100.0, 900.0)
            row = Row(f"id-{number}", name, name, label, (number % 100) / 100, *place, truth=truth)
            report.add(row, item)
        report.write(path)
    return path


@contextmanager
def opened(browser, path, **options):
    """A tab with the page; whatever it complains of or asks for is an error."""
    with tab_of(browser, path.as_uri(), "file:", READY, **options) as (tab, told):
        yield tab
    assert told == []


def listed(tab):
    """Numbers of the rows that the list shows."""
    return tab.evaluate(
        "[...document.querySelectorAll('#index tr[data-number]')].map((row) => +row.dataset.number)"
    )


def heard(tab):
    """What would be heard of all or of the selection."""
    return np.asarray(tab.evaluate("view.transport.render().then((buffer) => [...buffer.getChannelData(0)])"))


def unlevelled(tab):
    tab.uncheck("#level")


def close(one, other):
    """Equal but for 16 bits."""
    count = min(len(one), len(other))
    assert abs(len(one) - len(other)) <= 2
    np.testing.assert_allclose(one[:count], other[:count], atol=2e-4)


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


def test_what_is_hostile_never_runs(browser, whole, tmp_path):
    labels = (HOSTILE, *(label for label, _ in whole.predictions[1:]))
    scores = (score for _, score in whole.predictions)
    hostile = replace(
        whole,
        input=f"/data/{HOSTILE}.wav",
        target=HOSTILE,
        predictions=tuple(zip(labels, scores, strict=True)),
        warnings=(HOSTILE,),
        bundle=HOSTILE,
    )
    hostile.to_html(tmp_path / "page.html")
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
