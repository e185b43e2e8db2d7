"""What an explanation answers: frozen records with arrays, JSON-ready by `to_dict`, files by `save`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..prototypes_index.durability import naming
from .arrays import FloatArray
from .audio.sound import releaser
from .audio.writing import open_sound_file
from .records import ResultRecord

if TYPE_CHECKING:
    from .methods.components.result import ComponentsResult
    from .methods.mask.method import MaskResult
    from .methods.prototypes.result import ChannelAccount, Prototype
    from .methods.segments.result import SegmentsResult

# Samples a block when sound is written.
_BLOCK = 1 << 16
_MOST_WAV_BYTES = 4_000_000_000


@dataclass(frozen=True, eq=False, repr=False)
class Result(ResultRecord):
    """The explanation of one sound.

    predictions: (label, score) best first, scores are probabilities 0..1
    target: the label explained; logits [K] of the sound (of a long one: mean over its windows)
    mask, prototypes, channels, segments, components: parts of the methods that ran, else None
    rescored: domain ("spectrogram", "audio") -> {"mask_in": score, "mask_out": score, "..._label": label}
        of the target when only the kept (or removed) part is heard; with rescore=True only
    timings: milliseconds a stage; warnings: what the user should know before believing this
    sample_rate [Hz], channel_count, duration_s: the input's own
    bundle: name of the bundle that answered; bundle_id: its hash
    """

    input: str
    predictions: tuple[tuple[str, float], ...]
    target: str
    logits: FloatArray
    sample_rate: int
    channel_count: int
    duration_s: float
    windows: int
    device: str
    bundle_id: str
    seed: int
    mask: MaskResult | None = None
    prototypes: Mapping[str, tuple[Prototype, ...]] | None = None
    channels: ChannelAccount | None = None
    segments: SegmentsResult | None = None
    components: ComponentsResult | None = None
    rescored: Mapping[str, Mapping[str, Any]] | None = None
    timings: Mapping[str, float] = field(default_factory=dict, compare=False)
    warnings: tuple[str, ...] = ()
    bundle: str = ""

    @property
    def ok(self) -> bool:
        """True: the sound was explained (a `Failure` says False)."""
        return True

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready and stable: fields are added, never renamed; arrays appear as their summaries."""
        prototypes = self.prototypes
        return {
            "input": self.input,
            "predictions": [{"label": label, "score": score} for label, score in self.predictions],
            "target": self.target,
            "sample_rate": self.sample_rate,
            "channel_count": self.channel_count,
            "duration_s": round(self.duration_s, 6),
            "windows": self.windows,
            "mask": self.mask.to_dict() if self.mask else None,
            "prototypes": prototypes
            if prototypes is None
            else {view: [one.to_dict() for one in found] for view, found in prototypes.items()},
            "channels": self.channels.to_dict() if self.channels else None,
            "segments": self.segments.to_dict() if self.segments else None,
            "components": self.components.to_dict() if self.components is not None else None,
            "rescored": {name: dict(scores) for name, scores in self.rescored.items()}
            if self.rescored
            else None,
            "timings_ms": {name: round(value, 3) for name, value in self.timings.items()},
            "warnings": list(self.warnings),
            "device": self.device,
            "bundle": self.bundle,
            "bundle_id": self.bundle_id,
            "seed": self.seed,
        }

    def save(self, folder: Path | str) -> None:
        """Write result.json; with a mask mask.png, kept.wav, removed.wav; segments.csv and segments.png.

        With prototypes: prototypes.png and channels.png, and where the bundle holds sound the folder
        prototypes, in it <view>_<rank>.wav and channel_<channel>_<rank>.wav.
        With components: components.png and the folder components, in it kept.wav, removed.wav and a track
        for each that is selected, component_<index>.wav. WAV in 32-bit float, so that kept + removed is the
        input, and the tracks are what is kept.
        The folder becomes this result as a whole or stays as it was: what an earlier result left in it goes.
        Files that earmark did not write stay; where there are some, the files are replaced one by one.
        Raises WriteError where something cannot be written, or a file of another is in the way.
        """
        from .result_folder import RECORD, replacing

        with replacing(Path(folder)) as target:
            if self.mask is not None:
                title = f"{self.target}  {dict(self.predictions)[self.target]:.1%}"
                _write(target / "mask.png", lambda file: _picture(file, self.mask, self.duration_s, title))
                for name, sound in (("kept", self.mask.audio), ("removed", self.mask.residual)):
                    _write_wav(target / f"{name}.wav", sound, self.sample_rate)
            if self.segments is not None:
                rows = self.segments.to_csv()
                _write(target / "segments.csv", lambda file: file.write(rows.encode()))
                _write(target / "segments.png", lambda file: _bars(file, self))
            if self.components is not None:
                self._save_components(target, self.components)
            if self.prototypes is not None and self.channels is not None:
                self._save_prototypes(target, self.prototypes, self.channels)
            text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
            # Bytes of a name that are no UTF-8 become what JSON escapes them with.
            content = text.encode(errors="backslashreplace")
            _write(target / RECORD, lambda file: file.write(content))

    def _save_components(self, target: Path, components: ComponentsResult) -> None:
        """The tracks of the selected components, what they are together, and their picture."""
        from .methods.components.picture import draw_components

        title = f"{self.target}  {dict(self.predictions)[self.target]:.1%}"
        _write(target / "components.png", lambda file: draw_components(file, components, title=title))
        folder = target / "components"
        folder.mkdir(exist_ok=True)
        for name, sound in (("kept", components.audio), ("removed", components.residual)):
            _write_wav(folder / f"{name}.wav", sound, self.sample_rate)
        for index in components.selected:
            _write_wav(folder / f"component_{index}.wav", components[index].audio(), self.sample_rate)

    def _save_prototypes(
        self, target: Path, prototypes: Mapping[str, tuple[Prototype, ...]], channels: ChannelAccount
    ) -> None:
        """Pictures of the nearest prototypes and of the channels, and what they sound like."""
        from .methods.prototypes.picture import SHOWN, draw_channels, draw_nearest

        title = f"{self.target}  {dict(self.predictions)[self.target]:.1%}"
        _write(target / "prototypes.png", lambda file: draw_nearest(file, prototypes, channels, title=title))
        _write(target / "channels.png", lambda file: draw_channels(file, channels, title=title))
        listed = {f"channel_{one.channel}": one.prototypes for one in channels}
        sounds = {
            f"{name}_{rank}.wav": one
            for name, found in {**prototypes, **listed}.items()
            for rank, one in enumerate(found[:SHOWN], 1)
            if one.sound is not None
        }
        if sounds:
            (target / "prototypes").mkdir(exist_ok=True)
        for name, one in sounds.items():
            _write_wav(target / "prototypes" / name, *one.audio())


