"""Training where the sound lies: tensors on PyTorch's meta device, which refuses what lies elsewhere."""

import pytest
import torch
from command_line import invoke
from tones import write_tones

from earmark.errors import DeviceError
from earmark.export.graphs.stft import stft
from earmark.export.training.device import chosen_device, mixed_precision
from earmark.runtime.bundle.manifest import AnalysisSpec


@pytest.mark.parametrize("window", ["hann", "hamming"])
def test_the_stft_lies_where_the_sound_does(window):
    analysis = AnalysisSpec(n_fft=512, window_length=400, hop=160, window=window)
    spectrum = stft(torch.zeros(2, 16_000, device="meta"), analysis)
    assert (spectrum.device.type, spectrum.shape) == ("meta", (2, 101, 257, 2))
    assert stft(torch.zeros(2, 16_000, dtype=torch.float64), analysis).dtype == torch.float64


def test_where_to_train(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_device("auto", exact=False).type == "cpu"
    with pytest.raises(DeviceError, match="torch sees no GPU here"):
        chosen_device("cuda", exact=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert chosen_device("auto", exact=False).type == "cuda"
    # What has to come out alike on every processor is trained on a CPU unless a GPU is asked for.
    assert chosen_device("auto", exact=True).type == "cpu"
    assert chosen_device("cuda", exact=True).type == "cuda"


def test_a_cpu_trains_in_full_precision():
    left, right = torch.randn(4, 4), torch.randn(4, 4)
    with mixed_precision(torch.device("cpu"), torch.float32):
        assert (left @ right).dtype == torch.float32


@pytest.mark.parametrize("recipe", ["classifier", "lmac"])
def test_a_gpu_that_is_not_there_is_exit_code_3(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    write_tones(data)
    arguments = {"classifier": [str(data), "-o", str(run)], "lmac": [str(run), str(data)]}[recipe]
    invoke("train", recipe, *arguments, "--device", "cuda", code=3, says="torch sees no GPU here")
    assert not run.exists()
