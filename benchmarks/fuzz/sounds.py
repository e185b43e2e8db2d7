"""Damaged sound files, opened by path and as open files: refused in one clear line, or read as they are.

    python benchmarks/fuzz/sounds.py --cases 100000 --seed 1 --jobs 2 --out FOLDER

Every file is written with known samples in one of many containers and codings, then damaged: headers that
promise less or more than there is, cut, joined, prefixed, tagged, zeroed, bytes changed. Faults are crashes,
hangs, memory, exceptions that are no EarmarkError, unclear messages, and in silence: a part of the sound,
other samples than were written where the container or the coding shows damage, values that are not finite,
and a path and an open file that disagree.
"""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import harness  # before numpy: it sets the number of threads

# isort: split
import numpy as np
import soundfile
from harness import SilentError, Verdict, note, refusal
from sound_damage import DAMAGES, Damage, WrittenSound

from earmark.runtime.audio.sound import open_sound

MODEL_RATE = 16000
# Container, coding, ending; frames of lossy codings are of that many samples at the most.
FORMATS = (
    ("WAV", "PCM_16", "wav"),
    ("WAV", "PCM_U8", "wav"),
    ("WAV", "PCM_24", "wav"),
    ("WAV", "FLOAT", "wav"),
    ("WAV", "DOUBLE", "wav"),
    ("WAV", "ULAW", "wav"),
    ("WAV", "IMA_ADPCM", "wav"),
    ("WAVEX", "PCM_16", "wav"),
    ("WAV", "PCM_32", "wav"),
    ("AIFF", "PCM_16", "aiff"),
    ("AIFF", "PCM_24", "aif"),
    ("AIFF", "FLOAT", "aifc"),
    ("AU", "PCM_16", "au"),
    ("AU", "FLOAT", "snd"),
    ("W64", "PCM_16", "w64"),
    ("RF64", "PCM_16", "wav"),
    ("RF64", "FLOAT", "wav"),
    ("CAF", "PCM_16", "caf"),
    ("CAF", "ALAC_16", "caf"),
    ("FLAC", "PCM_16", "flac"),
    ("FLAC", "PCM_24", "flac"),
    ("OGG", "VORBIS", "ogg"),
    ("OGG", "OPUS", "opus"),
    ("MP3", "MPEG_LAYER_III", "mp3"),
)
# Codings of two channels at the most.
_STEREO = ("MPEG_LAYER_III", "IMA_ADPCM")
RATES = (8000, 16000, 24000, 44100, 48000)


@dataclass(frozen=True)
class DecodedFile:
    """What earmark makes of a file."""

    samples: np.ndarray
    rate: int
    warnings: tuple[str, ...]
    # Those of them that tell of the file: others are true of the sound, such as a channel that is inverted.
    damage: tuple[str, ...]


def case(seed: int, index: int, folder: Path) -> Verdict:
    """Write, damage, read and judge one sound."""
    draw = random.Random(f"{seed}:{index}")
    written = write(draw)
    damage = draw.choice(DAMAGES) if draw.random() > 0.03 else None
    made = Damage(written.content, "nothing", "same") if damage is None else damage(written, draw)
    where = f"{written.kind} {written.coding} {written.rate} Hz x{written.samples.shape[0]}: {made.done}"
    note(folder, where)
    path = folder / f"sound.{written.ending}"
    path.write_bytes(made.content)
    try:
        return _judge(written, made, path, where)
    except SilentError as fault:
        return Verdict("silent", str(fault), where)


def write(draw: random.Random) -> WrittenSound:
    """A sound of known samples: noise whose level and offset change from channel to channel and with time."""
    kind, coding, ending = draw.choice(FORMATS)
    rate = draw.choice(RATES)
    if coding == "OPUS":
        rate = draw.choice([8000, 16000, 24000, 48000])
    channels, count = (
        draw.choice([1, 1, 2, 3 if coding not in _STEREO else 2]),
        draw.choice([1, 500, 4000, 9000]),
    )
    random_ = np.random.default_rng(draw.randrange(2**31))
    ramp = np.linspace(0.1, 0.8, count)[:, None]
    values = random_.uniform(-1, 1, (count, channels)) * ramp * (1 + np.arange(channels)) / channels
    buffer = io.BytesIO()
    soundfile.write(buffer, values, rate, format=kind, subtype=coding)
    content = buffer.getvalue()
    decoded, _ = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return WrittenSound(kind, coding, ending, rate, np.ascontiguousarray(decoded.T), content)


