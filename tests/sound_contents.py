"""Sound files in memory, whole or with a size in the header that is wrong, and what is read of them."""

import io
import struct

import numpy as np
import soundfile

from earmark.runtime.audio.sound import OpenSound, open_sound

RATE = 16000
# One place and format of the length in each header: (marker, bytes behind it, struct format).
SIZES = {
    "WAV": (b"data", 4, "<I"), "AIFF": (b"SSND", 4, ">I"), "AU": (b".snd", 8, ">I"),
    "W64": (b"data\xf3\xac", 16, "<Q"), "CAF": (b"data", 4, ">Q"), "RF64": (b"ds64", 16, "<Q"),
}  # fmt: skip
# What the size counts beside the sound.
EXTRA = {"AIFF": 8, "W64": 24, "CAF": 4}
LAYERS = [kind for kind in ("MP3",) if kind in soundfile.available_formats()]


def noise(samples: int = 12000, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(samples).uniform(-0.5, 0.5, (samples, channels)).astype(np.float32)


def written(kind: str, wave: np.ndarray | int = 12000, rate: int = RATE, **how) -> bytes:
    """A file of that kind. wave: [samples, channels], or how many samples of noise."""
    store = io.BytesIO()
    soundfile.write(store, noise(wave) if isinstance(wave, int) else wave, rate, format=kind, **how)
    return store.getvalue()


def with_size(kind: str, content: bytes, size: int) -> bytes:
    marker, behind, form = SIZES[kind]
    at = content.index(marker) + behind
    return content[:at] + struct.pack(form, size) + content[at + struct.calcsize(form) :]


def opened(content: bytes) -> OpenSound:
    return open_sound(io.BytesIO(content), None, RATE)


def samples(sound: OpenSound) -> np.ndarray:
    return np.concatenate(list(sound.input_blocks()), axis=1).T


def decoded(content: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0]


def flac_total(content: bytes, total: int) -> bytes:
    return content[:21] + bytes([content[21] & 0xF0]) + struct.pack(">I", total) + content[26:]
