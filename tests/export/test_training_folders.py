"""Folders of sound: listing, splitting by recording, loading."""

import numpy as np
import pytest
import soundfile
from refusals import refuses

from earmark.errors import DataError
from earmark.evaluation.data.folder import list_sounds, load_sound, load_sounds, split_sounds
from earmark.runtime.audio.level import level_of


def write(path, seconds=0.1, rate=8000, hz=440.0, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)
    soundfile.write(path, np.stack([wave] * channels, axis=1), rate)
    return path


@pytest.fixture
def esc(tmp_path):
    """Two classes, four folds, three recordings a fold and class, two takes each."""
    for position, label in enumerate(["rain", "dog"]):
        for fold in (1, 2, 3, 4):
            for recording in range(3):
                for take in "AB":
                    name = f"{fold}-{1000 * (position + 1) + 10 * fold + recording}-{take}.wav"
                    write(tmp_path / label / name)
    return tmp_path


def test_listing_is_sorted_and_passes_over_other_files(esc):
    (esc / ".hidden").mkdir()
    (esc / "dog" / "notes.txt").write_text("not sound")
    (esc / "dog" / "._1-2010-A.wav").write_bytes(b"resource fork")
    folder = list_sounds(esc)
    assert folder.labels == ["dog", "rain"]
    assert len(folder.clips) == 48
    assert [clip.name for clip in folder.clips] == sorted(clip.name for clip in folder.clips)
    first = folder.clips[0]
    assert (first.name, first.label, first.recording, first.fold) == ("dog/1-2010-A.wav", "dog", "2010", 1)


def test_fold_split(esc):
    folder = list_sounds(esc)
    split = split_sounds(folder, val_fold=4)
    assert {clip.fold for clip in split.validation} == {4}
    assert {clip.fold for clip in split.train} == {1, 2, 3}
    narrow = split_sounds(folder, val_fold=4, train_folds=[1, 2])
    assert {clip.fold for clip in narrow.train} == {1, 2}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.9])
def test_fraction_split_keeps_recordings_whole(esc, seed, fraction):
    folder = list_sounds(esc)
    split = split_sounds(folder, val_fraction=fraction, seed=seed)
    assert not {c.recording for c in split.train} & {c.recording for c in split.validation}
    assert sorted(c.name for c in split.train + split.validation) == [c.name for c in folder.clips]
    for label in folder.labels:
        assert any(c.label == label for c in split.train)
        held = {c.recording for c in split.validation if c.label == label}
        assert len(held) == min(11, max(1, round(fraction * 12)))
    assert split == split_sounds(folder, val_fraction=fraction, seed=seed)


def test_a_recording_in_two_folds_does_not_leak(tmp_path):
    for label, base in (("a", 10), ("b", 20)):
        for fold, recording in ((1, base), (2, base), (1, base + 1)):
            write(tmp_path / label / f"{fold}-{recording}-A.wav")
    split = split_sounds(list_sounds(tmp_path), val_fold=2)
    assert {c.recording for c in split.train} == {"11", "21"}


def test_recordings_by_stem_and_take(tmp_path):
    for label in "ab":
        for name in ("kick_1", "kick_2", "kick-03", "snare 7", "tom", "12", "13"):
            write(tmp_path / label / f"{name}.wav")
    recordings = {c.name: c.recording for c in list_sounds(tmp_path).clips}
    assert recordings["a/kick_1.wav"] == recordings["a/kick_2.wav"] == recordings["a/kick-03.wav"]
    assert recordings["a/kick_1.wav"] != recordings["b/kick_1.wav"]
    assert len({v for k, v in recordings.items() if k.startswith("a/")}) == 5


def test_bad_folders(tmp_path, esc):
    refuses(DataError, "no such folder", list_sounds, tmp_path / "absent")
    lone = tmp_path / "lone"
    lone.mkdir()
    refuses(DataError, "no class folders", list_sounds, lone)
    write(lone / "only" / "1.wav")
    refuses(DataError, "only one class", list_sounds, lone)
    (lone / "empty").mkdir()
    refuses(DataError, "empty: no sound files", list_sounds, lone)


