"""Statistics of sound: against SciPy's transforms, and of sounds whose answers are known."""

import numpy as np
import pytest
import scipy.fft
import scipy.signal

from earmark.prototypes_index.acoustics import SIZES
from earmark.runtime.audio.stft import forward
from earmark.runtime.bundle.manifest import AnalysisSpec
from earmark.runtime.methods.prototypes.acoustics import acoustics_of
from earmark.runtime.values.mel import mel_edges

RATE = 16_000
TIME = np.arange(3 * RATE) / RATE


def statistics(sound, rate=RATE, padded=0):
    sound = np.asarray(sound, np.float32)
    hop = rate // 50
    spec = AnalysisSpec(n_fft=2 * hop, window_length=2 * hop, hop=hop, window="hann")
    amplitude = np.abs(forward(np.pad(sound, (0, padded)), spec))
    return acoustics_of(amplitude, sound, rate, hop)


def parts_of(sound):
    return np.split(statistics(sound), np.cumsum(SIZES)[:-1])


def noise(seconds=3.0, seed=0):
    return np.random.default_rng(seed).standard_normal(int(seconds * RATE))


def test_timbre_and_texture_are_those_of_scipy():
    sound = noise() * np.linspace(0.3, 1.0, len(TIME))
    _, _, spectrum = scipy.signal.stft(sound, RATE, nperseg=640, noverlap=320, padded=False)
    power, hz = np.abs(spectrum.T) ** 2, np.linspace(0.0, RATE / 2, 321)

    def triangles(count):
        edges = mel_edges(count + 1, RATE / 2)
        return np.stack([np.interp(hz, edges[k : k + 3], [0.0, 1.0, 0.0]) for k in range(count)], axis=1)

    bands = power @ triangles(40)
    level = 10.0 * np.log10(bands / bands.max())
    timbre, _, _, _, texture = parts_of(sound)
    cepstrum = scipy.fft.dct(level, axis=1, norm="ortho")[:, :12] * np.r_[np.sqrt(2.0), np.ones(11)]
    np.testing.assert_allclose(timbre[:12], cepstrum.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(timbre[12:24], cepstrum.std(axis=0), atol=0.02)
    onsets = np.maximum(np.diff(level, axis=0, prepend=level[:1]), 0.0).mean(axis=1)
    np.testing.assert_allclose(texture[[1, 3]], [onsets.mean(), onsets.std()], atol=0.01)
    weights = triangles(10) / triangles(10).sum(axis=0)
    # Of every other frame.
    uneven = np.log((power**2 @ weights) / (power @ weights) ** 2)[::2]
    regions = [
        *uneven.mean(axis=0).reshape(5, 2).mean(axis=1),
        *uneven.std(axis=0).reshape(5, 2).mean(axis=1),
    ]
    np.testing.assert_allclose(texture[4:], regions, atol=0.01)


@pytest.mark.parametrize(("hz", "octave"), [(2.0, 2), (7.0, 4), (30.0, 6)])
def test_a_beat_is_in_its_octave_of_modulation(hz, octave):
    _, coarse, fine, _, _ = parts_of(noise() * (1.0 + np.sin(2 * np.pi * hz * TIME)))
    assert fine.argmax() == octave
    if hz < 25.0:
        assert (coarse.reshape(7, 4).argmax(axis=0) == octave).all()


def test_a_tone_noise_and_clicks_have_their_spectra_and_textures():
    clicks = np.zeros(3 * RATE)
    clicks[RATE // 4 :: RATE // 2] = 1.0
    (_, _, _, tone, tonal), (_, _, _, rough, hiss), (_, _, _, _, click) = (
        parts_of(sound) for sound in (np.sin(2 * np.pi * 1000.0 * TIME), noise(), clicks)
    )
    # Where 1000 Hz lies among the middles of the bands.
    middles = mel_edges(41, RATE / 2)[1:-1]
    assert 40 * tone[0] == pytest.approx(np.interp(1000.0, middles, np.arange(40)), abs=0.1)
    edges = mel_edges(41, RATE / 2)
    widths = edges[2:] - edges[:-2]
    assert 40 * rough[0] == pytest.approx(widths @ np.arange(40) / widths.sum(), abs=0.2)
    # Of white noise bands hold as much as they are wide; rolloff is the share of those below 85 % of it.
    rising = np.cumsum(widths)
    assert rough[3] == pytest.approx(np.mean(rising < 0.85 * rising[-1]), abs=0.01)
    assert tone[2] < rough[2] - 10.0
    # Bins of noise are exponentially distributed: E[P^2] / E[P]^2 is 2; those of a click are all the same.
    assert hiss[8] == pytest.approx(np.log(2.0), abs=0.1)
    np.testing.assert_allclose(click[4:9], 0.0, atol=0.02)
    assert tonal[5] > 2.0


def test_gain_and_padding_change_nothing_and_any_sound_has_statistics():
    sound = noise(1.0).astype(np.float32)
    np.testing.assert_allclose(statistics(sound), statistics(sound * 2.0**-20), atol=1e-4)
    np.testing.assert_allclose(statistics(sound), statistics(sound, padded=5000), atol=1e-4)
    for odd in (np.zeros(RATE), np.ones(1), np.eye(1, RATE, 77)[0], 1e-30 * noise(0.1), noise(0.5)):
        for rate in (1_000, 8_000, 48_000):
            vector = statistics(odd, rate)
            assert vector.shape == (sum(SIZES),)
            assert np.isfinite(vector).all()