def decode(sound: object) -> DecodedFile:
    """All of a sound at its own rate."""
    opened = open_sound(sound, None, MODEL_RATE)
    blocks = [np.array(block) for block in opened.input_blocks()]
    samples = np.concatenate(blocks, axis=1)
    if samples.shape[1] != opened.input_samples:
        raise SilentError(f"says {opened.input_samples} samples and gives {samples.shape[1]}")
    at_model_rate = sum(block.shape[1] for block in opened.model_blocks())
    if at_model_rate != opened.samples:
        raise SilentError(f"says {opened.samples} samples at the model's rate and gives {at_model_rate}")
    return DecodedFile(samples, opened.input_rate, tuple(opened.warnings), tuple(opened.damage))


def _judge(written: WrittenSound, made: Damage, path: Path, where: str) -> Verdict:
    answers: dict[str, DecodedFile | Verdict] = {}
    ways: dict[str, Callable[[], DecodedFile]] = {
        "path": lambda: decode(path),
        "open file": lambda: _opened(path),
        "memory": lambda: decode(io.BytesIO(made.content)),
    }
    for way, function in ways.items():
        try:
            answers[way] = function()
        except SilentError:
            raise
        except Exception as error:
            names = (path.name,) if way != "memory" else ("the open file",)
            verdict = refusal(error, names, where)
            if verdict.kind != "refused":
                return Verdict(verdict.kind, f"{way}: {verdict.detail}", where)
            answers[way] = verdict
    first = answers["path"]
    for way, other in answers.items():
        if isinstance(first, Verdict) != isinstance(other, Verdict):
            detail = next(one.detail for one in (first, other) if isinstance(one, Verdict))
            raise SilentError(f"path and {way} disagree: one refuses ({detail[-80:]})")
        if isinstance(first, DecodedFile) and isinstance(other, DecodedFile) and not _same(first, other):
            raise SilentError(
                f"path and {way} disagree: {first.samples.shape}, {len(first.warnings)} warnings and "
                f"{other.samples.shape}, {len(other.warnings)} warnings"
            )
    if isinstance(first, Verdict):
        if made.expect in ("same", "streamed", "longer"):
            raise SilentError(f"a whole sound is refused: {first.detail}")
        return first
    _compare(written, made, first)
    return Verdict("ok", where=where)


def _opened(path: Path) -> DecodedFile:
    with path.open("rb") as file:
        return decode(file)


def _same(one: DecodedFile, other: DecodedFile) -> bool:
    return (
        one.rate == other.rate
        and _equal(one.samples, other.samples)
        and len(one.warnings) == len(other.warnings)
    )


def _compare(written: WrittenSound, made: Damage, decoded: DecodedFile) -> None:
    """Raise SilentError where what is read is not what the file holds, and no warning says so."""
    if not np.isfinite(decoded.samples).all():
        raise SilentError("samples that are not finite")
    for warning in decoded.warnings:
        if any(ord(one) < 32 for one in warning):
            raise SilentError(f"a warning with control characters: {warning!r}")
    expected = written.samples
    told = decoded.damage
    if made.expect in ("same", "streamed", "longer") and told:
        raise SilentError(f"a false warning: {told[0]}")
    if told or made.expect == "anything":
        return
    if decoded.rate != written.rate or decoded.samples.shape[0] != expected.shape[0]:
        if made.expect == "length":
            # A header may say another rate: nothing contradicts it.
            return
        raise SilentError(f"another format is read: {decoded.rate} Hz, {decoded.samples.shape[0]} channels")
    least = expected.shape[1] * (2 if made.expect == "twice" else 1)
    if decoded.samples.shape[1] < least - made.slack:
        raise SilentError(f"{made.expect}: {decoded.samples.shape[1]} of {least} samples, and no warning")
    if made.expect in ("same", "streamed", "whole"):
        if decoded.samples.shape != expected.shape:
            raise SilentError(
                f"{decoded.samples.shape[1]} samples instead of {expected.shape[1]}, and no warning"
            )
        # What follows the last frame of an MP3 may change what a decoder makes of that.
        sure = expected.shape[1] - (2 * 1152 if written.kind == "MP3" else 0)
        if not _equal(decoded.samples[:, :sure], expected[:, :sure]):
            raise SilentError("other samples than were written, and no warning")


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Sample by sample, but for rounding: decoders of MP3 round in another way once they have sought."""
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=0, atol=1e-6))


def main() -> int:
    """Run."""
    settings = harness.asked()
    return harness.main("sounds", case, settings, lambda: decode(io.BytesIO(write(random.Random(0)).content)))


if __name__ == "__main__":
    sys.exit(main())
