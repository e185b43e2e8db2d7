"""Sounds in which there is nothing: silence, faint noise and recordings, as evidence for no label."""

import numpy as np
import pytest
import soundfile
import tones
from later import later
from tones import RATE, one_thread, write_tones  # noqa: F401 (a fixture)

from earmark.errors import RunError
from earmark.export.training.options import ClassifierOptions
from earmark.export.training.settings import ClassifierSettings

torch = later("torch")
background = later("earmark.export.training.augmentation", "background")
train_classifier = later("earmark.export.training.classifier", "train_classifier")
load_run = later("earmark.export.sources.run.source", "load")

pytestmark = pytest.mark.trained


def test_silence_faint_noise_and_recordings_are_drawn_in_their_shares():
    recording = np.ones(500, np.float32)
    drawn = background(2000, 500, np.random.default_rng(1), [recording])
    peaks = np.abs(drawn).max(axis=1)
    # 4 in 10 are silent; of the rest 3 in 4 are recordings, within 6 dB of their own level.
    assert np.mean(peaks == 0.0) == pytest.approx(0.4, abs=0.04)
    loud = peaks > 0.4
    assert np.mean(loud) == pytest.approx(0.45, abs=0.04)
    assert peaks[loud].max() < 2.0
    faint = drawn[(peaks > 0.0) & ~loud]
    assert np.sqrt(np.mean(faint**2, axis=1)).max() <= 10 ** (-30 / 20) * 1.001
    # Without recordings, the rest is noise.
    plain = background(2000, 500, np.random.default_rng(1))
    assert np.mean(~plain.any(axis=1)) == pytest.approx(0.4, abs=0.04)
    assert np.sqrt(np.mean(plain**2, axis=1)).max() <= 10 ** (-30 / 20) * 1.001


def scores_of(run, sound):
    with torch.no_grad():
        return torch.softmax(
            load_run(run).reference.logits(torch.from_numpy(sound[None].astype(np.float32))), 1
        )[0].numpy()


def test_a_recorded_background_is_evidence_for_nothing(tmp_path):
    """A tone of 400 Hz is a low one (200 Hz, not 2500) to a classifier that has not learnt better."""
    data = write_tones(made(tmp_path, "data"), 0.2, 0.2)
    sounds = made(tmp_path, "hum")
    random = np.random.default_rng(2)
    for index in range(4):
        soundfile.write(sounds / f"{index}.wav", tones.tone(380.0 + 15 * index, 0.7, random), RATE)
    settings = ClassifierSettings(
        **{**tones.FORM, **tones.PLAIN, "background": 0.5, "batch_size": 6, "epochs": 30, "exact": True}
    )
    train_classifier(data, tmp_path / "run", settings, ClassifierOptions(background_sounds=sounds))
    silence = np.zeros(int(0.64 * RATE), np.float32)
    for nothing in (silence, tones.tone(405.0, 0.64, random, level=1.0)):
        assert scores_of(tmp_path / "run", nothing).max() < 0.6
    # Without the folder the first is low with 0.99.
    low = scores_of(tmp_path / "run", tones.tone(200.0, 0.64, random, level=1.0))
    assert low[1] > 0.6

    for other, problem in ((None, "--background-sounds, which is missing now"), (data / "low", "another")):
        with pytest.raises(RunError, match=problem):
            train_classifier(
                data, tmp_path / "run", settings, ClassifierOptions(background_sounds=other, resume=True)
            )


def made(parent, name):
    folder = parent / name
    folder.mkdir()
    return folder


def test_recordings_that_would_never_be_drawn_are_refused(tmp_path):
    data = write_tones(made(tmp_path, "data"))
    settings = ClassifierSettings(**tones.FORM, background=0.0)
    with pytest.raises(RunError, match="background is 0"):
        train_classifier(data, tmp_path / "run", settings, ClassifierOptions(background_sounds=data / "low"))
    assert not (tmp_path / "run").exists()
