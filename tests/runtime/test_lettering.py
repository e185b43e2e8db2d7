"""Labels of any script in pictures: drawn or spelt out, never boxes."""

import io

import numpy as np
import pytest
from command_line import invoke
from PIL import Image, ImageDraw, ImageFont

from earmark.runtime.drawing import lettering
from earmark.runtime.drawing.lettering import Lettering
from earmark.runtime.drawing.png import write_png
from earmark.runtime.drawing.shown import Chart, Spectrogram


@pytest.fixture
def bare(monkeypatch):
    """A machine without fonts."""
    monkeypatch.setattr(lettering, "machine_fonts", lambda: ())
    lettering.font_with.cache_clear()
    yield
    lettering.font_with.cache_clear()


def written(text, width=900):
    image = Image.new("L", (900, 40), 255)
    Lettering(19).write(ImageDraw.Draw(image), (5, 20), text, 0, width)
    return 255 - np.asarray(image)


@pytest.mark.parametrize(
    "text", ["Grünspecht žluna", "Дятел зелёный", "Δρυοκολάπτης", "դայլայլ", "ღამურა", "Ngũgĩ đất"]
)
def test_scripts_of_the_own_font_are_drawn(bare, text):
    assert Lettering(19).shortened(text, 900) == text
    font = ImageFont.truetype(str(lettering.OWN_FONT), 19)
    box = font.getmask("\U0010fffe")
    for one in set(text) - {" "}:
        drawn = font.getmask(one)
        assert (drawn.size, bytes(drawn)) != (box.size, bytes(box)), one
    assert written(text).any()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("鳥", r"\u9ce5"),
        ("\U0001f426 bird", r"\U0001f426 bird"),
        ("❤\ufe0f", r"\u2764"),
        ("a\x1b[31m\x07", r"a\x1b[31m\x07"),
        ("a\u202eb", r"a\u202eb"),
        ("a\nb\tc", "a b c"),
        ("\udcff", r"\xff"),
        ("\ue000\uffff", r"\ue000\uffff"),
        # As macOS spells file names.
        ("e\u0301", "é"),
        ("", ""),
    ],
)
def test_what_no_font_has_is_spelt_out(bare, text, shown):
    assert Lettering(19).shortened(text, 900) == shown
    written(text)


def test_a_font_of_the_machine_serves_where_the_own_one_ends(bare, monkeypatch, tmp_path):
    """What is no font is passed over."""
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    own = tmp_path / "machine.ttf"
    own.write_bytes(lettering.OWN_FONT.read_bytes())
    monkeypatch.setattr(lettering, "OWN_FONT", tmp_path / "broken.ttf")
    monkeypatch.setattr(lettering, "machine_fonts", lambda: (tmp_path / "broken.ttf", own))
    assert Lettering(19).shortened("ж", 900) == "ж"
    assert lettering.font_with("ж") == own
    assert lettering.font_with("鳥") is None


class Canvas:
    """What is drawn, and where it begins."""

    def __init__(self):
        self.drawn = []

    def text(self, at, piece, *_, **__):
        self.drawn.append((at[0], piece))


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("אב גד \u202e x  95.8%", ["אב גד", r" \u202e x 95.8%"]),
        ("אב  95.8%", ["אב", " 95.8%"]),
        ("dog אב 12 גד cat", ["dog ", "אב 12 גד", " cat"]),
        ("אב鳥גד", ["אב", r"\u9ce5", "גד"]),
        ("dog  95.8%", ["dog 95.8%"]),
    ],
)
def test_scores_and_escapes_stay_on_their_side_of_a_name_from_right_to_left(bare, monkeypatch, text, runs):
    monkeypatch.setattr("PIL.features.check", lambda library: True)
    canvas = Canvas()
    Lettering(19).write(canvas, (5, 20), text, 0, 900)
    assert [piece for _, piece in canvas.drawn] == runs
    assert [at for at, _ in canvas.drawn] == sorted(at for at, _ in canvas.drawn)


def test_fonts_that_would_help_are_named(bare):
    (line,) = [line for line in invoke("doctor").stdout.splitlines() if " fonts " in line]
    assert line.startswith("--")
    assert "Chinese and Japanese" in line
    assert "fonts-noto-cjk" in line


def test_text_from_right_to_left_is_not_drawn_the_wrong_way(bare, monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda library: False)
    assert Lettering(19).shortened("אב", 900) == r"\u05d0\u05d1"


def test_long_names_are_shortened_to_fit(bare):
    for text in ("x" * 500, "鳥" * 40, "Дятел " * 60):
        shown = Lettering(19).shortened(text, 300)
        assert shown.endswith("…")
        assert len(shown) > 10
        columns = np.flatnonzero(written(text, 300).any(axis=0))
        assert columns[-1] <= 306


def test_a_picture_takes_any_title(bare):
    zeros = np.zeros((10, 17), np.float32)
    for title in ("Blåmes 97.3%", "鳥\x00\x1b]0;x\x07", "\udcff" * 400, "مرحبا"):
        store = io.BytesIO()
        write_png(store, Chart(title, "", 1.0, Spectrogram(zeros, 1.0, 500.0, zeros)))
        pixels = np.asarray(Image.open(store).convert("L"))
        assert (pixels[10:40, 62:876] < 120).any()
