"""Conditions under which masks are judged: the clip as it is, or with something else mixed in.

The L-MAC paper's protocol: "in-domain" is the test fold with white noise at 0 dB; "out-of-domain" are
mixtures with another clip (0.8 / 0.2), speech (0.8 / 0.2) and weaker white noise (1 : 0.5). Gains are
those of sounds with unit L2 norm; the sum goes back to the clip's own norm, so that models without a gain
of their own are given it at its level. What is mixed in depends on the seed and the clip's name alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...errors import AudioError, DataError
from ...runtime.audio.decoding import find_source
from ...runtime.audio.listing import list_sound_files
from ...runtime.values.arrays import FloatArray
from ..data.folder import Clip, load_sound
from ..seeding import generator, partner
from ..synthesis.backgrounds import speech_like


@dataclass(frozen=True)
class Gains:
    """Gains of clip and interferer, both of unit L2 norm, and a line that says so."""

    clip: float
    other: float
    text: str


CONDITIONS = {
    "clean": Gains(1.0, 0.0, "the clips as they are"),
    "noise": Gains(1.0, 1.0, "white noise at 0 dB SNR (the paper's in-domain protocol)"),
    "noise_6db": Gains(1.0, 0.5, "white noise 1 : 0.5 in L2 norm, 6 dB SNR (the paper's out-of-domain)"),
    "mixture": Gains(0.8, 0.2, "a clip of another recording and class, 0.8 / 0.2 in L2 norm"),
    "speech": Gains(0.8, 0.2, "speech, 0.8 / 0.2 in L2 norm"),
}


@dataclass(frozen=True)
class Condition:
    """One condition: callable (clip, waveform [N]) -> waveform [N] float32.

    name: a key of CONDITIONS; rate: the waveforms' sample rate in Hz
    pool: the clips that mixtures draw from; speech: files of speech, synthesised where there are none
    Raises DataError for an unknown name, and when called where the pool has no clip to mix in.
    """

    name: str
    rate: int
    seed: int = 0
    pool: Sequence[Clip] = ()
    speech: Sequence[Path] = ()
    _load: Callable[[Path, int], FloatArray] = field(default=load_sound, repr=False)

    def __post_init__(self) -> None:
        if self.name not in CONDITIONS:
            raise DataError(f"there is no condition {self.name!r}; choose one of {', '.join(CONDITIONS)}")

    @property
    def text(self) -> str:
        """What is done to the clips, in one line."""
        text = CONDITIONS[self.name].text
        if self.name != "speech":
            return text
        return f"{text} ({f'{len(self.speech)} files' if self.speech else 'synthesised, speech-like'})"

    def __call__(self, clip: Clip, waveform: FloatArray) -> FloatArray:
        """The clip under this condition, [N] float32 of the clip's own L2 norm; silence stays silent."""
        norm = float(np.linalg.norm(waveform))
        if self.name == "clean" or norm == 0.0:
            return waveform
        random = generator(self.seed, self.name, clip.name)
        other = self._other(clip, len(waveform), random)
        weight = float(np.linalg.norm(other))
        gains = CONDITIONS[self.name]
        mixed = gains.clip / norm * waveform.astype(np.float64)
        if weight > 0.0:
            mixed += gains.other / weight * other
        return np.asarray(mixed * (norm / np.linalg.norm(mixed)), np.float32)

    def _other(self, clip: Clip, samples: int, random: np.random.Generator) -> FloatArray:
        """What is mixed into `clip`, [samples]."""
        if self.name in ("noise", "noise_6db"):
            return random.standard_normal(samples).astype(np.float32)
        if self.name == "mixture":
            return _stretch(self._load(self.partner_of(clip).path, self.rate), samples, random)
        if not self.speech:
            return speech_like(random, samples, self.rate).astype(np.float32)
        files = {str(path): path for path in self.speech}
        chosen = files[partner(self.seed, clip.name, files)]
        return _stretch(self._load(chosen, self.rate), samples, random)

    def partner_of(self, clip: Clip) -> Clip:
        """A clip of another recording, and of another class where there is one."""
        strangers = {other.name: other for other in self.pool if other.recording != clip.recording}
        others = {name: other for name, other in strangers.items() if other.label != clip.label} or strangers
        if not others:
            raise DataError(f"{clip.path}: no clip of another recording is there to mix with; add clips")
        return others[partner(self.seed, clip.name, others)]


def conditions_of(
    names: Sequence[str], rate: int, seed: int, clips: Sequence[Clip], speech: Sequence[Path] = ()
) -> list[Condition]:
    """The conditions of these names, each once. Raises DataError where a clip has none to be mixed with."""
    conditions = [Condition(name, rate, seed, clips, speech) for name in dict.fromkeys(names)]
    for condition in conditions:
        for clip in clips if condition.name == "mixture" else ():
            condition.partner_of(clip)
    return conditions


def speech_files(folder: Path) -> tuple[list[Path], list[str]]:
    """The sound files anywhere in `folder`, sorted, and a line on each that is none by its beginning.

    Raises DataError where no file is left.
    """
    files: list[Path] = []
    unreadable: list[str] = []
    for path in list_sound_files(folder).files:
        try:
            with closing(find_source(path, None).blocks()) as blocks:
                if next(blocks, None) is None:
                    raise AudioError(f"{path} has no samples")
            files.append(path)
        except AudioError as error:
            unreadable.append(str(error))
    if not files:
        raise DataError(f"{folder}: no sound files to take speech from")
    return files, unreadable


def _stretch(sound: FloatArray, samples: int, random: np.random.Generator) -> FloatArray:
    """`samples` of `sound`: from a random place where it is longer, repeated where it is shorter."""
    if len(sound) >= samples:
        start = int(random.integers(len(sound) - samples + 1))
        return sound[start : start + samples]
    return np.resize(sound, samples)
