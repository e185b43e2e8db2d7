"""Clips of one-shots, hit once or twice, somewhere in a background; with the truth. Folders of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...runtime.audio.lengths import samples_of
from ...runtime.audio.writing import write_sound
from ...runtime.values.arrays import FloatArray, Values
from .backgrounds import BACKGROUNDS
from .one_shots import RECIPES

SAMPLE_RATE = 16_000
SECONDS = 2.0


@dataclass(frozen=True)
class Hit:
    """Where one hit truly lies.

    onset_s, offset_s: from its first sample to the end of 99 % of its energy
    fmin_hz, fmax_hz: the band that holds its energy but for 2 % at either end
    """

    onset_s: float
    offset_s: float
    fmin_hz: float
    fmax_hz: float


@dataclass(frozen=True)
class OneShotClip:
    """A synthesised clip and what is true of it.

    waveform: [samples] float32, in -1..1
    event: [samples] float32, the hits alone as they are in `waveform`; the background is the rest
    snr_db: power of the hits while they sound over that of the background
    """

    waveform: FloatArray
    event: FloatArray
    sample_rate: int
    label: str
    background: str
    snr_db: float
    events: tuple[Hit, ...]


def _extent(hit: Values, onset: int, rate: int) -> Hit:
    """Measure when and in which band a hit sounds."""
    energy = np.cumsum(hit**2)
    last = int(np.searchsorted(energy, 0.99 * energy[-1]))
    power = np.cumsum(np.abs(np.fft.rfft(hit)) ** 2)
    frequencies = np.fft.rfftfreq(hit.size, 1.0 / rate)
    low, high = np.searchsorted(power, np.array([0.02, 0.98]) * power[-1])
    return Hit(
        onset_s=onset / rate,
        offset_s=(onset + last + 1) / rate,
        fmin_hz=float(frequencies[low]),
        fmax_hz=float(frequencies[high]),
    )


def make_clip(
    label: str,
    seed: int | list[int],
    *,
    background: str | None = None,
    snr_db: float | None = None,
    seconds: float = SECONDS,
    sample_rate: int = SAMPLE_RATE,
) -> OneShotClip:
    """Synthesise one clip of a class.

    label: a key of RECIPES; background: a key of BACKGROUNDS, drawn where None
    snr_db: drawn from 3..25 dB where None
    seconds: at least 1 s, so that the longest hit fits
    The same arguments give the same samples.
    """
    rng = np.random.default_rng(seed)
    samples = samples_of(seconds, sample_rate)
    name = background or str(rng.choice(sorted(BACKGROUNDS)))
    snr = float(rng.uniform(3.0, 25.0)) if snr_db is None else snr_db
    hits = np.zeros(samples)
    events = []
    count = 1 + int(rng.random() < 0.3)
    # A second hit is the same instrument struck again, in the other half of the clip.
    for half in range(count):
        hit = RECIPES[label](rng, sample_rate) * rng.uniform(0.7, 1.0)
        start, end = (0, samples) if count == 1 else (half * samples // 2, (half + 1) * samples // 2)
        hit = hit[: end - start]
        onset = int(rng.integers(start, max(start + 1, end - hit.size)))
        hits[onset : onset + hit.size] += hit
        events.append(_extent(hit, onset, sample_rate))
    sounding = np.zeros(samples, dtype=bool)
    for event in events:
        sounding[samples_of(event.onset_s, sample_rate) : samples_of(event.offset_s, sample_rate)] = True
    power = float(np.mean(hits[sounding] ** 2))
    noise = BACKGROUNDS[name](rng, samples, sample_rate) * np.sqrt(power / 10.0 ** (snr / 10.0))
    gain = rng.uniform(0.3, 0.9) / np.max(np.abs(hits + noise))
    return OneShotClip(
        waveform=(gain * (hits + noise)).astype(np.float32),
        event=(gain * hits).astype(np.float32),
        sample_rate=sample_rate,
        label=label,
        background=name,
        snr_db=snr,
        events=tuple(events),
    )


FOLDS = 5


def clip_of(label: str, index: int, seed: int) -> OneShotClip:
    """The clip number `index` of a class in the data set of `seed`."""
    return make_clip(label, [seed, sorted(RECIPES).index(label), index])


def write_folder(out: str | Path, seed: int, clips_per_class: int) -> list[Path]:
    """Write `clips_per_class` clips of every class into `out/<label>/<fold>-<id>-A.flac`.

    Folds 1..5 are dealt in turn, so that each holds every class; the id is unique in the data set.
    FLAC, 16 bit, 16 kHz, mono. Returns the paths written, in order of label and id.
    """
    paths = []
    for position, label in enumerate(sorted(RECIPES)):
        folder = Path(out) / label
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(clips_per_class):
            clip = clip_of(label, index, seed)
            path = folder / f"{1 + index % FOLDS}-{10_000 * (position + 1) + index}-A.flac"
            write_sound(path, clip.waveform, clip.sample_rate, "FLAC", "PCM_16")
            paths.append(path)
    return paths


def background_of(name: str, index: int, seed: int) -> FloatArray:
    """[samples]: background number `index` of a kind in the data set of `seed`, with no hit in it."""
    # Apart from the clips' seeds, which are three numbers.
    rng = np.random.default_rng([seed, sorted(BACKGROUNDS).index(name), index, 0])
    sound = BACKGROUNDS[name](rng, samples_of(SECONDS, SAMPLE_RATE), SAMPLE_RATE)
    return np.asarray(rng.uniform(0.3, 0.9) * sound / np.max(np.abs(sound)), np.float32)


def write_backgrounds(out: str | Path, seed: int, sounds_per_kind: int) -> None:
    """Write `sounds_per_kind` backgrounds of every kind into `out/<kind>-<index>.flac`.

    FLAC, 16 bit, 16 kHz, mono.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(BACKGROUNDS):
        for index in range(sounds_per_kind):
            sound = background_of(name, index, seed)
            write_sound(folder / f"{name}-{index}.flac", sound, SAMPLE_RATE, "FLAC", "PCM_16")
