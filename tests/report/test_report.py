"""Pages: whole in one file, harmless whatever names and labels hold, and true to the explanation."""

import base64
import hashlib
import io
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command_line import invoke
from PIL import Image
from report_tabs import named

import earmark
from earmark.evaluation.synthesis.clips import make_clip
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.report.items import Item, Row, SearchedSound, script_json
from earmark.runtime.report.page import ReportWriter

RATE = 16000
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u2028\x00{{ 7*7 }}"


class Page(HTMLParser):
    """Elements of a page as a browser splits them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, str | None], str]] = []
        self._open: tuple[str, str | None] = ("", None)
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.elements.append((tag, named))
        self._open = (tag, named.get("id") or named.get("type"))

    def handle_endtag(self, tag):
        self._open = ("", None)

    def handle_data(self, data):
        self.texts.append((self._open, data))

    def text_of(self, tag, name=None):
        return "".join(text for opened, text in self.texts if opened == (tag, name))

    def json_of(self, name):
        return json.loads(self.text_of("script", name))


@pytest.fixture(scope="module")
def result(shipped):
    return shipped.explain(SHIPPED.with_name("example.flac"), rescore=True)


@pytest.fixture(scope="module")
def page(result, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    result.to_html(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two sounds in folders named by labels, and one that is none."""
    root = tmp_path_factory.mktemp("sounds")
    for label in ("bell", "kick"):
        (root / label).mkdir()
        soundfile.write(root / label / "one.wav", make_clip(label, [5, 0], snr_db=20.0).waveform, RATE)
    (root / "bell" / "broken.wav").write_bytes(b"RIFF no sound")
    return root


def sound_of(text):
    return soundfile.read(io.BytesIO(base64.b64decode(text)), dtype="float32")