def _write(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write the new file `path` by `fill`."""
    with naming(path), path.open("xb") as file:
        fill(file)


def _write_wav(path: Path, sound: FloatArray, sample_rate: int) -> None:
    """Write `sound` [samples] or [channels, samples] block by block; RF64 past WAV's 4 GiB."""
    channels = 1 if sound.ndim == 1 else sound.shape[0]
    kind = "RF64" if sound.nbytes > _MOST_WAV_BYTES else "WAV"
    release = releaser(sound)
    with open_sound_file(path, sample_rate, channels, kind, "FLOAT") as wav:
        for start in range(0, sound.shape[-1], _BLOCK):
            block = sound[..., start : start + _BLOCK].T
            wav.write(block)
            release(block.nbytes)


def _picture(file: BinaryIO, mask: MaskResult | None, seconds: float, title: str) -> None:
    from .drawing.spectrogram import draw

    if mask is not None:
        overview = mask.overview
        draw(
            file,
            amplitude=overview.amplitude,
            mask=overview.mask,
            seconds=seconds,
            max_hz=mask.max_hz,
            title=title,
        )


def _bars(file: BinaryIO, result: Result) -> None:
    from .methods.segments.picture import draw_segments

    if result.segments is not None:
        title = f"{result.target}  {dict(result.predictions)[result.target]:.1%}"
        draw_segments(file, result.segments, seconds=result.duration_s, title=title)
