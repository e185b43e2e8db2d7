"""Anybody's method in every table: by the command and by the one function, with a paper's settings."""

import csv
import io
import json
import sys

import numpy as np
import pytest
from class_folders import write_clips
from command_line import invoke
from refusals import refuses

import earmark
from earmark.errors import MethodError
from earmark.evaluation import PRESETS, Match, evaluate, soft_mask
from earmark.evaluation.presets import preset_of
from earmark.runtime.explainer import SHIPPED

MODULE = '''
"""Methods of somebody else, of one function each."""
import numpy as np
from earmark.evaluation import Match, soft_mask

def loud(question):
    """The energy of each segment."""
    pieces = np.array_split(question.waveform, len(question.edges) - 1)
    return [float(np.square(piece).mean()) for piece in pieces]

def cells(question):
    """The energy of each cell."""
    return np.abs(question.stft)

@soft_mask()
def all_of_it(question):
    return np.ones(question.stft.shape)

def named(question):
    """Whatever it asks about is near itself, at once the whole sound and its first tenth of a second."""
    label = question.labels[question.target]
    return [Match(label, 1.0), Match("no such label", 0.5, 0.0, 0.1)]

def asks(question):
    whole = question.score(question.waveform[None])
    values = []
    for start, end in zip(question.edges[:-1], question.edges[1:]):
        wave = question.waveform.copy()
        wave[round(start * question.sample_rate) : round(end * question.sample_rate)] = 0.0
        values.append(float(whole[0] - question.score(wave[None])[0]))
    return values

def short(question):
    return [1.0, 2.0]

def broken(question):
    raise ZeroDivisionError("by nothing")
'''


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A clip each of two instruments, with the truth of its hits, and somebody's module beside it."""
    root = tmp_path_factory.mktemp("benchmark")
    write_clips(root / "data", ("bell", "snare"), 77, clips=1, background="pink", snr_db=20.0)
    (root / "their_methods.py").write_text(MODULE, encoding="utf-8")
    return root


@pytest.fixture
def here(data, monkeypatch):
    """The folder of somebody's module is the working folder."""
    monkeypatch.chdir(data)
    monkeypatch.delitem(sys.modules, "their_methods", raising=False)
    return data


def loud(question):
    pieces = np.array_split(question.waveform, len(question.edges) - 1)
    return [float(np.square(piece).mean()) for piece in pieces]


def test_a_function_stands_beside_the_bundles_own_rows(shipped, here):
    report = evaluate("events", shipped, "data", [loud, "their_methods:asks", "energy"])
    rows = {row["method"]: row for row in report.rows}
    assert set(rows) == {f"{__name__}:loud", "their_methods:asks", "energy"}
    # The same energies over nearly the same samples.
    assert rows[f"{__name__}:loud"]["auc"].estimate == pytest.approx(rows["energy"]["auc"].estimate, abs=0.05)
    # The whole sound, and a sound a segment.
    assert rows["their_methods:asks"]["calls"] == 21
    assert rows["energy"]["calls"] == 0


def test_a_ranking_is_cut_to_the_area_and_a_soft_mask_is_as_it_is(shipped, here):
    report = evaluate(
        "masks",
        shipped,
        "data",
        ["energy", "their_methods:cells", "ones", "their_methods:all_of_it"],
        area=0.2,
        domain="spectrogram",
    )
    rows = {row["method"]: row for row in report.rows}
    for own, theirs in (("energy", "their_methods:cells"), ("ones", "their_methods:all_of_it")):
        for key in ("area", "average_drop", "faithfulness", "input_fidelity"):
            first, second = (getattr(rows[one][key], "estimate", rows[one][key]) for one in (own, theirs))
            assert first == pytest.approx(second, abs=1e-5)


def test_nearest_training_sounds_of_a_function(shipped, here):
    report = evaluate("prototypes", shipped, "data", ["their_methods:named"], draws=2)
    (row,) = report.rows
    assert row["view"] == "their_methods:named"
    # It names what the model predicts.
    assert row["first"].estimate == report.document["right"] / report.document["clips"]
    assert row["share"].estimate == pytest.approx(row["first"].estimate / 2)
    # All of it, but for the last frame and bin.
    assert row["size"] == pytest.approx(1.0, abs=0.02)


