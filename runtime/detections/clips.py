"""The files of one detection: the sound of its windows, what the mask keeps of it, and a picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ...prototypes_index.atomic import open_whole, replaced, write_whole
from ...prototypes_index.durability import naming
from ..audio.amplitude import amplitude_of
from ..audio.writing import SoundFormat, coding_of, fitting, write_sound
from ..drawing.png import image_of
from ..drawing.shown import Chart, Spectrogram
from ..result_files.folder import CLIPS
from ..values.arrays import FloatArray
from .detection import Detection
from .recent import Stretch

# A run draws thousands of pictures: with so many colours they take a third of the room and look the same.
_COLOURS = 128


@dataclass(frozen=True, slots=True)
class ClipFiles:
    """Names of the files of one detection in their folder; empty where there is none."""

    clip: str
    kept: str = ""
    picture: str = ""


def write_clip(folder: Path, stem: str, detection: Detection, clip: Stretch, kind: SoundFormat) -> ClipFiles:
    """Write `stem`.flac (or .wav), `stem`_kept.flac where there is a mask, and `stem`.png; gives their names.

    folder: made where it does not exist; files of these names are replaced
    clip: the sound of the detection's windows; more than 8 channels, and what 16 bits cannot hold, is no FLAC
    Raises WriteError where a file cannot be written.
    """
    from PIL.Image import Quantize

    mask = None if detection.explanation is None else detection.explanation.mask
    kind = fitting(kind, [clip.samples] if mask is None else [clip.samples, mask.audio])
    suffix = coding_of(kind, len(clip.samples), clip.rate)[0]
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not (folder / CLIPS).exists():
        # So that they are not taken for recordings.
        write_whole(folder / CLIPS, json.dumps({"earmark_clips": 1}))
    files = ClipFiles(f"{stem}{suffix}", "" if mask is None else f"{stem}_kept{suffix}", f"{stem}.png")
    _write(folder / files.clip, clip.samples, clip.rate, kind)
    if mask is not None:
        _write(folder / files.kept, mask.audio, clip.rate, kind)
        shown = mask.spectrogram(clip.end_s - clip.start_s)
    else:
        amplitude = amplitude_of(clip.samples.mean(axis=0), clip.rate)
        shown = Spectrogram(amplitude, clip.end_s - clip.start_s, clip.rate / 2)
    chart = Chart(f"{detection.label}  {detection.score:.1%}", "", shown.seconds, shown)
    with open_whole(folder / files.picture) as file:
        image_of(chart).quantize(_COLOURS, Quantize.MAXCOVERAGE, dither=0).save(file, format="PNG")
    return files


def _write(path: Path, sound: FloatArray, rate: int, kind: SoundFormat) -> None:
    channels = 1 if sound.ndim == 1 else len(sound)
    _, container, coding = coding_of(kind, channels, rate)
    with replaced(path) as hidden:
        write_sound(hidden, sound, rate, container, coding)
