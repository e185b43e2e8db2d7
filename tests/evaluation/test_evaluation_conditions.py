"""Conditions: gains as stated, seeded, and the same for a clip whatever stands beside it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.errors import DataError
from earmark.evaluation.data.folder import Clip
from earmark.evaluation.faithfulness.conditions import CONDITIONS, Condition, conditions_of, speech_files
from earmark.evaluation.seeding import partner
from earmark.evaluation.synthesis.backgrounds import speech_like

RATE = 16_000


def clip(name: str, label: str = "a", recording: str | None = None) -> Clip:
    return Clip(Path(name), name, label, recording or name, None)


def sound(path: Path, rate: int) -> np.ndarray:
    """A waveform that belongs to the path, 0.5 s or 1.5 s long."""
    rng = np.random.default_rng(len(path.name))
    return rng.standard_normal(rate // 2 if "short" in path.name else 3 * rate // 2).astype(np.float32)


POOL = [
    clip("a1"),
    clip("a22", recording="a1"),
    clip("b333", "b"),
    clip("c4444", "c"),
    clip("short55555", "d"),
]
WAVE = (0.3 * np.sin(np.arange(RATE) / 7.0)).astype(np.float32)


def condition(name: str, pool=POOL, seed: int = 0) -> Condition:
    return Condition(name, RATE, seed, pool, (), sound)


@pytest.mark.parametrize("name", CONDITIONS)
def test_gains_are_as_stated(name):
    """What was added has its stated share of the clip's L2 norm, and the level is the clip's own."""
    mixed = condition(name)(POOL[0], WAVE)
    assert mixed.dtype == np.float32
    assert mixed.shape == WAVE.shape
    assert np.linalg.norm(mixed) == pytest.approx(np.linalg.norm(WAVE), rel=1e-4)
    if name == "clean":
        np.testing.assert_array_equal(mixed, WAVE)
        return
    # Least squares takes the clip's part out of the sum; the two are all but orthogonal.
    share = float(mixed @ WAVE / (WAVE @ WAVE))
    rest = mixed - share * WAVE
    ratio = np.linalg.norm(rest) / np.linalg.norm(share * WAVE)
    gains = CONDITIONS[name]
    assert ratio == pytest.approx(gains.other / gains.clip, rel=0.05)


@pytest.mark.parametrize("name", CONDITIONS)
def test_seeded_and_independent_of_order(name):
    first = condition(name)(POOL[0], WAVE)
    np.testing.assert_array_equal(first, condition(name, POOL[::-1])(POOL[0], WAVE))
    if name != "clean":
        assert not np.array_equal(first, condition(name, seed=1)(POOL[0], WAVE))


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=8, unique=True), st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_a_further_clip_only_takes_its_own_pairs(names, seed):
    before = partner(seed, "clip", names)
    assert partner(seed, "clip", [*names, "further"]) in (before, "further")


def test_mixtures_come_from_another_recording_and_class():
    seen = {
        partner.name
        for seed in range(40)
        for partner in [condition("mixture", seed=seed).partner_of(POOL[0])]
    }
    assert seen == {"b333", "c4444", "short55555"}
    one_class = [clip("x1"), clip("x2")]
    assert condition("mixture", one_class).partner_of(one_class[0]).name == "x2"
    with pytest.raises(DataError, match="another recording"):
        conditions_of(["mixture"], RATE, 0, POOL[:2])


def test_silence_stays_silent_and_unknown_conditions_are_refused():
    assert not condition("noise")(POOL[0], np.zeros(100, np.float32)).any()
    with pytest.raises(DataError, match="there is no condition"):
        condition("underwater")


def test_speech_comes_from_the_folder_or_is_synthesised_and_says_so(tmp_path):
    assert "synthesised" in condition("speech").text
    rng = np.random.default_rng(0)
    for name in ("one.wav", "two.flac"):
        soundfile.write(tmp_path / name, 0.1 * rng.standard_normal(8000), 8000)
    (tmp_path / "not.wav").write_text("no sound")
    files, unreadable = speech_files(tmp_path)
    assert [path.name for path in files] == ["one.wav", "two.flac"]
    assert "not.wav" in unreadable[0]
    from_files = Condition("speech", RATE, 0, (), files)
    assert "2 files" in from_files.text
    assert not np.array_equal(from_files(POOL[0], WAVE), condition("speech")(POOL[0], WAVE))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="speech"):
        speech_files(tmp_path / "empty")


@given(st.integers(0, 50), st.sampled_from([8000, 16000, 44100]))
@settings(max_examples=20, deadline=None)
def test_what_is_like_speech_has_pauses_and_most_of_its_power_in_speech_bands(seed, rate):
    made = speech_like(np.random.default_rng(seed), 4 * rate, rate)
    assert np.abs(made).max() == pytest.approx(1.0)
    blocks = np.sqrt((made[: 4 * rate // 400 * 400].reshape(-1, 400) ** 2).mean(1))
    assert blocks.min() < 0.05 * blocks.max()
    power = np.abs(np.fft.rfft(made)) ** 2
    frequencies = np.fft.rfftfreq(made.size, 1 / rate)
    assert power[(frequencies > 80) & (frequencies < 4000)].sum() > 0.7 * power.sum()