def test_the_command_gives_table_csv_and_json_with_all_settings(here):
    words = ("evaluate", "events", str(SHIPPED), "data", "-m", "their_methods:loud", "-m", "energy")
    document = json.loads(invoke(*words, "--csv", "figures.csv", "--json", "--device", "cpu", code=0).stdout)
    assert document["settings"]["methods"] == ["their_methods:loud", "energy"]
    assert document["settings"]["rule"] == "half"
    assert document["segments"]["calls"] == 200
    assert "preset" not in document
    with (here / "figures.csv").open(encoding="utf-8") as stream:
        rows = {row["method"]: row for row in csv.DictReader(stream)}
    for row in document["table"]["rows"]:
        assert float(rows[row["method"]]["auc"]) == pytest.approx(row["auc"]["estimate"])
    shown = invoke("evaluate", "masks", str(SHIPPED), "data", "-m", "their_methods:cells", "--area", "0.1")
    assert "their_methods:cells" in shown.stdout
    named = invoke("evaluate", "prototypes", str(SHIPPED), "data", "-m", "their_methods:named")
    assert "their_methods:named" in named.stdout


def test_a_papers_settings_come_with_its_citation_and_give_way_to_what_is_said(here):
    words = ("evaluate", "masks", SHIPPED, "data", "--preset", "lmac2024", "-m", "energy", "--area", 0.2)
    told = invoke(*words, "--json", "--device", "cpu")
    document = json.loads(told.stdout)
    assert "arXiv 2403.13086" in document["preset"]["citation"]
    assert "ICML 2024" in told.stderr
    assert document["settings"]["conditions"] == ["noise"]
    assert document["settings"]["reference"] is True
    assert document["settings"]["methods"] == ["energy"]
    over = json.loads(invoke(*words, "--condition", "clean", "--json", "--device", "cpu").stdout)
    assert over["settings"]["conditions"] == ["clean"]
    invoke("evaluate", "events", str(SHIPPED), "data", "--preset", "lmac2024", code=2, says="bolanos2025")


def test_every_preset_is_a_paper_and_its_settings_fit_the_table():
    from earmark.evaluation.benchmark import settings_of
    from earmark.runtime.methods.segments.settings import SegmentSettings

    assert {one.table for one in PRESETS.values()} == {"masks", "events", "prototypes"}
    for name, one in PRESETS.items():
        assert "arXiv" in one.citation
        settings_of(one.table, preset_of(name, one.table), {})
        SegmentSettings.of({**one.segments})
    refuses(MethodError, "no setting 'rules'", settings_of, "events", None, {"rules": "half"})


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("no_such_module:fn", "cannot be imported"),
        ("their_methods:missing", "cannot be imported"),
        ("their_methods:__doc__", "cannot be called"),
        ("their_methods:short", r"returned the shape \[2\], not \[20\]"),
        ("their_methods:broken", "raised ZeroDivisionError: by nothing"),
    ],
)
def test_what_is_wrong_with_a_function_is_said(shipped, here, method, message):
    refuses(earmark.EarmarkError, message, evaluate, "events", shipped, "data", [method], strict=True)


def test_a_soft_mask_has_a_range_and_a_table_its_names(shipped, here):
    @soft_mask()
    def twice(question):
        return 2.0 * np.ones(question.stft.shape)

    refuses(MethodError, r"lies in 0\.\.1", evaluate, "masks", shipped, "data", [twice])
    with pytest.raises(MethodError, match="the best first"):
        evaluate("prototypes", shipped, "data", [lambda question: Match("bell")])
    refuses(MethodError, "no table 'mask'", evaluate, "mask", shipped, "data")
    assert io.StringIO(evaluate("events", shipped, "data", ["energy"]).csv()).readline().startswith("method")
