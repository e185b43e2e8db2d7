"""Statistics of sound: against SciPy's transforms, and of sounds whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.signal
from scipy.ndimage import gaussian_filter1d

from earmark.prototypes_index.acoustics import SIZES
from earmark.runtime.methods.prototypes.acoustics import acoustics_of
from earmark.runtime.values.mel import mel_edges

RATE = 16_000
TIME = np.arange(3 * RATE) / RATE


def parts_of(sound, rate=RATE):
    return np.split(acoustics_of(np.asarray(sound, np.float32), rate), np.cumsum(SIZES)[:-1])


def noise(seconds=3.0, seed=0):
    return np.random.default_rng(seed).standard_normal(int(seconds * RATE))


def test_timbre_and_texture_are_those_of_scipy():
    sound = noise() * np.linspace(0.3, 1.0, len(TIME))
    _, _, spectrum = scipy.signal.stft(sound, RATE, nperseg=640, noverlap=320, padded=False)
    edges, hz = mel_edges(41, RATE / 2), np.linspace(0.0, RATE / 2, 321)
    bands = np.stack([np.interp(hz, edges[band : band + 3], [0.0, 1.0, 0.0]) for band in range(40)], axis=1)
    power = np.abs(spectrum.T) ** 2 @ bands
    level = 10.0 * np.log10(power / power.max())
    timbre, _, texture, _ = parts_of(sound)
    cepstrum = scipy.fft.dct(level, axis=1, norm="ortho")[:, :14] * np.r_[np.sqrt(2.0), np.ones(13)]
    np.testing.assert_allclose(timbre[:14], cepstrum.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(timbre[14:28], cepstrum.std(axis=0), atol=0.02)

    def smooth(frames, widths):
        weights = np.exp(-0.5 * ((np.arange(40)[:, None] - np.arange(40)) / widths) ** 2)
        return gaussian_filter1d(level, frames, axis=0) @ (weights / weights.sum(axis=0))

    excess = np.maximum(smooth(1, 4) - smooth(2, 8), 0.0)
    expected = [*excess.reshape(len(level), 5, 8).mean(axis=(0, 2)), excess.std()]
    np.testing.assert_allclose(texture[6:], np.log(np.array(expected) + 0.01), atol=0.01)


@pytest.mark.parametrize(("hz", "octave"), [(2.0, 2), (7.0, 4), (30.0, 6)])
def test_a_beat_is_in_its_octave_of_modulation(hz, octave):
    _, rhythm, _, _ = parts_of(noise() * (1.0 + np.sin(2 * np.pi * hz * TIME)))
    assert (rhythm.reshape(9, 8).argmax(axis=0) == octave).all()


def test_a_tone_and_noise_have_their_shapes():
    tone, rough = parts_of(np.sin(2 * np.pi * 1000.0 * TIME))[3], parts_of(noise())[3]
    assert np.exp(tone[0]) - 50.0 == pytest.approx(1000.0, abs=2.0)
    assert np.exp(rough[0]) - 50.0 == pytest.approx(RATE / 4, rel=0.02)
    # Flatness in natural logarithms: of white noise minus Euler's constant.
    assert rough[4] == pytest.approx(-0.577, abs=0.03)
    # Of white noise bands hold as much as they are wide; rolloff is the share of those below 85 % of it.
    edges = mel_edges(41, RATE / 2)
    rising = np.cumsum(edges[2:] - edges[:-2])
    assert rough[6] == pytest.approx(np.mean(rising < 0.85 * rising[-1]), abs=0.01)
    assert tone[4] < -10.0
    clicks = np.zeros(3 * RATE)
    clicks[RATE // 4 :: RATE // 2] = 1.0
    # Six onsets, each frame beside them silent: the root of their number.
    assert parts_of(clicks)[3][-3] == pytest.approx(6**0.5)


def test_gain_changes_nothing_and_any_sound_has_statistics():
    sound = noise(1.0).astype(np.float32)
    np.testing.assert_allclose(acoustics_of(sound, RATE), acoustics_of(sound * 2.0**-12, RATE), atol=1e-4)
    odd = (np.zeros(RATE), np.ones(1), np.eye(1, RATE, 77)[0], 1e-30 * noise(0.1), noise(0.5))
    for sound in odd:
        for rate in (1_000, 8_000, 48_000):
            vector = acoustics_of(sound.astype(np.float32), rate)
            assert vector.shape == (sum(SIZES),)
            assert np.isfinite(vector).all()
