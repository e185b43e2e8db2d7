"""What stands between a sound and a classifier that takes features: its reference, and its graphs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from ...runtime.bundle.manifest import AnalysisSpec, Level
from ...runtime.bundle.nodes import Nodes
from ...runtime.values.arrays import Array, FloatArray
from ..graphs.files import OPSET, Dims, model_of
from .description import Description, Layout
from .graph import feature_nodes, row_nodes, stft_nodes, waveform_nodes
from .matrices import numbers_of
from .reference import features_of, patched_samples

Join = Literal["mean", "max"]


@dataclass(frozen=True)
class SoundPatches:
    """The patches of a sound, each a row of what the classifier takes.

    frames: of a patch; hop: frames from one to the next; step: samples from one frame to the next
    samples: of the shortest sound that gives a patch
    """

    frames: int
    hop: int
    step: int
    samples: int


@dataclass(frozen=True, kw_only=True)
class Frontend(ABC):
    """A front end of one classifier.

    samples: the length in samples that sound is cut and padded to; None: any length
    sample_rate: of the waveforms it takes, where it says so
    level: what the runtime does to a sound's level, where the front end says so
    analysis: the listenable STFT, where frontend.onnx gives it; None: it gives the features
    join: how the scores of several rows of one sound are joined; None: a sound is one row
    stretch: the patches that are these rows
    """

    samples: int | None = None
    sample_rate: int | None = None
    level: Level | None = None
    analysis: AnalysisSpec | None = None
    join: Join | None = None
    stretch: SoundPatches | None = None

    @property
    def window(self) -> int | None:
        """Samples that fill its features, where their number is fixed."""
        return self.samples

    @property
    def batched(self) -> bool:
        """Whether its rows have an axis of sounds, or of patches."""
        return True

    @property
    @abstractmethod
    def time_axis(self) -> int:
        """The axis of its rows that time runs along."""

    def suited(self, dims: Sequence[int | str], dtype: npt.DTypeLike) -> Frontend:
        """The same for a classifier whose input has these dims and this type, where it can follow them."""
        return self

    @abstractmethod
    def rows(self, sound: FloatArray) -> Array:
        """The reference: what the classifier takes for one sound [N], [1, ...] or a row a patch [P, ...].

        Raises SourceError where the sound is too short.
        """

    @abstractmethod
    def model(self) -> tuple[onnx.ModelProto, Dims]:
        """frontend.onnx, "waveform" -> "stft" or "features", and the dims of what it gives."""

    @abstractmethod
    def row_nodes(self, graph: Nodes, tensor: str) -> str:
        """Nodes from what frontend.onnx gives to rows as the classifier takes them."""


@dataclass(frozen=True, kw_only=True)
class Described(Frontend):
    """A front end made from its description."""

    description: Description
    name: str
    sample_rate: int
    level: Level

    def __str__(self) -> str:
        return self.name

    def suited(self, dims: Sequence[int | str], dtype: npt.DTypeLike) -> Described:
        """With the axis of one channel where the input has it."""
        output = self.description.output
        layout = plain = output.layout.replace("1", "")
        if len(dims) == len(plain) + 1 and [dims[1], dims[-1]].count(1) == 1:
            axis = 1 if dims[1] == 1 else len(plain)
            layout = f"{plain[:axis]}1{plain[axis:]}"
        elif len(dims) != len(plain):
            return self
        if output.channels != 1 or layout not in get_args(Layout):
            return self
        suited = msgspec.structs.replace(output, layout=cast("Layout", layout))
        return replace(self, description=msgspec.structs.replace(self.description, output=suited))

    @property
    def window(self) -> int | None:
        """Its own number of samples, or that which fills its fixed number of frames."""
        given, stft, frames = self.description.samples, self.description.stft, self.description.frames
        if self.samples is not None or given is not None:
            return self.samples or (given.count if given else None)
        if stft is None or frames is None:
            return None
        return (frames.count - 1) * stft.hop + (stft.span if stft.centring == "none" else 0)

    @property
    def time_axis(self) -> int:
        """Of the layout."""
        layout = self.description.output.layout
        return layout.index("T" if "T" in layout else "N")

    def rows(self, sound: FloatArray) -> Array:
        """By NumPy in float64; of sound hardly longer than a window the STFT is cut, as the graph does."""
        if self.samples is None:
            return features_of(self.description, sound)
        sound = np.pad(sound, (0, max(0, self.samples - len(sound))))
        stft = self.description.stft
        if stft is None or self.analysis is None:
            return features_of(self.description, sound[: self.samples])
        plain = msgspec.structs.replace(self.description, samples=None)
        return features_of(plain, sound, most_frames=1 + self.samples // stft.hop)

    def model(self) -> tuple[onnx.ModelProto, Dims]:
        """The listenable STFT, of the sound as it is, or the features before their layout."""
        graph = Nodes(OPSET)
        stft, description = self.description.stft, self.description
        if stft is not None and self.analysis is not None:
            built = stft_nodes(graph, stft, "waveform")
            dims: Dims = ["batch", "frames", stft.n_fft // 2 + 1, 2]
            return frontend_model(graph, built, "stft", dims), dims
        wave = "waveform"
        if self.samples is not None:
            padded = graph.add("Pad", wave, graph.whole(0, 0, 0, self.samples))
            wave = graph.part(padded, 1, 0, self.samples)
        wave = waveform_nodes(graph, description, wave)
        if stft is None:
            fixed = description.samples.count if description.samples else self.samples
            dims = ["batch", fixed or "length"]
            return frontend_model(graph, wave, "features", dims), dims
        built = feature_nodes(graph, description, stft_nodes(graph, stft, wave))
        bins = numbers_of(description, stft).bins
        if description.patches is not None:
            dims = ["batch", "patches", description.patches.length, bins]
        else:
            dims = ["batch", "frames" if description.frames is None else description.frames.count, bins]
        return frontend_model(graph, built, "features", dims), dims

    def row_nodes(self, graph: Nodes, tensor: str) -> str:
        """From the STFT of a window, or from features."""
        stft = self.description.stft
        if stft is not None and self.analysis is not None:
            if self.samples is not None:
                # Sound hardly longer than a window is one.
                tensor = graph.part(tensor, 1, 0, 1 + self.samples // stft.hop)
            tensor = feature_nodes(graph, self.description, tensor)
        return row_nodes(graph, self.description, tensor)


def from_description(description: Description, name: str = "a description") -> Described:
    """The front end that a description is; name: for the bundle's manifest.

    Where its STFT is the bundle's, the runtime pads sound to a fixed number of samples, so that the STFT is
    that of the padded sound.
    """
    given = description.samples if description.listenable is not None else None
    patches, stft, stretch = description.patches, description.stft, None
    if patches is not None and stft is not None:
        stretch = SoundPatches(patches.length, patches.hop, stft.hop, patched_samples(description, 1))
    return Described(
        description=description,
        name=name,
        samples=None if given is None else given.count,
        sample_rate=description.sample_rate,
        level=description.level,
        analysis=description.listenable,
        join=None if patches is None else patches.join,
        stretch=stretch,
    )


def frontend_model(graph: Nodes, tensor: str, name: str, dims: Dims) -> onnx.ModelProto:
    """frontend.onnx of nodes that end in a tensor, which it gives under a name."""
    graph.named("Identity", name, tensor)
    return model_of(graph, "frontend", {"waveform": ["batch", "samples"]}, {name: dims})
