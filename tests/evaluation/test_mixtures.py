"""The benchmark set mixtures: two classes in every clip, of one fold, with labels and true events."""

import csv
import json

import numpy as np
import pytest
import soundfile
from command_line import invoke

from earmark.errors import DataError
from earmark.evaluation.data.events import read_events
from earmark.evaluation.data.folder import list_sounds, split_sounds
from earmark.evaluation.datasets import Options, make

RATE = 16000
TONES = {"low": 300.0, "middle": 1000.0, "high": 3000.0}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Three classes of tones, ESC's names: each sounds in the middle of its clip, folds 1 to 5."""
    root = tmp_path_factory.mktemp("tones")
    times = np.arange(3 * RATE) / RATE
    for position, (label, pitch) in enumerate(TONES.items()):
        (root / label).mkdir()
        for fold in range(1, 6):
            for take in "AB":
                sound = 0.5 * np.sin(2 * np.pi * pitch * times) * ((times > 1.0) & (times < 2.0))
                soundfile.write(root / label / f"{fold}-{100 * position + fold}-{take}.wav", sound, RATE)
    return root


@pytest.fixture(scope="module")
def made(sources, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "mixtures"
    make("mixtures", out, Options(sounds=sources, clips={"train": 6, "tune": 2, "test": 4}))
    return out


def test_every_clip_has_two_labels_that_a_folder_of_several_labels_reads(made):
    for part, count in {"train": 18, "tune": 6, "test": 12}.items():
        sounds = list_sounds(made / part)
        assert sounds.multi_label
        assert sounds.labels == sorted(TONES)
        assert len(sounds.clips) == count
        assert all(len(set(clip.labels)) == 2 for clip in sounds.clips)
        assert all(clip.name.startswith(f"{clip.label}/") for clip in sounds.clips)
    info = json.loads((made / "info.json").read_text())
    assert "--multi-label" in info["train"]


def test_both_sounds_are_of_the_clips_own_fold_so_that_a_fold_holds_out_both(made):
    for part, folds in {"train": {1, 2}, "tune": {3}, "test": {4}}.items():
        notes = [json.loads(line) for line in (made / part / "clips.jsonl").read_text().splitlines()]
        for note in notes:
            fold = int(note["clip"].split("/")[1].split("-")[0])
            assert fold in folds
            assert [int(name.split("/")[1].split("-")[0]) for name in note["sources"]] == [fold, fold]
            assert abs(note["ratio_db"]) <= 6.0
    split = split_sounds(list_sounds(made / "train"), val_fold=2)
    assert {clip.fold for clip in split.train} == {1}


def test_both_labels_sound_where_the_truth_says_and_nowhere_else(made):
    sounds = list_sounds(made / "test")
    found = read_events(made / "test" / "events.csv", sounds, sounds.labels)
    assert len(found.clips) == 2 * len(sounds.clips)
    for annotated in found.clips:
        wave, rate = soundfile.read(annotated.clip.path)
        tone = np.exp(-2j * np.pi * TONES[annotated.label] * np.arange(len(wave)) / rate)
        level = np.abs(np.convolve(wave * tone, np.ones(800) / 800, "same"))
        inside = np.zeros(len(wave), bool)
        for event in annotated.events:
            inside[round(event.start_s * rate) : round(event.end_s * rate)] = True
        edges = np.convolve(inside, np.ones(1601), "same")
        assert 0.9 < sum(event.end_s - event.start_s for event in annotated.events) < 1.1
        assert np.median(level[edges > 1600]) > 10 * np.median(level[edges == 0])


def test_a_part_alone_may_have_folds_that_another_part_would_have(sources, made, tmp_path):
    counts = {"train": 2, "test": 4}
    folds = {"train": (1, 2, 3), "test": (4,)}
    more = Options(sounds=sources, clips=counts, folds=folds, parts=("train", "test"))
    make("mixtures", tmp_path / "more", more)
    with pytest.raises(DataError, match="fold 3 is in both"):
        make("mixtures", tmp_path / "all", Options(sounds=sources, clips=counts, folds=folds))
    # The test part is what it would be beside any other.
    for clip in list_sounds(made / "test").clips:
        assert clip.path.read_bytes() == (tmp_path / "more" / "test" / clip.name).read_bytes()


def test_the_command_mixes_any_folder_and_says_what_it_needs(sources, tmp_path):
    arguments = ["data", "mixtures", str(tmp_path / "out"), "--parts", "test", "--test-clips", "1"]
    invoke(*arguments, code=1, says="--from")
    assert not (tmp_path / "out").exists()
    invoke(*arguments, "--from", sources, "--test-folds", "5", code=0)
    with (tmp_path / "out" / "test" / "labels.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3
    assert all(row["clip"].split("/")[1].startswith("5-") for row in rows)


def test_one_class_cannot_be_mixed(sources, tmp_path):
    alone = tmp_path / "alone"
    (alone / "low").mkdir(parents=True)
    for path in (sources / "low").iterdir():
        (alone / "low" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="only one class"):
        make("mixtures", tmp_path / "out", Options(sounds=alone))
