"""PyTorch's STFT of what a manifest says: ours are held to it."""

import torch

from earmark.runtime.bundle.manifest import AnalysisSpec

# Of the tiny model.
TINY = AnalysisSpec(n_fft=512, window_length=400, hop=160, window="hann")


def how(spec, dtype=torch.float32):
    """What torch.stft and torch.istft are given of it, but the sound."""
    window = getattr(torch, f"{spec.window}_window")(spec.window_length, dtype=dtype)
    return spec.n_fft, spec.hop, spec.window_length, window


def torch_stft(waves, spec):
    """Of waves [..., N] the spectrum [..., T, F], complex."""
    waves = torch.as_tensor(waves)
    mode = "constant" if spec.padding == "zeros" else "reflect"
    value = torch.stft(waves, *how(spec, waves.dtype), pad_mode=mode, return_complex=True)
    return value.transpose(-1, -2)
