"""Hugging Face's preprocessor_config.json, read as data: no code of it runs. Never torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from ...errors import SourceError
from .fields import Fields, merged
from .presets import preset_fields


class Extractor(msgspec.Struct, frozen=True):
    """What every configuration says. Fields of no consequence for features are ignored."""

    sampling_rate: int = 16000
    feature_size: int | None = None
    do_normalize: bool | None = None
    padding_value: float = 0.0


class Ast(Extractor, frozen=True):
    """transformers.ASTFeatureExtractor."""

    num_mel_bins: int = 128
    max_length: int = 1024
    mean: float = -4.2677393
    std: float = 4.5689974


class Whisper(Extractor, frozen=True):
    """transformers.WhisperFeatureExtractor."""

    hop_length: int = 160
    n_fft: int = 400
    chunk_length: float = 30.0


class Clap(Extractor, frozen=True):
    """transformers.ClapFeatureExtractor."""

    sampling_rate: int = 48000
    hop_length: int = 480
    fft_window_size: int = 1024
    frequency_min: float = 0.0
    frequency_max: float = 14000.0
    max_length_s: float = 10.0
    padding: Literal["repeatpad", "repeat", "pad"] = "repeatpad"
    truncation: Literal["fusion", "rand_trunc"] = "fusion"
    top_db: float | None = None


class SeamlessM4T(Extractor, frozen=True):
    """transformers.SeamlessM4TFeatureExtractor, of w2v-BERT."""

    num_mel_bins: int = 80
    stride: int = 2


def read_preprocessor(path: Path) -> Fields:
    """The fields of the front end that a preprocessor_config.json means.

    Raises SourceError: no readable JSON, an extractor that is not known, fields of another type.
    """
    try:
        raw = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise SourceError(f"{path}: is no readable JSON file ({error})") from error
    if isinstance(raw, dict) and isinstance(raw.get("feature_extractor"), dict):
        # A processor_config.json, which holds it.
        raw = raw["feature_extractor"]
    kind = raw.get("feature_extractor_type") if isinstance(raw, dict) else None
    if not isinstance(kind, str) or kind not in EXTRACTORS:
        raise SourceError(
            f"{path}: its feature_extractor_type {kind!r} is not one of {', '.join(EXTRACTORS)}; describe "
            "the features in a .toml file (docs/frontends.md)"
        )
    form, reader = EXTRACTORS[kind]
    try:
        return reader(msgspec.convert({name: raw[name] for name in raw if raw[name] is not None}, form))
    except msgspec.ValidationError as error:
        raise SourceError(f"{path}: {error}; compare it with the model's own file") from error


def _waveform(config: Extractor) -> Fields:
    """Wav2Vec2FeatureExtractor, of wav2vec2, HuBERT, WavLM, data2vec, UniSpeech and SEW."""
    normalised = config.do_normalize is None or config.do_normalize
    return {
        "sample_rate": config.sampling_rate,
        "level": "unit_variance" if normalised else "none",
        "output": {"layout": "BN"},
    }


def _encodec(config: Extractor) -> Fields:
    return {"sample_rate": config.sampling_rate, "output": {"layout": "B1N"}}


def _ast(config: Ast) -> Fields:
    built = merged(
        preset_fields("ast"),
        {
            "sample_rate": config.sampling_rate,
            "mel": {"bins": config.num_mel_bins},
            "frames": {"count": config.max_length},
        },
    )
    if config.do_normalize is False:
        return {**built, "normalise": {}, "frames": {"count": config.max_length}}
    # Frames are padded with zeros before they are normalised.
    return merged(
        built,
        {
            "normalise": {"mean": config.mean, "deviation": 2 * config.std},
            "frames": {"value": -config.mean / (2 * config.std)},
        },
    )


def _whisper(config: Whisper) -> Fields:
    samples = round(config.chunk_length * config.sampling_rate)
    built = merged(
        preset_fields("whisper"),
        {
            "sample_rate": config.sampling_rate,
            "samples": {"count": samples},
            "stft": {"n_fft": config.n_fft, "hop": config.hop_length},
            "mel": {"bins": config.feature_size or 80},
            "frames": {"count": samples // config.hop_length},
        },
    )
    # The sound, not the features, is brought to zero mean and unit variance.
    return {**built, "level": "unit_variance"} if config.do_normalize else built


def _clap(config: Clap) -> Fields:
    pads = {"repeatpad": "repeat_whole", "repeat": "repeat", "pad": "zeros"}
    built = merged(
        preset_fields("clap"),
        {
            "sample_rate": config.sampling_rate,
            "samples": {
                "count": round(config.max_length_s * config.sampling_rate),
                "pad": pads[config.padding],
            },
            "stft": {"n_fft": config.fft_window_size, "hop": config.hop_length},
            "mel": {
                "bins": config.feature_size or 64,
                "low_hz": config.frequency_min,
                "high_hz": config.frequency_max,
            },
        },
    )
    if config.truncation == "fusion":
        # Sound that is no longer than the window: four times the same features.
        built = merged(built, {"mel": {"scale": "htk", "norm": "none"}, "output": {"channels": 4}})
    return built


def _seamless(config: SeamlessM4T) -> Fields:
    return merged(
        preset_fields("kaldi-fbank"),
        {
            "sample_rate": config.sampling_rate,
            "mel": {"bins": config.num_mel_bins},
            "normalise": {"over": "bin", "correction": 1},
            "output": {"stack": config.stride},
        },
    )


EXTRACTORS: dict[str, tuple[type[Extractor], Callable[..., Fields]]] = {
    "ASTFeatureExtractor": (Ast, _ast),
    "WhisperFeatureExtractor": (Whisper, _whisper),
    "ClapFeatureExtractor": (Clap, _clap),
    "Wav2Vec2FeatureExtractor": (Extractor, _waveform),
    "SeamlessM4TFeatureExtractor": (SeamlessM4T, _seamless),
    "EncodecFeatureExtractor": (Extractor, _encodec),
}
