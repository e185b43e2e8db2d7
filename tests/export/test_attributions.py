"""Attribution baselines against hand-written gradients, their axioms, and what they refuse."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from later import later
from refusals import refuses

from earmark.errors import LabelError, MethodError, MissingDependencyError, SourceError
from earmark.export.bundle.sounds import synthesise

later("captum")
torch = later("torch")
Attributions = later("earmark.export.attributions", "Attributions")


METHODS = ["saliency", "integrated_gradients", "smoothgrad", "gradcam", "gradcam_energy", "shap"]


def test_all_methods_are_tested():
    from earmark.export import attributions

    assert list(attributions.METHODS) == METHODS


@pytest.fixture(scope="module")
def stft(tiny_source):
    sound = torch.from_numpy(synthesise(1, 12000, tiny_source.sample_rate, seed=3))
    with torch.no_grad():
        return tiny_source.frontend(sound)[0].numpy()


def by_hand(source, stft, target, scale=1.0, noise=0.0):
    """The logit of scale * X + noise with the phase kept, and d f / d X there (float64, no captum)."""
    complex_ = torch.view_as_complex(torch.tensor(stft, dtype=torch.float64).contiguous())
    x = (torch.log1p(complex_.abs()) * scale + noise).clamp(min=0).requires_grad_()
    entered = torch.polar(torch.expm1(x), complex_.angle())
    classifier = source.classifier.double()
    try:
        logit = classifier(torch.view_as_real(entered).unsqueeze(0))[0][0, target]
        (gradient,) = torch.autograd.grad(logit, x)
    finally:
        source.classifier.float()
    return float(logit.detach()), gradient.numpy(), x.detach().numpy()


def test_saliency_is_the_gradients_magnitude(tiny_source, stft):
    for target in range(3):
        _, gradient, _ = by_hand(tiny_source, stft, target)
        made = Attributions(tiny_source, "saliency")(stft, target)
        assert made.shape == stft.shape[:2]
        np.testing.assert_allclose(made, np.abs(gradient), atol=1e-4 * np.abs(gradient).max())


def test_saliency_predicts_what_a_small_gain_does(tiny_source, stft):
    """Directional derivative by differences, through the door that masks use."""
    from earmark.runtime.audio.stft import gain

    amplitude = np.linalg.norm(stft, axis=-1)
    random = np.random.default_rng(0)
    direction = random.uniform(0, 1, amplitude.shape).astype(np.float32)
    step = 1e-2

    def logit(mask):
        with torch.no_grad():
            heard = torch.tensor(stft * gain(mask, amplitude)[..., None]).unsqueeze(0)
            return float(tiny_source.classifier(heard)[0][0, 1])

    slope = (logit(np.ones_like(amplitude)) - logit(1 - step * direction)) / step
    expected = float(
        (Attributions(tiny_source, "saliency").signed(stft, 1) * np.log1p(amplitude) * direction).sum()
    )
    assert slope == pytest.approx(expected, rel=0.05)


def test_integrated_gradients_are_complete(tiny_source, stft):
    full, _, x = by_hand(tiny_source, stft, 2)
    silence, _, _ = by_hand(tiny_source, stft, 2, scale=0.0)
    signed = Attributions(tiny_source, "integrated_gradients").signed(stft, 2)
    assert float(signed.sum()) == pytest.approx(full - silence, rel=0.02)
    # And against a midpoint rule of many points.
    points = (np.arange(100) + 0.5) / 100
    path = np.mean([by_hand(tiny_source, stft, 2, scale=point)[1] for point in points], axis=0) * x
    assert np.corrcoef(signed.ravel(), path.ravel())[0, 1] > 0.999


def test_shap_sums_to_the_mean_difference_from_its_baselines(tiny_source, stft):
    full, _, x = by_hand(tiny_source, stft, 0)
    silence, _, _ = by_hand(tiny_source, stft, 0, scale=0.0)
    mean = np.repeat(x.mean(axis=0, keepdims=True), len(x), axis=0)
    steady, _, _ = by_hand(tiny_source, stft, 0, scale=0.0, noise=torch.tensor(mean))
    total = np.mean([Attributions(tiny_source, "shap", seed).signed(stft, 0).sum() for seed in range(4)])
    low, high = sorted([full - silence, full - steady])
    slack = 0.25 * max(abs(low), abs(high))
    assert low - slack <= total <= high + slack


def test_smoothgrad_nears_saliency_without_noise_and_differs_with_it(tiny_source, stft):
    from earmark.export import attributions

    plain = Attributions(tiny_source, "saliency")(stft, 1)
    smooth = Attributions(tiny_source, "smoothgrad")(stft, 1)
    assert not np.allclose(plain, smooth, rtol=0.01)
    spread, attributions.NOISE = attributions.NOISE, 0.0
    try:
        still = Attributions(tiny_source, "smoothgrad")(stft, 1)
    finally:
        attributions.NOISE = spread
    np.testing.assert_allclose(still, plain, atol=1e-3 * plain.max())


def test_gradcam_is_captums_on_the_cells(tiny_source, stft):
    from captum.attr import LayerGradCam

    layer = tiny_source.classifier.feature_map
    entry = torch.tensor(stft).unsqueeze(0)
    cam = LayerGradCam(lambda s: tiny_source.classifier(s)[0], layer).attribute(
        entry, target=1, relu_attributions=True
    )
    cells = cam[0, 0].detach().numpy()
    made = Attributions(tiny_source, "gradcam")(stft, 1)
    # At the centre of a cell the interpolation gives the cell itself (bands of 1600 Hz, frames of 40 ms).
    bins = np.round((np.arange(5) + 0.5) * 1600 / (16000 / 512)).astype(int)
    frames = np.arange(len(cells)) * 4 + 2
    inside = frames < len(made)
    np.testing.assert_allclose(made[np.ix_(frames[inside], bins)], cells[inside], atol=0.03 * cells.max())
    energy = Attributions(tiny_source, "gradcam_energy")(stft, 1)
    np.testing.assert_allclose(energy, made * np.log1p(np.linalg.norm(stft, axis=-1)), rtol=1e-4, atol=1e-6)


def test_gradcam_without_a_word_on_the_map(tiny_source, stft):
    made = Attributions(replace(tiny_source, feature_map=None), "gradcam")(stft, 1)
    told = Attributions(tiny_source, "gradcam")(stft, 1)
    assert np.corrcoef(made.ravel(), told.ravel())[0, 1] > 0.95
    refuses(SourceError, "no tap", Attributions, replace(tiny_source, feature_map=None, taps={}), "gradcam")


@pytest.mark.parametrize("method", METHODS)
def test_repeats_by_seed_and_leaves_random_states_alone(tiny_source, stft, method):
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    expected = np.random.rand(), torch.rand(1)  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    first = Attributions(tiny_source, method, seed=7)(stft, 1)
    assert (np.random.rand(), torch.rand(1)) == expected  # noqa: NPY002
    again = Attributions(tiny_source, method, seed=7)(stft, 1)
    other = Attributions(tiny_source, method, seed=8)(stft, 1)
    assert first.dtype == np.float32
    assert first.shape == stft.shape[:2]
    assert np.isfinite(first).all()
    assert first.min() >= 0
    assert first.max() > 0
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) == (method not in {"smoothgrad", "shap"})


@pytest.mark.parametrize("method", METHODS)
def test_silence_is_finite(tiny_source, stft, method):
    made = Attributions(tiny_source, method)(np.zeros_like(stft), 0)
    assert np.isfinite(made).all()


def test_refusals(tiny_source, stft, monkeypatch):
    refuses(MethodError, "saliency", Attributions, tiny_source, "lime")
    with pytest.raises(SourceError, match="rescore spectrogram"):
        Attributions(replace(tiny_source, rescore="waveform"), "saliency")
    saliency = Attributions(tiny_source, "saliency")
    refuses(LabelError, "class 3", saliency, stft, 3)
    refuses(SourceError, "shape", saliency, stft[..., 0], 0)
    monkeypatch.setitem(sys.modules, "captum", None)
    refuses(MissingDependencyError, "evaluation", Attributions, tiny_source, "shap")
    assert Attributions(tiny_source, "gradcam")(stft, 0).shape == stft.shape[:2]