def image_of(text):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_a_page_asks_for_nothing(page):
    for tag, attributes in Page(page).elements:
        assert not {"src", "style"} & set(attributes), (tag, attributes)
        assert attributes.get("href", "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
    style = Page(page).text_of("style")
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_allows_the_pages_own_script_and_styles_alone(page):
    parsed = Page(page)
    (policy,) = (named["content"] for _, named in parsed.elements if "http-equiv" in named)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for tag in ("script", "style"):
        digest = hashlib.sha256(parsed.text_of(tag).encode()).digest()
        assert rules[f"{tag}-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"
    scripts = [named for tag, named in parsed.elements if tag == "script"]
    assert [named for named in scripts if named.get("type") != "application/json"] == [{}]
    assert "unsafe" not in policy


def test_a_page_shows_and_plays_what_the_result_holds(page, result):
    item = Page(page).json_of("item-0")
    mask, sounds = result.mask, item["sounds"]
    original, rate = sound_of(sounds["original"])
    assert rate == result.sample_rate
    np.testing.assert_allclose(original / sounds["scale"], np.ravel(mask.audio + mask.residual), atol=1e-4)
    kept, _ = sound_of(sounds["kept"])
    np.testing.assert_allclose(kept / sounds["scale"], np.ravel(mask.audio), atol=1e-4)
    shown = image_of(item["picture"]["mask"])
    assert shown.dtype == np.uint8
    np.testing.assert_allclose(shown[::-1].T / 255.0, mask.overview.mask, atol=0.01)
    assert item["picture"]["max_hz"] == mask.max_hz
    assert [tuple(one) for one in item["predictions"]] == list(result.predictions[: len(item["predictions"])])
    assert f"{result.rescored['audio']['mask_in']:.1%}" in " ".join(item["summary"])
    views = {name: matches for name, matches in result.prototypes.items() if matches}
    assert len(item["views"]) == len(views)
    for view, matches in zip(item["views"], views.values(), strict=True):
        for shown_match, one in zip(view["matches"], matches, strict=False):
            assert (shown_match["clip"], shown_match["similarity"]) == (one.clip, one.similarity)
            stretch = item["clips"][shown_match["stretch"]]
            wave, clip_rate = sound_of(stretch["sounds"]["original"])
            first = round((one.start_s - stretch["start_s"]) * clip_rate)
            assert -1 <= first < len(wave)
    total = sum(one["value"] for one in item["contributions"])
    assert total == pytest.approx(result.channels.logit, abs=1e-3)


def test_sound_at_a_rate_that_flac_has_not(shipped, tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 70_000).astype(np.float32)
    shipped.explain(noise, 700_000, methods=["mask"]).to_html(tmp_path / "page.html")
    sounds = Page(tmp_path / "page.html").json_of("item-0")["sounds"]
    original, rate = sound_of(sounds["original"])
    assert rate == 700_000
    np.testing.assert_allclose(original / sounds["scale"], noise, atol=1e-4)


def test_matches_of_another_length_or_rhythm_are_marked(shipped, tmp_path):
    """No drum of the index beats half as often as this noise."""
    time = np.arange(2 * RATE) / RATE
    noise = 0.3 * np.random.default_rng(0).standard_normal(len(time))
    beats = (noise * ((time * 9.5) % 1.0 < 0.5)).astype(np.float32)
    shipped.explain(beats, RATE, methods=["prototypes"]).to_html(tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    marked = {
        view["name"]: {match["unlike"] for match in view["matches"]}
        for view in page.json_of("item-0")["views"]
    }
    assert [name for name, unlike in marked.items() if unlike == {True}] == [
        "A moment, over all frequencies (time)"
    ]
    assert list(marked.values()).count({False}) == 3
    assert "of another length or rhythm" in page.text_of("script")


def test_segments_come_with_sign_and_uncertainty(shipped, tmp_path):
    result = shipped.explain(
        (np.float32(make_clip("bell", [1, 0], snr_db=20.0).waveform), RATE), methods=["segments"]
    )
    result.to_html(tmp_path / "page.html")
    item = Page(tmp_path / "page.html").json_of("item-0")
    rows = item["segments"]["rows"]
    assert [row["importance"] for row in rows] == result.segments.importance.tolist()
    assert [row["uncertainty"] for row in rows] == result.segments.uncertainty.tolist()
    # Without a mask there is the sound all the same, and its spectrogram.
    assert item["sounds"]["kept"] == ""
    assert image_of(item["picture"]["loudness"]).max() == 255


def test_components_are_tracks_of_the_original(components_bundle, tmp_path):
    sound = np.float32(make_clip("bell", [6, 0, 0], snr_db=20.0).waveform)
    result = earmark.load(components_bundle, "cpu").explain((sound, RATE), methods=["components"])
    result.to_html(tmp_path / "page.html")
    item = Page(tmp_path / "page.html").json_of("item-0")
    assert len(item["tracks"]) == len(result.components.selected) > 0
    tracks = [sound_of(track["sound"])[0] for track in item["tracks"]]
    kept, _ = sound_of(item["sounds"]["kept"])
    np.testing.assert_allclose(sum(tracks), kept, atol=1e-3)


def test_what_is_hostile_is_text(result, tmp_path):
    named(result, HOSTILE).to_html(tmp_path / "page.html")
    parsed = Page(tmp_path / "page.html")
    plain = {"script", "style", "meta", "title", "html", "head", "body", "a", "header", "h1", "button"}
    plain |= {"noscript", "p", "aside", "section", "main", "footer"}
    assert {tag for tag, _ in parsed.elements} == plain
    assert len([tag for tag, _ in parsed.elements if tag == "script"]) == 3
    item = parsed.json_of("item-0")
    # What a reader cannot see is spelt out; everything else is as it was.
    assert item["label"] == HOSTILE.replace("\u2028", r"\u2028").replace("\x00", r"\x00")
    assert item["warnings"][0] == item["label"]
    # A template within a name is no template.
    assert "{{ 7*7 }}" in item["label"]


@pytest.mark.parametrize(("audio", "plays"), [("full", True), ("none", False)])
def test_a_result_that_was_saved_has_a_page(result, page, tmp_path, audio, plays):
    result.save(tmp_path / "saved", audio=audio)
    earmark.Result.load(tmp_path / "saved").to_html(tmp_path / "page.html")
    now, first = (Page(path).json_of("item-0") for path in (tmp_path / "page.html", page))
    assert now["picture"] == first["picture"]
    assert bool(now["sounds"]) is plays
    if plays:
        loaded, fresh = (sound_of(one["sounds"]["kept"])[0] for one in (now, first))
        np.testing.assert_allclose(loaded, fresh, atol=1e-4)
    else:
        assert now["without"]


def framed(shown, tmp_path):
    """The page within the frame that a notebook is given."""
    page = tmp_path / "frame.html"
    page.write_text(shown, encoding="utf-8")
    ((tag, attributes),) = Page(page).elements
    assert tag == "iframe"
    assert "allow-same-origin" not in attributes["sandbox"]
    page.write_text(attributes["srcdoc"], encoding="utf-8")
    return Page(page)


def test_a_notebook_shows_the_page_in_a_frame(result, page, tmp_path):
    inner = framed(named(result, HOSTILE)._repr_html_(), tmp_path)
    assert inner.json_of("item-0")["sounds"] == Page(page).json_of("item-0")["sounds"]
    assert HOSTILE[:20] in inner.json_of("item-0")["label"]


def test_a_notebooks_page_is_bounded(shipped, tmp_path):
    """Half a minute of noise at 48 kHz: its picture stays, its sound goes."""
    sound = (0.3 * np.random.default_rng(0).standard_normal(30 * 48000)).astype(np.float32)
    shown = shipped.explain((sound, 48000), methods=["mask", "prototypes"])._repr_html_()
    assert len(shown) < 5 << 20
    item = framed(shown, tmp_path).json_of("item-0")
    assert "too large with its sound" in item["without"]
    assert item["sounds"] is None
    assert item["picture"]
    assert item["views"][0]["matches"][0]["stretch"] is None
    many = shipped.detect((sound, 48000), labels=["snare"], min_score=0.0, methods=[])
    assert framed(many._repr_html_(), tmp_path).json_of("report-index")["kind"] == "detections"


def test_names_that_are_no_unicode_are_written(result, tmp_path):
    replace(result, input="/data/\udcff.wav").to_html(tmp_path / "page.html")
    assert Page(tmp_path / "page.html").json_of("report-index")["rows"][0]["file"] == r"/data/\xff.wav"


def test_json_within_a_script_cannot_end_it():
    lists = {name: [] for name in ("summary", "predictions", "warnings", "facts")}
    others = [(HOSTILE, "<!-- <script>")]
    text = script_json(Item(label="x", score=0.5, start_s=0.0, seconds=1.0, **lists, others=others))
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text)["others"] == [[HOSTILE, "<!-- <script>"]]


def test_five_seconds_with_everything_take_less_than_two_megabytes(shipped, tmp_path):
    """Noise, which packs worst, in stereo."""
    sound = (0.3 * np.random.default_rng(0).standard_normal((2, 5 * 44100))).astype(np.float32)
    shipped.explain((sound, 44100)).to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 2_000_000


def test_a_page_that_would_be_too_large_says_what_it_lacks(page, tmp_path):
    item = json.dumps(Page(page).json_of("item-0")).encode()
    with ReportWriter("many", "detections", ("bell",), most_bytes=2 * len(item)) as report:
        report.add_sound(SearchedSound("a.wav", "/a.wav", 9.0, RATE))
        for number in range(4):
            report.add(Row(f"{number}", "a.wav", "/a.wav", "bell", 0.5, number, number + 1), item)
        report.write(tmp_path / "many.html")
    parsed = Page(tmp_path / "many.html")
    assert [bool(parsed.json_of(f"item-{number}")["sounds"]) for number in range(4)] == [
        True,
        True,
        False,
        False,
    ]
    assert "too large" in parsed.json_of("item-3")["without"]
    assert parsed.json_of("report-index")["notes"][0].startswith("2 of 4 have no sound")


def test_explain_writes_one_page_of_all_sounds(folder, tmp_path):
    target = tmp_path / "report.html"
    done = invoke("explain", "-r", folder, "-m", "mask", "--html", target)
    assert done.exit_code == 1, done.output  # broken.wav
    index = Page(target).json_of("report-index")
    assert [(row["label"], row["truth"]) for row in index["rows"]] == [("bell", "bell"), ("kick", "kick")]
    (broken,) = (one for one in index["sounds"] if one["error"])
    assert broken["file"].endswith("broken.wav")


def test_a_run_of_explain_that_goes_on_writes_the_page_of_all(folder, tmp_path):
    """As if it had never been stopped; what an earlier run kept nothing of is explained again."""
    whole, target, out = tmp_path / "whole.html", tmp_path / "report.html", tmp_path / "out"

    def run(*words, **more):
        return invoke("explain", "-r", folder, "-m", "mask", "--audio", "none", *words, **more)

    run("-o", tmp_path / "other", "--html", whole, code=1)
    first = Page(whole)
    (folder / "kick" / "one.wav").rename(folder / "kick" / "later")
    run("-o", out, "--html", target, code=1)
    (folder / "kick" / "later").rename(folder / "kick" / "one.wav")
    words = ("-o", out, "--html", target, "--resume")
    run(*words, code=1, says="2 sounds were done before, 1 of which had failed")
    now = Page(target)
    assert now.json_of("report-index")["rows"] == first.json_of("report-index")["rows"]
    assert now.json_of("report-index")["sounds"] == first.json_of("report-index")["sounds"]
    for number in range(2):
        assert now.json_of(f"item-{number}")["sounds"] == first.json_of(f"item-{number}")["sounds"]
    # Of an earlier run without a page.
    run("-o", tmp_path / "bare", code=1)
    assert "1 sounds were done before" in run("-o", tmp_path / "bare", "--html", target, "--resume").output
    assert Page(target).json_of("report-index")["rows"] == first.json_of("report-index")["rows"]


def test_detect_writes_a_page_and_goes_on_with_it(folder, tmp_path):
    target, out = tmp_path / "report.html", tmp_path / "out"
    arguments = ["detect", "-r", str(folder), "-o", str(out), "--html", str(target)]
    invoke(*arguments, code=1)
    first = target.read_bytes()
    index = Page(target).json_of("report-index")
    assert index["rows"]
    with (out / "detections.csv").open() as file:
        assert len(file.readlines()) == 1 + len(index["rows"])
    for number, row in enumerate(index["rows"]):
        item = Page(target).json_of(f"item-{number}")
        assert (item["label"], item["score"]) == (row["label"], pytest.approx(row["score"], abs=1e-6))
        assert item["sounds"]["kept"]
    target.unlink()
    invoke(*arguments, "--resume", code=1)
    assert target.read_bytes() == first


def test_detections_play_their_stretch_of_the_recording(shipped, folder, tmp_path):
    path = folder / "bell" / "one.wav"
    detections = shipped.detect(path, methods=[], min_score=0.5)
    detections.to_html(tmp_path / "page.html")
    item = Page(tmp_path / "page.html").json_of("item-0")
    one = detections[0]
    sound, _ = soundfile.read(path, dtype="float32")
    played, rate = sound_of(item["sounds"]["original"])
    clip = sound[round(one.clip_start_s * rate) : round(one.clip_end_s * rate)]
    np.testing.assert_allclose(played / item["sounds"]["scale"], clip, atol=1e-4)


def test_a_recording_without_detections_has_a_page(shipped, tmp_path):
    shipped.detect((np.zeros(3 * RATE, np.float32), RATE), min_score=1.0).to_html(tmp_path / "page.html")
    assert Page(tmp_path / "page.html").json_of("report-index")["rows"] == []


def test_without_jinja2_the_extra_is_named(result, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(earmark.EarmarkError, match=r"needs Jinja2: pip install 'earmark\[report\]'"):
        result.to_html(tmp_path / "page.html")
    assert not list(tmp_path.iterdir())
    # A notebook prints the result as text.
    assert result._repr_html_() is None


def test_no_recording_is_lost_to_a_page(result, tmp_path):
    """As where --html is taken for a flag, so that the next word is its file."""
    sound = tmp_path / "clip.wav"
    sound.write_bytes(SHIPPED.with_name("example.flac").read_bytes())
    for verb in ("explain", "detect"):
        said = invoke(verb, "--html", sound, SHIPPED.with_name("example.flac"), code=2).output
        assert "is there already and is no page" in re.sub(r"\s+", " ", said)
    with pytest.raises(earmark.WriteError, match=r"clip\.wav: is there already and is no page"):
        result.to_html(sound)
    assert soundfile.info(sound).format == "FLAC"
    # Pages, whatever they are called, and what is called one.
    for name in ("page", "page.html"):
        for _ in range(2):
            result.to_html(tmp_path / name)
    (tmp_path / "page.html").write_text("a draft")
    result.to_html(tmp_path / "page.html")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--html", "no/folder/page.html"], "there is no folder"),
        (["--html", ".", "-m", "mask"], "is a directory"),
    ],
)
def test_a_page_that_cannot_be_is_wrong_usage(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told in re.sub("\\s+", " ", invoke("explain", *arguments, code=2).output)
