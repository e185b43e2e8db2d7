"""What a page knows of its model: `model/model.json`, as types that its script reads."""

from __future__ import annotations

from typing import Literal

import msgspec

from ... import __version__
from ...prototypes_index.views import View
from ...runtime.audio.lengths import longest_window, samples_at_least, samples_of
from ...runtime.bundle.manifest import Aggregation, Level, LevelOver, Manifest, MaskTargets, Task
from .onnxruntime_web import VERSION

KIND = "earmark page"
# As of the listening report: longer sound makes no page that a browser shows gladly.
LONGEST_S = 300.0


class PageWindow(msgspec.Struct, frozen=True):
    """How sound is cut, in samples at the model's rate, levelled and joined.

    Attributes:
        length: Of a window.
        hop: From one to the next.
        shortest: What the model takes at the least.
        longest: The longest sound that is one window.
        aggregate: How scores are joined.
        level: What the pipeline divides by.
        level_over: Over what it is measured.

    """

    length: int
    hop: int
    shortest: int
    longest: int
    aggregate: Aggregation
    level: Level
    level_over: LevelOver


class GraphFiles(msgspec.Struct, frozen=True):
    """A graph's file and the files of its weights, by their names in the model's folder."""

    file: str
    data: list[str]


class ViewFiles(msgspec.Struct, frozen=True):
    """A view of the index: [entries, dimension] vectors, and rows of its table.

    passages: whether it knows the passage around each entry
    """

    name: View
    entries: int
    dimension: int
    passages: bool


class PagePrototypes(msgspec.Struct, frozen=True):
    """The index of prototypes as flat files.

    Attributes:
        views: In their order.
        sources: Files that clips were cut from.
        labels: Of the clips.
        frame_seconds: Of the feature map's frames.
        bands_hz: Of its rows, [low, high].
        attention: The tensor with the weights of attention pooling; empty where there is none.
        kind: What contributions of channels are.
        channels: Of the feature map.
        head: Whether `head.f32` holds the weights [K, C] of a linear head.

    """

    views: list[ViewFiles]
    sources: int
    labels: list[str]
    frame_seconds: float
    bands_hz: list[tuple[float, float]]
    tap: str
    attention: str
    kind: Literal["additive", "gradient", "localisation"]
    channels: int
    head: bool


class PageFacts(msgspec.Struct, frozen=True):
    """All of it.

    Attributes:
        kind: What tells a page's folder.
        earmark: Version that wrote it.
        onnxruntime: Version of onnxruntime-web.
        mask: Whom the decoder can speak for; empty without one.
        between: Tensors that the second graph takes of the first.
        example: A sound to begin with, in the page's folder; empty where there is none.
        longest_seconds: Of a sound that the page takes.

    """

    kind: str
    earmark: str
    onnxruntime: str
    name: str
    bundle_id: str
    task: Task
    labels: list[str]
    sample_rate: int
    n_fft: int
    hop: int
    window: PageWindow
    mask: MaskTargets | Literal[""]
    classify: GraphFiles
    explain: GraphFiles | None
    between: list[str]
    prototypes: PagePrototypes | None
    example: str
    longest_seconds: float
    licence: str
    attribution: str


def facts_of(
    manifest: Manifest,
    classify: GraphFiles,
    explain: GraphFiles | None,
    between: tuple[str, ...],
    prototypes: PagePrototypes | None,
    example: str,
) -> PageFacts:
    """What a page of this bundle has to know."""
    rate, window = manifest.sample_rate, manifest.window
    length = max(1, samples_of(window.seconds, rate))
    return PageFacts(
        kind=KIND,
        earmark=__version__,
        onnxruntime=VERSION,
        name=manifest.name,
        bundle_id=manifest.bundle_id,
        task=manifest.task,
        labels=manifest.labels,
        sample_rate=rate,
        n_fft=manifest.analysis.n_fft,
        hop=manifest.analysis.hop,
        window=PageWindow(
            length=length,
            hop=max(manifest.analysis.hop, samples_of(window.hop_seconds, rate)),
            shortest=samples_at_least(window.minimum_seconds, rate),
            longest=longest_window(length),
            aggregate=window.aggregate,
            level=manifest.level,
            level_over=window.level_over,
        ),
        mask=(manifest.mask_targets or "") if manifest.stage("decoder") is not None else "",
        classify=classify,
        explain=explain,
        between=list(between),
        prototypes=prototypes,
        example=example,
        longest_seconds=LONGEST_S,
        licence=manifest.licence,
        attribution=manifest.attribution,
    )
