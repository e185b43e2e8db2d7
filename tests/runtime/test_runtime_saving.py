"""What a result leaves on the disk, and what its record holds."""

import json
import sys

import numpy as np
import pytest
import soundfile
from refusals import refuses
from runtime_sounds import RATE, noise, run_python, tone

import earmark
from earmark.runtime.audio import sound as sounds
from earmark.runtime.audio.scratch import scratch
from earmark.runtime.inference import session

# Files


def test_save_writes_what_it_says(explainer, tmp_path):
    wave = noise(1.3, 22050, 2)
    result = explainer.explain(wave, 22050, methods=["mask"], rescore=True)
    result.save(tmp_path / "out" / "deep")
    folder = tmp_path / "out" / "deep"
    assert {path.name for path in folder.iterdir()} == {
        *("mask.png", "kept.wav", "removed.wav"),
        *("result.json", "arrays.npz"),
    }
    kept, rate = soundfile.read(folder / "kept.wav", dtype="float32")
    removed, _ = soundfile.read(folder / "removed.wav", dtype="float32")
    assert rate == 22050
    np.testing.assert_allclose((kept + removed).T, wave, atol=1e-6)
    assert json.loads((folder / "result.json").read_text()) == json.loads(json.dumps(result.to_dict()))
    from PIL import Image

    with Image.open(folder / "mask.png") as picture:
        assert picture.width >= 600


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on file sizes")
def test_a_full_disk_leaves_nothing_half_written(explainer, tmp_path):
    """A limit on file sizes stands for the full disk: writing fails in the middle of kept.wav."""
    from file_limit import limited

    result = explainer.explain(noise(30.0), RATE, methods=["mask"])
    with limited(1_000_000):
        line = refuses(earmark.EarmarkError, "File too large", result.save, tmp_path / "out")
    assert line.startswith(f"{tmp_path / 'out' / 'kept.wav'}: cannot be written (File too large); ")
    assert not list(tmp_path.iterdir())


# What comes out.

FIELDS = [
    "schema_version", "earmark", "kind", "input", "error", "bundle", "bundle_id", "device", "seed",
    "settings", "predictions", "task", "label_count", "target", "target_score", "sample_rate",
    "channel_count", "duration_s", "windows", "window_scores", "partial", "timings_ms", "warnings",
    "mask", "rescored", "trust", "segments", "components", "prototypes", "channels", "familiarity",
]  # fmt: skip


def test_the_record_is_stable_and_json(explainer):
    result = explainer.explain(tone(2.5, 44100, 2), 44100, rescore=True, seed=7)
    record = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert list(record) == FIELDS
    assert list(record["mask"]) == ["frames", "bins", "area", "spans_s", "band_hz"]
    assert set(record["rescored"]) == {"spectrogram", "audio"}
    assert record["device"] == "cpu"
    assert record["seed"] == 7
    assert record["mask"]["area"] == pytest.approx(float(result.mask.values.mean(dtype=np.float64)), abs=1e-4)
    stages = {"read", "frontend", "classifier", "decoder", "mask to audio", "rescore"}
    assert stages == set(record["timings_ms"])
    assert all(taken > 0 for taken in record["timings_ms"].values())


def test_warm_up_leaves_nothing_to_make(tiny_bundle, monkeypatch):
    made, activate = [], session.activate
    monkeypatch.setattr(
        session, "activate", lambda path, *rest: made.append(path.name) or activate(path, *rest)
    )
    explainer = earmark.load(tiny_bundle, "cpu")
    explainer.warm_up()
    assert len(made) == 3
    explainer.explain(tone(), RATE)
    assert len(made) == 3


def test_a_save_that_fails_leaves_no_part_and_keeps_what_was_there(explainer, tmp_path, monkeypatch):
    result = explainer.explain(tone(), RATE)
    result.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("earmark.runtime.results.result.write_png", full)
    assert str(tmp_path) in refuses(earmark.EarmarkError, "No space left", result.save, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    with pytest.raises(earmark.EarmarkError, match="No space left"):
        result.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    (tmp_path / "file").touch()
    with pytest.raises(earmark.EarmarkError, match="file"):
        result.save(tmp_path / "file")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_sound(tiny_bundle, tmp_path):
    """One minute and twenty of stereo at 44.1 kHz, explained, rescored and saved, in one process each."""
    peaks = {}
    block = (0.3 * np.random.default_rng(5).standard_normal((44100 * 10, 2))).astype(np.float32)
    for minutes in (1, 20):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", 44100, 2, format="WAV", subtype="PCM_16") as file:
            for _ in range(6 * minutes):
                file.write(block)
        said = run_python(
            f"""
            import resource, earmark
            from earmark.runtime.audio import sound
            sound.MEMORY_VALUES = 2_000_000
            result = earmark.load({str(tiny_bundle)!r}, "cpu").explain({str(path)!r})
            result.save({str(tmp_path / "out")!r})
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
            """,
            env={"EARMARK_THREADS": "1"},
        )
        peaks[minutes] = float(said)
        path.unlink()
    assert peaks[20] - peaks[1] < 60, peaks


def test_the_removed_sound_of_long_sound_takes_no_room(tmp_path, monkeypatch):
    """It is written as it is computed; only the kept sound, which windows overlap in, lies on the disk."""
    made = []
    monkeypatch.setattr(
        sounds, "scratch", lambda shape, *args, **more: made.append(shape) or scratch(shape, *args, **more)
    )
    wave = np.random.default_rng(5).uniform(-0.5, 0.5, (2, 90_000)).astype(np.float32)
    result = earmark.load(device="cpu").explain(wave, sample_rate=22_050, methods=["mask"])
    result.save(tmp_path / "out")
    assert made == [(2, 90_000)]
    removed, _ = soundfile.read(tmp_path / "out/removed.wav", dtype="float32")
    np.testing.assert_array_equal(removed.T, result.mask.residual)
    np.testing.assert_allclose(removed.T + result.mask.audio, wave, atol=1e-6)
