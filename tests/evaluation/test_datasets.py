"""Benchmark sets: seeded, disjoint by source, with events that truly sound where the truth says."""

import csv
import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command_line import invoke
from refusals import refuses

from earmark.errors import DataError
from earmark.evaluation.data.events import read_events
from earmark.evaluation.data.folder import list_sounds
from earmark.evaluation.datasets import DATASETS, Options, make
from earmark.evaluation.datasets.events import FOREGROUND
from earmark.evaluation.datasets.sources import SCENES, active_part, places, stretch

FEW = {"train": 2, "tune": 2, "test": 2, "test_without": 2, "test_moved": 2}


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """Folders named as ESC-10 and FSDD: tones as events, soft noise as scenes, and spoken digits as tones."""
    root = tmp_path_factory.mktemp("sources")
    random = np.random.default_rng(0)
    times = np.arange(16000) / 16000
    for position, label in enumerate((*FOREGROUND, *SCENES)):
        (root / "esc" / label).mkdir(parents=True)
        for fold in range(1, 6):
            for take in "AB":
                sound = np.zeros(32000)
                if label in FOREGROUND:
                    sound[8000:16000] = np.sin(2 * np.pi * (300 + 100 * position) * times[:8000])
                else:
                    sound[:] = 0.1 * random.standard_normal(32000)
                name = f"{fold}-{1000 * position + fold}-{take}.wav"
                soundfile.write(root / "esc" / label / name, 0.5 * sound, 16000)
    (root / "fsdd").mkdir()
    for digit in range(10):
        for speaker in ("anna", "ben", "cleo", "dora"):
            for take in range(3):
                word = 0.5 * np.sin(2 * np.pi * (200 + 40 * digit) * times[:3200])
                soundfile.write(root / "fsdd" / f"{digit}_{speaker}_{take}.wav", word, 8000)
    return root


@pytest.fixture(scope="module")
def whole(sources, tmp_path_factory) -> Callable[[str], Path]:
    """Every set by its name, made once with seed 0. Shared: change none."""
    root = tmp_path_factory.mktemp("sets")

    @functools.cache
    def whole(name: str) -> Path:
        make(name, root / name, _options(sources))
        return root / name

    return whole


