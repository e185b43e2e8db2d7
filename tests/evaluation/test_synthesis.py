"""The project's own sounds: repeatable, varied, and true to what they say of themselves."""

import hashlib

import numpy as np
import pytest
import soundfile

from earmark.evaluation.synthesis.backgrounds import BACKGROUNDS
from earmark.evaluation.synthesis.clips import clip_of, make_clip, write_folder
from earmark.evaluation.synthesis.one_shots import RECIPES


@pytest.mark.parametrize("label", sorted(RECIPES))
@pytest.mark.parametrize("background", sorted(BACKGROUNDS))
def test_clip_is_sound_and_its_truth_is_true(label, background):
    clip = make_clip(label, [1, 2, 3], background=background, snr_db=12.0)
    assert clip.waveform.dtype == np.float32
    assert clip.waveform.shape == clip.event.shape == (32_000,)
    assert np.isfinite(clip.waveform).all()
    assert 0.29 < np.abs(clip.waveform).max() < 0.91
    inside = np.zeros(32_000, dtype=bool)
    for event in clip.events:
        assert 0.0 <= event.onset_s < event.offset_s <= 2.0
        assert 0.0 < event.fmin_hz < event.fmax_hz <= 8000.0
        inside[round(event.onset_s * 16_000) : round(event.offset_s * 16_000)] = True
    energy = clip.event.astype(np.float64) ** 2
    assert energy[inside].sum() > 0.97 * energy.sum()
    noise = (clip.waveform - clip.event).astype(np.float64)
    assert 10 * np.log10(energy[inside].mean() / (noise**2).mean()) == pytest.approx(12.0, abs=0.1)


def test_same_arguments_give_the_same_samples_and_others_differ():
    first, again = make_clip("snare", 5), make_clip("snare", 5)
    np.testing.assert_array_equal(first.waveform, again.waveform)
    assert first.events == again.events
    assert not np.array_equal(first.waveform, make_clip("snare", 6).waveform)


def test_folder_is_dealt_into_folds_and_is_repeatable(tmp_path):
    paths = write_folder(tmp_path / "a", seed=3, clips_per_class=5)
    write_folder(tmp_path / "b", seed=3, clips_per_class=5)
    assert len(paths) == 5 * len(RECIPES)
    names = [path.relative_to(tmp_path / "a") for path in paths]
    assert {name.parts[0] for name in names} == set(RECIPES)
    folds = [int(name.stem.split("-")[0]) for name in names]
    assert sorted(set(folds)) == [1, 2, 3, 4, 5]
    assert len({name.stem.split("-")[1] for name in names}) == len(names)
    digests = [
        [hashlib.sha256((tmp_path / side / name).read_bytes()).hexdigest() for name in names] for side in "ab"
    ]
    assert digests[0] == digests[1]
    samples, rate = soundfile.read(paths[0], dtype="float32")
    assert rate == 16_000
    np.testing.assert_allclose(samples, clip_of("bell", 0, 3).waveform, atol=2**-15)
