"""Descriptions of front ends that many models share, by name.

Each is compared with its original in tests/export/test_frontend_presets.py.
"""

from __future__ import annotations

import msgspec

from .description import (
    Description,
    Frames,
    Log,
    Mel,
    Normalise,
    Output,
    Patches,
    Samples,
    Stft,
)
from .fields import Fields

# Kaldi's float epsilon, which AST and torchaudio take as the floor.
_EPSILON = 1.1920928955078125e-07

_KALDI = Stft(
    n_fft=512, window_length=400, hop=160, periodic=False, centring="none", remove_dc=True, preemphasis=0.97
)

PRESETS: dict[str, Description] = {
    # transformers.ASTFeatureExtractor and the AST repository: AudioSet's mean and twice its deviation.
    "ast": Description(
        sample_rate=16000,
        stft=_KALDI,
        mel=Mel(bins=128, low_hz=20.0, scale="kaldi", triangles="mel"),
        log=Log(kind="ln", floor=_EPSILON),
        normalise=Normalise(mean=-4.2677393, deviation=2 * 4.5689974),
        frames=Frames(count=1024, value=4.2677393 / (2 * 4.5689974)),
        output=Output(layout="BTF"),
    ),
    # openai/whisper and transformers.WhisperFeatureExtractor.
    "whisper": Description(
        sample_rate=16000,
        samples=Samples(count=480000),
        stft=Stft(n_fft=400, hop=160),
        mel=Mel(bins=80, high_hz=8000.0, scale="slaney", norm="slaney"),
        log=Log(kind="log10", floor=1e-10, range=8.0),
        normalise=Normalise(mean=-4.0, deviation=4.0),
        frames=Frames(count=3000),
        output=Output(layout="BFT"),
    ),
    # transformers.ClapFeatureExtractor, truncation "rand_trunc" (laion/clap-htsat-unfused).
    "clap": Description(
        sample_rate=48000,
        samples=Samples(count=480000, pad="repeat_whole"),
        stft=Stft(n_fft=1024, hop=480),
        mel=Mel(bins=64, low_hz=50.0, high_hz=14000.0, scale="slaney", norm="slaney"),
        log=Log(kind="db", floor=1e-10),
        output=Output(layout="B1TF"),
    ),
    # torchlibrosa as in PANNs (Cnn14 and its like, 32 kHz).
    "panns": Description(
        sample_rate=32000,
        stft=Stft(n_fft=1024, hop=320),
        mel=Mel(bins=64, low_hz=50.0, high_hz=14000.0, scale="slaney", norm="slaney"),
        log=Log(kind="db", floor=1e-10),
        output=Output(layout="B1TF"),
    ),
    # tensorflow/models, research/audioset/yamnet/features.py.
    "yamnet": Description(
        sample_rate=16000,
        stft=Stft(n_fft=512, window_length=400, hop=160, centring="none", spectrum="magnitude"),
        mel=Mel(bins=64, low_hz=125.0, high_hz=7500.0, scale="kaldi", triangles="mel"),
        log=Log(kind="ln", floor=0.001, floor_by="add"),
        patches=Patches(length=96, hop=48, end="pad"),
        output=Output(layout="BTF"),
    ),
    # Kaldi's compute-fbank-feats, torchaudio.compliance.kaldi.fbank and kaldi-native-fbank, on int16 values.
    "kaldi-fbank": Description(
        sample_rate=16000,
        scale=32768.0,
        stft=msgspec.structs.replace(_KALDI, window="povey"),
        mel=Mel(bins=80, low_hz=20.0, scale="kaldi", triangles="mel"),
        log=Log(kind="ln", floor=_EPSILON),
        output=Output(layout="BTF"),
    ),
    # librosa.feature.melspectrogram and power_to_db with their defaults.
    "librosa-melspectrogram": Description(
        sample_rate=22050,
        stft=Stft(n_fft=2048, hop=512, centring="zeros"),
        mel=Mel(bins=128, scale="slaney", norm="slaney"),
        log=Log(kind="db", floor=1e-10, range=80.0),
        output=Output(layout="BFT"),
    ),
    # torchaudio.transforms.MelSpectrogram and AmplitudeToDB with their defaults.
    "torchaudio-melspectrogram": Description(
        sample_rate=16000,
        stft=Stft(n_fft=400, hop=200),
        mel=Mel(bins=128),
        log=Log(kind="db", floor=1e-10),
        output=Output(layout="BFT"),
    ),
    # torchlibrosa's Spectrogram and LogmelFilterBank with their defaults.
    "torchlibrosa": Description(
        sample_rate=22050,
        stft=Stft(n_fft=2048, hop=512),
        mel=Mel(bins=64, scale="slaney", norm="slaney"),
        log=Log(kind="db", floor=1e-10, range=80.0),
        output=Output(layout="B1TF"),
    ),
}


def preset_fields(name: str) -> Fields:
    """The fields of a preset that are not at their defaults, for others to go over them."""
    fields: Fields = msgspec.to_builtins(PRESETS[name])
    return fields
