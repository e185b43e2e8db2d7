"""Masks without edge bias, and the sounds they make."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.errors import AudioError
from earmark.runtime.methods.segments.fills import ambient, in_bands
from earmark.runtime.methods.segments.grid import SegmentGrid
from earmark.runtime.methods.segments.masks import Perturbation, batch_of, draw_masks
from earmark.runtime.methods.segments.settings import SegmentSettings

RATE = 8000


def made(waveform, seed=0, **more):
    chosen = SegmentSettings(**more)
    grid = SegmentGrid.of(waveform.size, RATE, chosen)
    return grid, Perturbation(waveform, grid, chosen, np.random.default_rng(seed))


@given(
    stretches=st.integers(2, 70),
    bands=st.sampled_from([1, 2, 8]),
    pairs=st.integers(1, 40),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=25, deadline=None)
def test_masks_come_in_pairs_and_are_never_trivial(stretches, bands, pairs, seed):
    masks = draw_masks(np.random.default_rng(seed), pairs, (stretches, bands))
    assert masks.shape == (2 * pairs, stretches * bands)
    assert masks.dtype == np.bool_
    assert (masks[::2] == ~masks[1::2]).all()
    assert masks.any(axis=1).all()
    assert not masks.all(axis=1).any()


@pytest.mark.parametrize("shape", [(30, 1), (7, 1), (1, 8), (12, 6)])
def test_every_segment_is_masked_equally_often(shape):
    kept = draw_masks(np.random.default_rng(1), 12_000, shape)[::2]
    share = kept.mean(axis=0)
    # Standard error 0.005: the reference's first segment would be at .9, its middle at .58.
    assert np.abs(share - 0.5).max() < 0.03
    assert np.ptp(share) < 0.035


def test_neighbours_share_their_fate_by_the_length_of_the_runs():
    def together(windows):
        masks = draw_masks(np.random.default_rng(2), 4000, (40, 1), windows)
        return float((masks[:, 1:] == masks[:, :-1]).mean())

    assert together((1,)) < together((3,)) < together((5,))


def test_masked_shares_are_spread_as_asked():
    masks = draw_masks(np.random.default_rng(3), 4000, (60, 1), (1,), (0.1, 0.9))[::2]
    shares = 1.0 - masks.mean(axis=1)
    assert np.percentile(shares, 2) < 0.16
    assert np.percentile(shares, 98) > 0.84
    narrow = draw_masks(np.random.default_rng(3), 500, (60, 1), (1,), (0.4, 0.5))[::2]
    assert (1.0 - narrow.mean(axis=1)).min() > 0.3


@given(seconds=st.floats(0.25, 3.0), length=st.sampled_from([0.03, 0.1, 0.11]), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_kept_segments_are_the_sound_and_masked_ones_the_fill(seconds, length, seed):
    random = np.random.default_rng(seed)
    waveform = random.uniform(0.5, 1.0, int(seconds * RATE)).astype(np.float32)
    grid, perturbation = made(waveform, seed, fill="zeros", segment_seconds=length, fade_seconds=0.0)
    masks = draw_masks(random, 3, grid.shape)
    sounds = perturbation.sounds(masks)
    assert sounds.shape == (6, waveform.size)
    assert sounds.dtype == np.float32
    expected = np.repeat(masks, np.diff(grid.edges), axis=1) * waveform
    np.testing.assert_array_equal(sounds, expected)


def test_all_kept_is_the_sound_itself_on_every_axis():
    waveform = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    for axis in ("time", "frequency", "both"):
        grid, perturbation = made(waveform, axis=axis)
        sounds = perturbation.sounds(np.ones((2, grid.size), np.bool_))
        np.testing.assert_allclose(sounds, np.stack([waveform] * 2), atol=2e-6)


def test_complementary_masks_add_up_to_the_sound_over_silence():
    waveform = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    for axis in ("time", "frequency", "both"):
        grid, perturbation = made(waveform, axis=axis, fill="zeros")
        sounds = perturbation.sounds(draw_masks(np.random.default_rng(1), 4, grid.shape))
        np.testing.assert_allclose(sounds[::2] + sounds[1::2], np.stack([waveform] * 4), atol=3e-6)


def test_a_border_is_faded_and_leaves_no_click():
    waveform = np.ones(RATE, np.float32)
    grid, perturbation = made(waveform, fill="zeros", fade_seconds=0.01)
    mask = np.arange(grid.size) < 5
    (sound,) = perturbation.sounds(mask[None])
    assert np.abs(np.diff(sound)).max() < 0.03
    assert sound[: int(0.49 * RATE)].min() == 1.0
    assert sound[int(0.51 * RATE) :].max() == 0.0
    assert sound[int(0.5 * RATE)] == pytest.approx(0.5, abs=0.03)


def test_bands_add_up_and_hold_their_own():
    waveform = np.random.default_rng(4).standard_normal(RATE).astype(np.float32)
    grid = SegmentGrid.of(waveform.size, RATE, SegmentSettings(axis="both", bands=6))
    bands = in_bands(waveform, grid)
    np.testing.assert_allclose(bands.sum(axis=0), waveform, atol=2e-5)
    tone = np.sin(2 * np.pi * 0.5 * (grid.bands_hz[2] + grid.bands_hz[3]) * np.arange(RATE) / RATE)
    energy = np.square(in_bands(tone.astype(np.float32), grid)).sum(axis=1)
    assert energy.argmax() == 2
    assert energy[2] > 0.99 * energy.sum()


def test_a_masked_band_is_gone_and_the_others_stay():
    times = np.arange(RATE) / RATE
    low, high = np.sin(2 * np.pi * 200 * times), np.sin(2 * np.pi * 3000 * times)
    grid, perturbation = made((low + high).astype(np.float32), axis="frequency", bands=4, fill="zeros")
    mask = ~((grid.bands_hz[:-1] <= 3000) & (grid.bands_hz[1:] > 3000))
    (sound,) = perturbation.sounds(mask[None])
    np.testing.assert_allclose(sound, low, atol=0.02)


def test_ambience_has_the_spectrum_and_level_of_the_quiet_and_not_of_the_event():
    random = np.random.default_rng(0)
    hum = 0.01 * np.convolve(random.standard_normal(4 * RATE), np.ones(16) / 4, "same")
    waveform = hum.astype(np.float32)
    waveform[RATE : RATE + 4000] += np.sin(2 * np.pi * 2500 * np.arange(4000) / RATE).astype(np.float32)
    fill = ambient(waveform, random.standard_normal(8 * RATE, dtype=np.float32), RATE)
    assert fill.std() == pytest.approx(hum.std(), rel=0.15)
    spectrum = np.abs(np.fft.rfft(fill)) ** 2
    frequencies = np.fft.rfftfreq(fill.size, 1 / RATE)
    low, event = spectrum[frequencies < 250].mean(), spectrum[np.abs(frequencies - 2500) < 50].mean()
    assert low > 30 * event


@pytest.mark.parametrize("fill", ["ambience", "noise", "zeros", "mean"])
def test_fills_are_finite_and_seeded(fill):
    waveform = (0.3 + 0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    grid, one = made(waveform, 7, fill=fill)
    two = made(waveform, 7, fill=fill)[1]
    nothing = np.zeros((2, grid.size), np.bool_)
    first = one.sounds(nothing)
    np.testing.assert_array_equal(first, two.sounds(nothing))
    assert np.isfinite(first).all()
    assert (first[0] == first[1]).all()
    if fill in {"ambience", "noise"}:
        assert (one.sounds(nothing) != first).any()
    if fill == "mean":
        np.testing.assert_allclose(first, waveform.mean(), atol=1e-6)


def test_silence_and_a_background_of_any_length_fill_too():
    waveform = np.zeros(RATE, np.float32)
    grid, perturbation = made(waveform)
    assert not perturbation.sounds(np.zeros((1, grid.size), np.bool_)).any()
    background = np.array([0.25, -0.25, 0.5], np.float32)
    grid, perturbation = made(np.ones(RATE, np.float32), fill="background", background=background)
    (sound,) = perturbation.sounds(np.zeros((1, grid.size), np.bool_))
    assert set(np.unique(sound)) == {-0.25, 0.25, 0.5}


def test_the_grid_covers_the_sound_and_refuses_less_than_two_segments():
    grid = SegmentGrid.of(8500, RATE, SegmentSettings())
    start, end, low, high = grid.spans()
    assert grid.size == 11
    assert start[0] == 0.0
    assert end[-1] == 8500 / RATE
    np.testing.assert_array_equal(start[1:], end[:-1])
    assert (low == 0).all()
    assert (high == RATE / 2).all()
    assert SegmentGrid.of(801, RATE, SegmentSettings()).size == 2
    for samples in (1, 400, 800):
        with pytest.raises(AudioError, match=r"no two segments of 0\.1 s: give a longer sound"):
            SegmentGrid.of(samples, RATE, SegmentSettings())
    assert SegmentGrid.of(1, RATE, SegmentSettings(axis="frequency", bands=5)).size == 5


def test_batches_are_bounded_by_memory():
    assert batch_of(1000) <= 64
    assert batch_of(10_000_000_000) == 1
    assert batch_of(1_000_000) * 1_000_000 * 4 <= 64e6
