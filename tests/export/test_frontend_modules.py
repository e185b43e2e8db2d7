"""Front ends as PyTorch modules, held to their reference in NumPy."""

import numpy as np
import pytest
from frontend_graphs import assert_close
from later import later

from earmark.errors import SourceError
from earmark.export.frontends.description import described
from earmark.export.sources.onnx.frontends import describe

torch = later("torch")
DescribedFeatures = later("earmark.export.frontends.module", "DescribedFeatures")
DescribedWaveform = later("earmark.export.frontends.module", "DescribedWaveform")
StftFrontend = later("earmark.export.graphs.stft", "StftFrontend")

FRONTS = {
    "ast": {"frames": {"count": 120}},
    "whisper": {"samples": {"count": 24000}, "frames": {"count": 150}},
    "panns": {},
    "kaldi-fbank": {"normalise": {"over": "bin", "correction": 1}, "output": {"stack": 2}},
    "librosa-melspectrogram": {"log": {"reference": "max"}, "output": {"channels": 3, "layout": "B1FT"}},
    "torchaudio-melspectrogram": {"mfcc": {"count": 20}, "normalise": {"over": "clip"}},
    "torchlibrosa": {"log": {"reference": 0.5}, "preemphasis": 0.9, "frames": {"count": 90, "pad": "repeat"}},
    "magnitudes": {},
}


def front_of(name, over, tmp_path):
    if name != "magnitudes":
        return describe(name, over)
    path = tmp_path / "front.toml"
    path.write_text(
        'sample_rate = 16000\nlevel = "unit_variance"\n[stft]\nn_fft = 400\nwindow_length = 320\nhop = 160\n'
        'centring = "none"\nframe = "n_fft"\nspectrum = "magnitude"\nbins = 100\n[log]\nkind = "log1p"\n'
        'gain = 3.0\n[output]\nlayout = "B1TF"\n'
    )
    return describe(str(path), {})


@pytest.mark.parametrize("name", FRONTS)
def test_modules_are_their_reference_and_have_gradients(tmp_path, name):
    front = front_of(name, FRONTS[name], tmp_path)
    time = np.arange(24000) / front.sample_rate
    noise = 0.05 * np.random.default_rng(0).standard_normal((2, 24000))
    sounds = (0.02 + 0.3 * np.sin(2 * np.pi * np.array([[440.0], [1800.0]]) * time) + noise).astype("float32")
    sounds[1, 12000:] = 0.0
    analysis = front.analysis
    module = (
        DescribedWaveform(front.description)
        if analysis is None
        else torch.nn.Sequential(StftFrontend(analysis), DescribedFeatures(front.description))
    )
    waveform = torch.from_numpy(sounds).requires_grad_(True)
    rows = module(waveform)
    assert_close(rows.detach().numpy(), np.concatenate([front.rows(sound) for sound in sounds]))
    rows.square().sum().backward()
    assert torch.isfinite(waveform.grad).all()
    assert waveform.grad[0].abs().max() > 0


def test_waveforms_are_only_centred():
    front = describe("whisper", {"level": "unit_variance"})
    plain = {"sample_rate": 16000, "level": "unit_variance", "output": {"layout": "BN"}}
    wave = DescribedWaveform(described(plain, "test"))(torch.tensor([[1.0, 2.0, 6.0]]))
    assert wave.tolist() == [[-2.0, -1.0, 3.0]]
    assert front.analysis is None


def test_what_modules_do_not_know_is_said():
    with pytest.raises(SourceError, match="patches"):
        DescribedWaveform(describe("yamnet", {}).description)
