"""Descriptions of front ends that many models share, by name.

Each is compared with its original in tests/export/test_frontend_presets.py.
"""

from __future__ import annotations

from typing import Any

# Kaldi's float epsilon, which AST and torchaudio take as the floor.
_EPSILON = 1.1920928955078125e-07

_KALDI_STFT: dict[str, Any] = {
    "n_fft": 512,
    "window_length": 400,
    "hop": 160,
    "periodic": False,
    "centring": "none",
    "remove_dc": True,
    "preemphasis": 0.97,
}

PRESETS: dict[str, dict[str, Any]] = {
    # transformers.ASTFeatureExtractor and the AST repository: AudioSet's mean and twice its deviation.
    "ast": {
        "sample_rate": 16000,
        "stft": {**_KALDI_STFT, "window": "hann"},
        "mel": {"bins": 128, "low_hz": 20.0, "scale": "kaldi", "triangles": "mel"},
        "log": {"kind": "ln", "floor": _EPSILON},
        "normalise": {"mean": -4.2677393, "deviation": 2 * 4.5689974},
        "frames": {"count": 1024, "value": 4.2677393 / (2 * 4.5689974)},
        "output": {"layout": "BTF"},
    },
    # openai/whisper and transformers.WhisperFeatureExtractor.
    "whisper": {
        "sample_rate": 16000,
        "samples": {"count": 480000},
        "stft": {"n_fft": 400, "hop": 160},
        "mel": {"bins": 80, "high_hz": 8000.0, "scale": "slaney", "norm": "slaney"},
        "log": {"kind": "log10", "floor": 1e-10, "range": 8.0},
        "normalise": {"mean": -4.0, "deviation": 4.0},
        "frames": {"count": 3000},
        "output": {"layout": "BFT"},
    },
    # transformers.ClapFeatureExtractor, truncation "rand_trunc" (laion/clap-htsat-unfused).
    "clap": {
        "sample_rate": 48000,
        "samples": {"count": 480000, "pad": "repeat_whole"},
        "stft": {"n_fft": 1024, "hop": 480},
        "mel": {"bins": 64, "low_hz": 50.0, "high_hz": 14000.0, "scale": "slaney", "norm": "slaney"},
        "log": {"kind": "db", "floor": 1e-10},
        "output": {"layout": "B1TF"},
    },
    # torchlibrosa as in PANNs (Cnn14 and its like, 32 kHz).
    "panns": {
        "sample_rate": 32000,
        "stft": {"n_fft": 1024, "hop": 320},
        "mel": {"bins": 64, "low_hz": 50.0, "high_hz": 14000.0, "scale": "slaney", "norm": "slaney"},
        "log": {"kind": "db", "floor": 1e-10},
        "output": {"layout": "B1TF"},
    },
    # tensorflow/models, research/audioset/yamnet/features.py.
    "yamnet": {
        "sample_rate": 16000,
        "stft": {
            "n_fft": 512,
            "window_length": 400,
            "hop": 160,
            "centring": "none",
            "spectrum": "magnitude",
        },
        "mel": {"bins": 64, "low_hz": 125.0, "high_hz": 7500.0, "scale": "kaldi", "triangles": "mel"},
        "log": {"kind": "ln", "floor": 0.001, "floor_by": "add"},
        "patches": {"length": 96, "hop": 48, "end": "pad"},
        "output": {"layout": "BTF"},
    },
    # Kaldi's compute-fbank-feats, torchaudio.compliance.kaldi.fbank and kaldi-native-fbank, on int16 values.
    "kaldi-fbank": {
        "sample_rate": 16000,
        "scale": 32768.0,
        "stft": {**_KALDI_STFT, "window": "povey"},
        "mel": {"bins": 80, "low_hz": 20.0, "scale": "kaldi", "triangles": "mel"},
        "log": {"kind": "ln", "floor": _EPSILON},
        "output": {"layout": "BTF"},
    },
    # librosa.feature.melspectrogram and power_to_db with their defaults.
    "librosa-melspectrogram": {
        "sample_rate": 22050,
        "stft": {"n_fft": 2048, "hop": 512, "centring": "zeros"},
        "mel": {"bins": 128, "scale": "slaney", "norm": "slaney"},
        "log": {"kind": "db", "floor": 1e-10, "range": 80.0},
        "output": {"layout": "BFT"},
    },
    # torchaudio.transforms.MelSpectrogram and AmplitudeToDB with their defaults.
    "torchaudio-melspectrogram": {
        "sample_rate": 16000,
        "stft": {"n_fft": 400, "hop": 200},
        "mel": {"bins": 128},
        "log": {"kind": "db", "floor": 1e-10},
        "output": {"layout": "BFT"},
    },
    # torchlibrosa's Spectrogram and LogmelFilterBank with their defaults.
    "torchlibrosa": {
        "sample_rate": 22050,
        "stft": {"n_fft": 2048, "hop": 512},
        "mel": {"bins": 64, "scale": "slaney", "norm": "slaney"},
        "log": {"kind": "db", "floor": 1e-10, "range": 80.0},
        "output": {"layout": "B1TF"},
    },
}
