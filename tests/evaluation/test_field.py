"""Scenes with planted events: where and how loud they are, and which recordings they are made of."""

import csv
import json

import numpy as np
import pytest
import soundfile
from command_line import invoke

from earmark.errors import DataError
from earmark.evaluation.datasets import Options, make

RATE = 16000
FEW = {"tune": 1, "test": 2}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two classes of tones with silence around them, four recordings each, of the folds 1 and 2."""
    folder = tmp_path_factory.mktemp("clips")
    times = np.arange(RATE) / RATE
    for position, label in enumerate(("low", "high")):
        (folder / label).mkdir()
        for number in range(4):
            sound = np.zeros(3 * RATE)
            sound[RATE : 2 * RATE] = 0.1 * (number + 1) * np.sin(2 * np.pi * 500 * (position + 1) * times)
            soundfile.write(folder / label / f"{1 + number % 2}-{100 * position + number}-A.wav", sound, RATE)
    return folder


def rows_of(folder):
    with (folder / "events.csv").open() as stream:
        return list(csv.DictReader(stream))


def recordings_of(folder):
    lines = (folder / "clips.jsonl").read_text().splitlines()
    return {name for line in lines for name in json.loads(line)["events"]}


def test_events_lie_where_and_are_as_loud_as_the_table_says(clips, tmp_path):
    options = Options(
        sounds=clips, minutes=1.0, events=8, levels=(30.0, 10.0), backgrounds=("white",), clips=FEW
    )
    assert make("field", tmp_path / "set", options) == FEW
    for row in rows_of(tmp_path / "set" / "test"):
        wave, rate = soundfile.read(tmp_path / "set" / "test" / row["clip"])
        assert len(wave) == 60 * rate
        start, end = (round(float(row[name]) * rate) for name in ("start_s", "end_s"))
        # The tone is 1 s long; frames of 20 ms say where it begins and ends.
        assert (end - start) / rate == pytest.approx(1.0, abs=0.045)
        before, event = wave[start - rate // 2 : start - 400], wave[start + 400 : end - 400]
        ratio = np.mean(event**2) / np.mean(before**2) - 1
        assert 10 * np.log10(ratio) == pytest.approx(float(row["level_db"]), abs=0.5)
        frequency = np.abs(np.fft.rfft(event)).argmax() * rate / len(event)
        assert frequency == pytest.approx({"low": 500, "high": 1000}[row["label"]], abs=3)
    assert {row["level_db"] for row in rows_of(tmp_path / "set" / "test")} == {"30", "10"}


@pytest.mark.parametrize(
    "folds", [{}, {"tune": (1,), "test": (2,)}, {"tune": (1,), "test": (1,)}, {"test": (1, 2), "tune": (1,)}]
)
def test_no_recording_is_in_two_parts(clips, tmp_path, folds):
    options = Options(sounds=clips, minutes=0.5, events=10, folds=folds, clips=FEW, backgrounds=("white",))
    make("field", tmp_path / "set", options)
    used = {part: recordings_of(tmp_path / "set" / part) for part in ("tune", "test")}
    assert used["tune"]
    assert used["test"]
    assert not used["tune"] & used["test"]
    for part, some in folds.items():
        assert {int(name.split("/")[1][0]) for name in used[part]} <= set(some)


def test_without_a_folder_the_events_are_those_of_the_shipped_bundle(tmp_path):
    make("field", tmp_path / "set", Options(minutes=0.5, events=3, parts=("test",), clips={"test": 2}))
    rows = rows_of(tmp_path / "set" / "test")
    assert [row["level_db"] for row in rows] == ["20", "10", "0"] * 2
    info = json.loads((tmp_path / "set" / "info.json").read_text())
    assert {row["label"] for row in rows} <= set(info["labels"])
    assert "train" not in info


def test_what_cannot_be_made_is_one_line(clips, tmp_path):
    with pytest.raises(DataError, match="100 events do not fit into a scene of 1 minutes"):
        make("field", tmp_path / "a", Options(sounds=clips, minutes=1.0, events=100))
    with pytest.raises(DataError, match="no recording is left for the part tune"):
        make("field", tmp_path / "b", Options(sounds=clips, folds={"tune": (7,)}))
    with pytest.raises(DataError, match="there is no background 'sea'"):
        make("field", tmp_path / "c", Options(backgrounds=("sea",)))
    for option, line in {"--clips": "no part to train on", "--speech": "of no use to the set field"}.items():
        value = "3" if option == "--clips" else str(clips)
        invoke("data", "field", tmp_path / "d", option, value, code=2, says=line)
    invoke("data", "drums", tmp_path / "d", "--minutes", "3", code=2, says="of no use to the set drums")
