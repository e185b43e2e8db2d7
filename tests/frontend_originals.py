"""Features as the original libraries make them, and the file of their values that default tests compare with.

Needs the extra test-frontends. `python tests/frontend_originals.py` writes the file anew;
`python tests/frontend_originals.py CLIPS` says how far presets are from their originals on a folder of clips.
"""

import sys
import types
from pathlib import Path

import numpy as np

VALUES = Path(__file__).parent / "export" / "frontend_originals.npz"
SECONDS = 1.7
# Values kept of each.
KEPT = 1500
RATES = {
    "ast": 16000,
    "whisper": 16000,
    "clap": 48000,
    "panns": 32000,
    "yamnet": 16000,
    "kaldi-fbank": 16000,
    "librosa-melspectrogram": 22050,
    "torchaudio-melspectrogram": 16000,
    "torchlibrosa": 22050,
}


def sound_of(rate, seconds=SECONDS):
    """Gliding tones and noise, the same at every call."""
    random = np.random.default_rng(3)
    time = np.arange(int(seconds * rate)) / rate
    made = 0.02 * random.standard_normal(len(time))
    for start, end in ((200, 900), (3000, 1500), (60, 6500)):
        phase = 2 * np.pi * np.cumsum(np.linspace(start, end, len(time))) / rate
        made += 0.2 * np.sin(phase) * np.sin(np.pi * time * 1.3) ** 2
    return made.astype(np.float32)


def kept(features):
    """Some of the values, the same at every call."""
    flat = np.asarray(features, np.float32).reshape(-1)
    return flat[np.random.default_rng(1).permutation(len(flat))[:KEPT]]


def torchaudio():
    """torchaudio without its compiled part, which features do not need and not every machine loads."""
    import importlib

    held = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "torchaudio"}
    stub = types.ModuleType("torchaudio._extension")
    stub._IS_TORCHAUDIO_EXT_AVAILABLE = stub._IS_ALIGN_AVAILABLE = False
    stub.fail_if_no_align = lambda function: function
    sys.modules["torchaudio._extension"] = stub
    try:
        importlib.import_module("torchaudio.compliance.kaldi")
        importlib.import_module("torchaudio.transforms")
        return sys.modules["torchaudio"]
    finally:
        # Other tests put a stub of their own there.
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules.update(held)


def ast(sound):
    from transformers import ASTFeatureExtractor
    from transformers.models.audio_spectrogram_transformer import (
        feature_extraction_audio_spectrogram_transformer as module,
    )

    module.is_speech_available = lambda: False  # its NumPy path
    return ASTFeatureExtractor()(sound, sampling_rate=16000, return_tensors="np")["input_values"]


def whisper(sound):
    from transformers import WhisperFeatureExtractor

    padded = np.pad(sound, (0, 480000 - len(sound)))
    return np.stack(WhisperFeatureExtractor()._np_extract_fbank_features(padded[None], "cpu"))


def clap(sound):
    from transformers import ClapFeatureExtractor

    extractor = ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc")
    return extractor(sound, sampling_rate=48000, return_tensors="np")["input_features"]


def panns(sound):
    import torch
    from torchlibrosa.stft import LogmelFilterBank, Spectrogram

    wave = torch.from_numpy(sound)[None].double()
    spectrum = Spectrogram(n_fft=1024, hop_length=320, win_length=1024).double()(wave)
    bank = LogmelFilterBank(sr=32000, n_fft=1024, n_mels=64, fmin=50, fmax=14000, amin=1e-10, top_db=None)
    return bank.double()(spectrum).numpy()


def torchlibrosa(sound):
    import torch
    from torchlibrosa.stft import LogmelFilterBank, Spectrogram

    return LogmelFilterBank().double()(Spectrogram().double()(torch.from_numpy(sound)[None].double())).numpy()