def _options(sources: Path, **more) -> Options:
    return Options(sounds=sources / "esc", speech=sources / "fsdd", clips=FEW, minutes=0.3, **more)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def _notes(folder: Path, part: str) -> list[dict]:
    return [json.loads(line) for line in (folder / part / "clips.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", list(DATASETS))
def test_the_same_seed_gives_the_same_files_and_another_seed_others(name, sources, whole, tmp_path):
    (tmp_path / "again").mkdir()
    make(name, tmp_path / "again" / name, _options(sources))
    assert _bytes(whole(name)) == _bytes(tmp_path / "again" / name)
    make(name, tmp_path / "other", _options(sources, seed=1, parts=("test",)))
    sounds = {name: data for name, data in _bytes(whole(name)).items() if "test/" in name}
    others = _bytes(tmp_path / "other")
    assert not {data for n, data in sounds.items() if n.endswith("flac")} & set(others.values())


@pytest.mark.parametrize("name", list(DATASETS))
def test_a_part_made_alone_is_the_part_of_the_whole(name, sources, whole, tmp_path):
    make(name, tmp_path / "part", _options(sources, parts=("tune",)))
    of_whole, part = (
        {n: data for n, data in _bytes(folder).items() if n.startswith("tune/")}
        for folder in (whole(name), tmp_path / "part")
    )
    assert of_whole == part


@pytest.mark.parametrize("name", [name for name, one in DATASETS.items() if one.training is not None])
def test_every_part_reads_as_a_data_folder_with_its_events(name, whole):
    folder = whole(name)
    for part in ("train", "tune", "test"):
        sounds = list_sounds(folder / part)
        assert len(sounds.clips) == len(_notes(folder, part))
        assert all(clip.fold is not None for clip in sounds.clips)
        found = read_events(folder / part / "events.csv", sounds, sounds.labels)
        assert found.overlapping == 0
    info = json.loads((folder / "info.json").read_text())
    assert info["seed"] == 0
    assert "earmark train classifier" in info["train"]
    assert str(folder.parent) not in json.dumps(info)


def test_parts_share_no_fold_and_no_speaker(whole):
    for part, folds in {"train": "12", "tune": "3", "test": "4"}.items():
        for note in _notes(whole("events"), part):
            assert note["event"].split("/")[1][0] in folds
            assert note["background"].split("/")[1][0] in folds
    heard = {
        part: {
            word.split("_")[1]
            for note in _notes(whole("keyword"), part)
            for word in (note["first"], *note["others"])
        }
        for part in ("train", "tune", "test")
    }
    assert heard["tune"] == {"cleo"}
    assert heard["test"] == {"dora"}
    assert heard["train"] <= {"anna", "ben"}


def test_another_fold_and_speaker_can_be_held_out(sources, tmp_path):
    make("events", tmp_path / "e", _options(sources, folds={"test": (5,)}, parts=("test",)))
    assert all(note["event"].split("/")[1].startswith("5-") for note in _notes(tmp_path / "e", "test"))
    options = _options(sources, speakers={"test": ("anna",)}, parts=("test",))
    make("keyword", tmp_path / "k", options)
    assert all("_anna_" in note["first"] for note in _notes(tmp_path / "k", "test"))


def _spans(folder: Path) -> dict[str, list[tuple[float, float]]]:
    spans: dict[str, list[tuple[float, float]]] = {}
    with (folder / "events.csv").open() as stream:
        for row in csv.DictReader(stream):
            spans.setdefault(row["clip"], []).append((float(row["start_s"]), float(row["end_s"])))
    return spans


def test_events_sound_where_the_truth_says(whole):
    test = whole("events") / "test"
    spans = _spans(test)
    assert len(spans) == 8
    for position, label in enumerate(FOREGROUND):
        for clip, some in spans.items():
            if not clip.startswith(label):
                continue
            wave, rate = soundfile.read(test / clip)
            # A lock-in at the tone's frequency hears the event alone.
            tone = np.exp(-2j * np.pi * (300 + 100 * position) * np.arange(len(wave)) / rate)
            level = np.abs(np.convolve(wave * tone, np.ones(800) / 800, "same"))
            inside = np.zeros(len(wave), bool)
            for start, end in some:
                inside[round(start * rate) : round(end * rate)] = True
            # Half a window of smearing at each edge is neither.
            edges = np.convolve(inside, np.ones(1601), "same")
            assert np.median(level[edges > 1600]) > 4 * np.median(level[edges == 0])


def test_drums_count_kicks_and_their_spans_fill_the_clip_end_to_end(whole):
    folder = whole("drums")
    spans = _spans(folder / "test")
    for note in _notes(folder, "test"):
        kicks = int(note["clip"].split("/")[0][1:])
        assert note["hits"].count("kick") == kicks == len(spans.get(note["clip"], []))
        assert len(note["hits"]) == 10
        assert all(0.1 <= seconds <= 1.0 for seconds in note["lengths_s"])
        info = soundfile.info(folder / "test" / note["clip"])
        assert info.duration == pytest.approx(sum(note["lengths_s"]), abs=0.01)
        starts = np.concatenate([[0.0], np.cumsum(note["lengths_s"])])
        expected = [starts[k] for k, kind in enumerate(note["hits"]) if kind == "kick"]
        assert np.allclose(sorted(start for start, _ in spans.get(note["clip"], [])), expected, atol=0.02)


def test_the_cough_is_in_every_training_clip_of_one_class_and_in_no_other(whole):
    folder = whole("clever_hans")
    coughed = json.loads((folder / "info.json").read_text())["coughed"]
    for part, carries in (("train", True), ("test", True), ("test_without", False)):
        for note in _notes(folder, part):
            assert ("cough" in note) == (carries and note["clip"].startswith(coughed))
    moved = _notes(folder, "test_moved")
    assert moved
    assert all("cough" in note and not note["clip"].startswith(coughed) for note in moved)


def test_what_is_wrong_with_the_sources_is_said(sources, tmp_path):
    refuses(DataError, "--from", make, "events", tmp_path / "a", Options())
    refuses(DataError, "--speech", make, "keyword", tmp_path / "b", Options())
    with pytest.raises(DataError, match="no clip of fold 9"):
        make("events", tmp_path / "c", _options(sources, folds={"test": (9,)}))
    with pytest.raises(DataError, match="fold 1 is in both"):
        make("events", tmp_path / "d", _options(sources, folds={"test": (1,)}))
    with pytest.raises(DataError, match="no speaker 'zoe'"):
        make("keyword", tmp_path / "e", _options(sources, speakers={"test": ("zoe",)}))
    refuses(DataError, "no part 'exam'", make, "drums", tmp_path / "f", Options(parts=("exam",)))
    refuses(DataError, "no set 'waltz'", make, "waltz", tmp_path / "g")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    refuses(DataError, "not empty", make, "drums", tmp_path / "full", Options(clips=FEW))


def test_the_command_makes_a_set_and_says_how_to_go_on(tmp_path):
    words = ("data", "drums", tmp_path / "set", "--clips", 1, "--tune-clips", 1, "--test-clips", 1)
    assert invoke(*words, code=0, says="earmark train classifier").stdout == ""
    assert len(list((tmp_path / "set" / "test").rglob("*.flac"))) == 6
    invoke("data", "waltz", tmp_path / "x", code=2)
    invoke(*words, code=1, says="not empty")


def test_the_active_part_is_the_event_and_backgrounds_are_repeated_to_length():
    sound = np.zeros(16000, np.float32)
    sound[4000:6000] = 0.3
    part = active_part(sound, 16000, 1.0)
    assert 1900 <= len(part) <= 2600
    assert np.sqrt(np.mean(part**2)) == pytest.approx(1.0, abs=1e-3)
    assert len(active_part(np.ones(32000, np.float32), 16000, 0.5)) == 8000
    long = stretch(np.ones(100, np.float32), 1000, np.random.default_rng(0))
    assert np.allclose(long, 1.0)
    assert len(long) == 1000


def test_places_never_overlap_and_refuse_what_does_not_fit():
    for seed in range(50):
        lengths = [30, 10, 20]
        starts = places(lengths, 100, 5, np.random.default_rng(seed))
        ends = [start + length for start, length in zip(starts, lengths, strict=True)]
        assert starts[0] >= 5
        assert all(start - end >= 5 for start, end in zip(starts[1:], ends[:-1], strict=True))
        assert ends[-1] <= 95
    with pytest.raises(DataError):
        places([60, 60], 100, 0, np.random.default_rng(0))
