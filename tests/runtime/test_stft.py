import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from later import later

from earmark.runtime.audio import stft
from earmark.runtime.bundle.manifest import AnalysisSpec

torch = later("torch")
torch_stft = later("torch_stft", "torch_stft")
torch_stft_how = later("torch_stft", "how")

SPECS = [
    AnalysisSpec(n_fft=1024, window_length=372, hop=186, window="hamming", padding="zeros"),
    AnalysisSpec(n_fft=512, window_length=400, hop=160, window="hann", padding="zeros"),
    AnalysisSpec(n_fft=512, window_length=400, hop=160, window="hann", padding="reflect"),
    AnalysisSpec(n_fft=256, window_length=256, hop=100, window="hann", padding="reflect"),
    AnalysisSpec(n_fft=66, window_length=33, hop=8, window="hamming", padding="zeros"),
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("samples", [4000, 16001])
def test_forward_and_inverse_agree_with_torch(spec: AnalysisSpec, samples: int) -> None:
    rng = np.random.default_rng(samples)
    wave = rng.standard_normal((2, samples)).astype(np.float32)
    ours = stft.forward(wave, spec)
    theirs = torch_stft(wave, spec).numpy()
    assert ours.dtype == np.complex64
    assert ours.shape == theirs.shape == (2, stft.frame_count(samples, spec), spec.n_fft // 2 + 1)
    np.testing.assert_allclose(ours, theirs, atol=2e-4)

    # A changed spectrum, not only a consistent one: the inverse is the least-squares one.
    changed = ours * rng.uniform(size=ours.shape).astype(np.float32)
    back = stft.inverse(changed, spec, samples)
    covered = min(samples, (ours.shape[1] - 1) * spec.hop)
    changed = torch.from_numpy(changed).transpose(-1, -2)
    reference = torch.istft(changed, *torch_stft_how(spec), length=covered).numpy()
    assert back.shape == (2, samples)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back[:, :covered], reference, atol=1e-4)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("samples", [1, 2, 50, 300])
def test_sound_shorter_than_the_window_has_frames(spec: AnalysisSpec, samples: int) -> None:
    value = stft.forward(np.ones(samples, np.float32), spec)
    assert value.shape == (stft.frame_count(samples, spec), spec.n_fft // 2 + 1)
    assert np.isfinite(value).all()
    assert stft.inverse(value, spec, samples).shape == (samples,)


def test_what_no_window_covers_is_silent() -> None:
    gaps = AnalysisSpec(n_fft=64, window_length=16, hop=40, window="hann")
    value = stft.forward(np.ones(400, np.float32), gaps)
    back = stft.inverse(value, gaps, 400)
    assert np.isfinite(back).all()
    np.testing.assert_array_equal(back[10:30], 0.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(800, 6000), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_round_trip(samples: int, which: int, seed: int) -> None:
    spec = SPECS[which]
    wave = np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)
    back = stft.inverse(stft.forward(wave, spec), spec, samples)
    # Past the last frame's centre a window's thin edge may be all that covers a sample.
    sure = (stft.frame_count(samples, spec) - 1) * spec.hop
    np.testing.assert_allclose(back[:sure], wave[:sure], atol=1e-4)


def test_gain_is_the_masked_log_amplitude() -> None:
    rng = np.random.default_rng(0)
    amplitude = (10.0 ** rng.uniform(-6, 3, (50, 40))).astype(np.float32)
    amplitude[0] = 0.0
    amplitude[1] = 1e-38
    mask = rng.uniform(0, 1, (50, 40)).astype(np.float32)
    gain = stft.gain(mask, amplitude)
    exact = np.expm1(mask[2:].astype(float) * np.log1p(amplitude[2:].astype(float))) / amplitude[2:]
    np.testing.assert_allclose(gain[2:], exact, rtol=1e-5)
    np.testing.assert_allclose(gain[:2], mask[:2], rtol=1e-5)
    np.testing.assert_allclose(
        np.log1p(gain[2:] * amplitude[2:]), mask[2:] * np.log1p(amplitude[2:]), rtol=1e-5, atol=1e-7
    )


def test_gain_ends() -> None:
    amplitude = np.float32([0.0, 1e-3, 1.0, 500.0])
    np.testing.assert_allclose(stft.gain(np.ones(4, np.float32), amplitude), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(stft.gain(np.zeros(4, np.float32), amplitude), 0.0)


def test_gains_of_several_masks_of_one_spectrogram() -> None:
    rng = np.random.default_rng(0)
    amplitude = np.float32([[0.0, 1e-3], [1.0, 500.0]])
    masks = rng.uniform(0, 1, (3, 2, 2)).astype(np.float32)
    each = [stft.gain(mask, amplitude) for mask in masks]
    np.testing.assert_array_equal(stft.gain(masks, amplitude), each)


def test_a_floored_gain_leaves_a_tenth_of_the_rest() -> None:
    masks = np.float32([[[0.0, 0.8], [0.4, 0.2]], [[0.0, 0.0], [0.0, 0.0]]])
    gain = stft.gain(masks, np.ones_like(masks), "floored")
    # The largest stays, everything has a tenth of it, and of an empty mask nothing stays.
    np.testing.assert_allclose(gain, [[[0.08, 0.8], [0.44, 0.26]], [[0.0, 0.0], [0.0, 0.0]]], atol=1e-7)
    np.testing.assert_allclose(gain[0], stft.gain(masks[0], np.ones((2, 2)), "floored"))
    rest = stft.gain_of_rest(gain, masks, np.ones_like(masks), "floored")
    np.testing.assert_allclose(gain + rest, 1.0)