def yamnet(sound):
    """research/audioset/yamnet/features.py with tf.signal's formulas, step by step as they stand there."""
    rate, window, hop, n_fft = 16000, 400, 160, 512
    # pad_waveform
    least = int((0.96 + 0.025 - 0.010) * rate)
    extra = max(0, least - len(sound))
    steps = int(np.ceil(max(0, len(sound) - least) / (0.48 * rate)))
    extra += int(steps * 0.48 * rate) - max(0, len(sound) - least)
    wave = np.pad(sound.astype(np.float64), (0, extra))
    count = 1 + (len(wave) - window) // hop
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    magnitude = np.abs([np.fft.rfft(wave[at * hop : at * hop + window] * hann, n_fft) for at in range(count)])
    # linear_to_mel_weight_matrix(64, 257, 16000, 125, 7500): triangles in mel, no weight at 0 Hz.
    mel = 1127.0 * np.log(1.0 + np.linspace(0.0, rate / 2, 257)[1:] / 700.0)
    edges = np.linspace(*(1127.0 * np.log(1.0 + np.array([125.0, 7500.0]) / 700.0)), 66)
    bank = np.zeros((257, 64))
    for band in range(64):
        low, middle, high = edges[band : band + 3]
        bank[1:, band] = np.maximum(
            0, np.minimum((mel - low) / (middle - low), (high - mel) / (high - middle))
        )
    log_mel = np.log(magnitude @ bank + 0.001)
    return np.stack([log_mel[at : at + 96] for at in range(0, len(log_mel) - 95, 48)])


def kaldi_fbank(sound):
    import kaldi_native_fbank as knf

    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = 80
    bank = knf.OnlineFbank(options)
    bank.accept_waveform(16000, (sound * 32768).tolist())
    bank.input_finished()
    return np.stack([bank.get_frame(at) for at in range(bank.num_frames_ready)])[None]


def librosa_melspectrogram(sound):
    import librosa

    return librosa.power_to_db(librosa.feature.melspectrogram(y=sound.astype(np.float64), sr=22050))[None]


def torchaudio_melspectrogram(sound):
    import torch

    transforms = torchaudio().transforms
    wave = torch.from_numpy(sound)[None].double()
    return transforms.AmplitudeToDB()(transforms.MelSpectrogram().double()(wave)).numpy()


ORIGINALS = {
    "ast": ast,
    "whisper": whisper,
    "clap": clap,
    "panns": panns,
    "yamnet": yamnet,
    "kaldi-fbank": kaldi_fbank,
    "librosa-melspectrogram": librosa_melspectrogram,
    "torchaudio-melspectrogram": torchaudio_melspectrogram,
    "torchlibrosa": torchlibrosa,
}


def write():
    """Write the values of every original."""
    arrays = {}
    for name, make in ORIGINALS.items():
        features = np.asarray(make(sound_of(RATES[name])), np.float32)
        arrays[name], arrays[f"{name} shape"] = kept(features), np.array(features.shape)
    np.savez_compressed(VALUES, **arrays)


def compare(folder):
    """Print the largest difference of each preset on the clips below `folder`, of the largest value."""
    from earmark.export.sources.onnx.frontends import open_frontend
    from earmark.runtime.audio.sound import read_mono

    clips = sorted(path for path in Path(folder).rglob("*") if path.suffix in {".ogg", ".wav", ".flac"})
    for name, make in ORIGINALS.items():
        front = open_frontend(name)
        worst = 0.0
        for clip in clips:
            sound = read_mono(clip, RATES[name])
            theirs = np.asarray(make(sound), np.float64)
            worst = max(worst, np.abs(front.rows(sound) - theirs).max() / np.abs(theirs).max())
        sys.stdout.write(f"{name:<26} {worst:.1e} of the largest, {len(clips)} clips\n")


if __name__ == "__main__":
    sys.modules["torchaudio"] = torchaudio()  # transformers imports it
    compare(sys.argv[1]) if sys.argv[1:] else write()