def test_bad_splits(esc, tmp_path):
    folder = list_sounds(esc)
    refuses(DataError, r"no clip of fold 9; folds there are: 1, 2, 3, 4", split_sounds, folder, val_fold=9)
    with pytest.raises(DataError, match="both trained on and validated on"):
        split_sounds(folder, val_fold=1, train_folds=[1, 2])
    refuses(DataError, "not both", split_sounds, folder, val_fold=1, val_fraction=0.2)
    refuses(DataError, "between 0 and 1", split_sounds, folder, val_fraction=1.5)
    for label in "ab":
        write(tmp_path / "single" / label / "x1.wav")
        write(tmp_path / "single" / label / "x2.wav")
    single = list_sounds(tmp_path / "single")
    refuses(DataError, "no class has two source recordings", split_sounds, single, val_fraction=0.5)
    refuses(DataError, "folds there are: none", split_sounds, single, val_fold=1)


def test_class_missing_from_training_folds(tmp_path):
    write(tmp_path / "a" / "1-1-A.wav")
    write(tmp_path / "b" / "1-2-A.wav")
    write(tmp_path / "b" / "2-3-A.wav")
    refuses(DataError, "a: no clip is left to train on", split_sounds, list_sounds(tmp_path), val_fold=1)


@pytest.mark.parametrize(
    ("rate", "suffix"), [(44100, "wav"), (48000, "flac"), (22050, "ogg"), (8000, "aiff")]
)
def test_loading_resamples_to_mono(tmp_path, rate, suffix):
    path = write(tmp_path / f"tone.{suffix}", seconds=0.5, rate=rate, hz=1000.0, channels=2)
    wave = load_sound(path, 16000)
    assert wave.dtype == np.float32
    assert abs(len(wave) - 8000) <= 1
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(len(wave)) / 16000)
    assert np.abs(wave - expected)[500:-500].max() < (0.05 if suffix == "ogg" else 2e-3)


def test_unreadable_clips_are_listed_or_fail(tmp_path):
    write(tmp_path / "a" / "1.wav")
    (tmp_path / "a" / "2.wav").write_text("no sound at all")
    soundfile.write(tmp_path / "a" / "3.wav", np.zeros(0), 8000)
    soundfile.write(tmp_path / "a" / "4.wav", np.array([0.0, np.nan, 0.0]), 8000, subtype="FLOAT")
    write(tmp_path / "b" / "1.wav")
    clips = list_sounds(tmp_path).clips
    good, waveforms, bad = load_sounds(clips, 8000)
    assert [c.name for c in good] == ["a/1.wav", "b/1.wav"]
    assert len(waveforms) == 2
    reasons = {u.clip.name: u.reason for u in bad}
    assert "not a sound that can be read" in reasons["a/2.wav"]
    assert "no samples" in reasons["a/3.wav"]
    assert "holds NaN" in reasons["a/4.wav"]
    refuses(DataError, r"2\.wav", load_sounds, clips, 8000, strict=True)


def test_level():
    wave = np.array([0.1, -0.5, 0.25], np.float32)
    assert level_of(wave, "none") == 1.0
    assert level_of(wave, "peak") == pytest.approx(0.5)
    assert level_of(wave, "signed_peak") == pytest.approx(0.25)
    assert level_of(np.zeros(5, np.float32), "peak") == 1.0


def test_windows_hear_everything():
    from earmark.export.training.sounds import window_batches

    lengths = [1, 700, 1000, 1001, 1010, 1011, 5000]
    sounds = [np.arange(1, length + 1, dtype=np.float32) for length in lengths]
    heard = {index: set() for index in range(len(sounds))}
    windows = dict.fromkeys(range(len(sounds)), 0)
    for pieces, owner in window_batches(sounds, 1000, size=3):
        assert len(pieces) <= 3
        assert 1000 <= pieces.shape[1] <= 1010
        for piece, index in zip(pieces, owner.tolist(), strict=True):
            heard[index] |= set(piece[piece > 0].astype(int).tolist())
            windows[index] += 1
    assert [len(heard[index]) for index in range(len(sounds))] == lengths
    assert list(windows.values())[:5] == [1] * 5
    assert windows[5] == 2
