"""The method `prototypes`: which training sounds the evidence resembles, in four views (APEX).

For the target k, a channel's contribution is its share of the logit (EPIC, arXiv 2505.12897:
logit_k = b_k + sum_c W_kc v_c). Per view, the places of the input at which the channels with the
most positive contribution peak are looked up among the places of the training sounds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from ..errors import MethodError, PrototypeIndexError
from ..prototypes_index.generation import AUDIO, EMBEDDINGS, Generation
from ..prototypes_index.views import (
    LOCALISES_FREQUENCY,
    Grid,
    Places,
    View,
    find_places,
    normalise,
)
from .arrays import FloatArray
from .manifest import FeatureMapSpec, Manifest
from .method import Answer, Context, Heard, Sound
from .prototype_results import Channel, ChannelAccount, Place, Prototype

# The embeddings graph: feature map [1, C, T', F'] -> its outputs by name.
Embed = Callable[[FloatArray], Mapping[str, FloatArray]]

# Prototypes a view, places of the input that are looked up a view, channels listed, prototypes of each.
MATCHES = 5
PLACES = 2
CHANNELS = 5
CHANNEL_MATCHES = 3

_LOCALISATION_ONLY = "localisation only: this model's head is not additive over channels"


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A place of the input that may be looked up, with what it weighs."""

    weight: float
    vector: FloatArray
    place: Place
    channels: tuple[int, ...]


class Prototypes:
    """The method over one generation of prototypes."""

    name: ClassVar[str] = "prototypes"
    stage: ClassVar[str | None] = "prototypes"

    def __init__(self, manifest: Manifest, generation: Generation, embed: Embed) -> None:
        """Use an open generation; `embed` runs its embeddings.onnx.

        Raises MethodError where the manifest describes no feature map, PrototypeIndexError where
        feature map and generation disagree.
        """
        spec = manifest.feature_map
        if spec is None:
            raise MethodError(f"{manifest.name}: this bundle has no feature map, hence no prototypes")
        if spec.channels != generation.info.channels:
            raise PrototypeIndexError(
                f"{generation.folder}: made from {generation.info.channels} channels, this model has "
                f"{spec.channels}; build the prototypes again with earmark index --rebuild"
            )
        self.manifest, self.generation, self.embed = manifest, generation, embed
        self.feature_map = spec
        self.grid = grid_of(spec)

    @classmethod
    def of(cls, context: Context) -> Self:
        """The method over the context's bundle. Raises MethodError where it has no prototypes."""
        bundle = context.bundle
        generation = context.cache.get(cls.name)
        if generation is None:
            generation = open_generation(bundle.path, bundle.manifest)
            context.cache[cls.name] = generation
        graph = generation.folder / EMBEDDINGS
        tap = bundle.manifest.feature_map.tap if bundle.manifest.feature_map else ""
        return cls(bundle.manifest, generation, lambda z: context.run_graph(graph, {tap: z}))

    def begin(self, sound: Sound, target: int) -> PrototypeAccount:
        """Open an account for `sound` and the class index `target`."""
        return PrototypeAccount(self, sound, target)


class PrototypeAccount:
    """The best places and the best window so far; memory does not grow with the sound."""

    def __init__(self, method: Prototypes, sound: Sound, target: int) -> None:
        self._method, self._sound, self._target = method, sound, target
        self._best: dict[View, list[_Candidate]] = {view: [] for view in method.generation.views}
        self._window: _Window | None = None

    def add(self, heard: Heard) -> None:
        """See one more window."""
        method = self._method
        outputs = method.embed(heard.taps[method.feature_map.tap])
        maps = {name: outputs[name][0] for name in ("square", "time", "frequency")}
        contributions: FloatArray | None = None
        if method.feature_map.additive:
            contributions = outputs["contributions"][0, self._target]
        rate = method.manifest.sample_rate
        samples = heard.waveform.shape[-1]
        real = max(1, min(samples, self._sound.samples - heard.offset))
        start, duration = heard.offset / rate, real / rate
        # Padding holds no evidence that a listener could check.
        frames = method.grid.frames_in(duration) if real < samples else None
        squares: Places | None = None
        for view in self._best:
            found = find_places(view, maps, frames)
            squares = found if view == "square" else squares
            shares = _shares(contributions, found.scores)
            weights = np.bincount(found.of_channel, weights=shares, minlength=len(found.cells))
            regions = method.grid.regions(found.cells, start, duration)
            for index in _largest(weights, PLACES):
                members = np.flatnonzero(found.of_channel == index)
                ranked = members[_largest(shares[members], CHANNELS)]
                self._keep(
                    view,
                    _Candidate(
                        float(weights[index]),
                        found.vectors[index],
                        Place(*map(float, regions[index])),
                        tuple(ranked.tolist()),
                    ),
                )
        logit = float(heard.logits[self._target])
        if self._window is None or logit > self._window.logit:
            bias = float(outputs["bias"].reshape(-1)[self._target]) if contributions is not None else None
            self._window = _Window.of(
                squares or find_places("square", maps, frames),
                grid=method.grid,
                span=(start, duration),
                logit=logit,
                contributions=contributions,
                bias=bias,
            )

    def _keep(self, view: View, candidate: _Candidate) -> None:
        """Hold the PLACES heaviest candidates, an event that two windows share once."""
        held: list[_Candidate] = []
        for one in sorted([*self._best[view], candidate], key=lambda one: -one.weight):
            if not any(_same_event(one.place, other.place) for other in held):
                held.append(one)
        self._best[view] = held[:PLACES]

    def finish(self) -> Answer:
        """Look the best places up. Raises PrototypeIndexError where the generation is damaged."""
        if self._window is None:
            raise MethodError("prototypes: no window of the sound was heard")
        prototypes: dict[str, tuple[Prototype, ...]] = {view: self._nearest(view) for view in self._best}
        return Answer({"prototypes": prototypes, "channels": self._account(self._window)})

    def _nearest(self, view: View) -> tuple[Prototype, ...]:
        """The nearest prototypes of the best places in one view."""
        candidates = self._best[view]
        queries = np.stack([candidate.vector for candidate in candidates])
        return tuple(
            self._prototype(view, match.entry, match.cosine, candidates[match.query])
            for match in self._method.generation.search(view, queries, MATCHES)
        )

    def _prototype(self, view: View, row: int, cosine: float, candidate: _Candidate) -> Prototype:
        """The entry `row` as a match of a place in the input."""
        generation = self._method.generation
        entry = generation.entry(view, row)
        clip = generation.clip(entry.clip)
        return Prototype(
            view=view,
            label=generation.info.labels[entry.label],
            similarity=cosine,
            clip=clip.source,
            start_s=entry.start_s,
            end_s=entry.end_s,
            fmin_hz=entry.fmin_hz,
            fmax_hz=entry.fmax_hz,
            place=candidate.place,
            channels=candidate.channels,
            attribution=clip.attribution,
            sound=generation.folder / AUDIO / clip.audio if clip.audio else None,
            crops_frequency=view in LOCALISES_FREQUENCY and len(self._method.grid.bands_hz) > 1,
        )

    def _account(self, window: _Window) -> ChannelAccount:
        """The channels of the best window, with the clips in which each is strongest."""
        channels = []
        for candidate, score, contribution in window.channels:
            channel = candidate.channels[0]
            channels.append(
                Channel(channel, contribution, score, candidate.place, self._strongest(channel, candidate))
            )
        return ChannelAccount(
            label=self._method.manifest.labels[self._target],
            logit=window.logit,
            start_s=window.start_s,
            end_s=window.end_s,
            channels=tuple(channels),
            additive=window.bias is not None,
            bias=window.bias,
            remainder=window.remainder,
            error=window.error,
            note="" if window.bias is not None else _LOCALISATION_ONLY,
        )

    def _strongest(self, channel: int, candidate: _Candidate) -> tuple[Prototype, ...]:
        """The clips in which the channel is strongest."""
        generation = self._method.generation
        if "square" not in generation.views:
            return ()
        found = []
        query = normalise(candidate.vector[None])[0]
        for top in generation.strongest("square", channel)[:CHANNEL_MATCHES]:
            row = int(top["entry"])
            generation.entry("square", row)
            cosine = float(np.clip(generation.index("square").vectors(row, 1)[0] @ query, -1.0, 1.0))
            found.append(self._prototype("square", row, cosine, candidate))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class _Window:
    """The account of one window before its prototypes are looked up."""

    logit: float
    start_s: float
    end_s: float
    # A candidate per channel listed, with its score and its contribution.
    channels: list[tuple[_Candidate, float, float | None]]
    bias: float | None
    remainder: float | None
    error: float | None

    @classmethod
    def of(
        cls,
        found: Places,
        *,
        grid: Grid,
        span: tuple[float, float],
        logit: float,
        contributions: FloatArray | None,
        bias: float | None,
    ) -> _Window:
        """Account for a window of (start, duration) `span`; the remainder makes the sum exact."""
        shares = _shares(contributions, found.scores)
        regions = grid.regions(found.cells, *span)
        listed: list[tuple[_Candidate, float, float | None]] = []
        for channel in _largest(shares, CHANNELS).tolist():
            index = int(found.of_channel[channel])
            contribution = None if contributions is None else float(contributions[channel])
            place = Place(*map(float, regions[index]))
            candidate = _Candidate(float(shares[channel]), found.vectors[index], place, (channel,))
            listed.append((candidate, float(found.scores[channel]), contribution))
        remainder = error = None
        if contributions is not None and bias is not None:
            shown = sum(contribution or 0.0 for _, _, contribution in listed)
            remainder = logit - bias - shown
            error = abs(float(contributions.sum(dtype=np.float64)) + bias - logit)
        return cls(logit, span[0], span[0] + span[1], listed, bias, remainder, error)


def open_generation(folder: Path, manifest: Manifest) -> Generation:
    """Open the generation that `manifest` names, in the bundle `folder`.

    Raises MethodError where the bundle has none yet, PrototypeIndexError where it is damaged or
    belongs to another model.
    """
    spec = manifest.prototypes
    if spec is None:
        raise MethodError(
            f"{manifest.name}: this bundle has no prototypes yet; build them with earmark index {folder} DATA"
        )
    name = f"prototypes/{spec.generation}"
    embeddings = manifest.files.get(f"{name}/{EMBEDDINGS}")
    if embeddings is None:
        raise PrototypeIndexError(f"{folder}: the manifest lists no {name}/{EMBEDDINGS}; run earmark index")
    return Generation.open(
        folder / name, spec, embeddings_sha256=embeddings.sha256, model_sha256=model_hash(manifest)
    )


def model_hash(manifest: Manifest) -> str:
    """A hash over the files of front end and classifier: the model that a feature map comes from."""
    digest = hashlib.sha256()
    for stage in manifest.stages:
        if stage.name in {"frontend", "classifier"}:
            for file in (stage.file, *sorted(stage.data)):
                digest.update(f"{stage.name} {manifest.files[file].sha256}\n".encode())
    return digest.hexdigest()


def grid_of(spec: FeatureMapSpec) -> Grid:
    """Where the cells of a feature map lie."""
    return Grid(spec.frame_seconds, tuple(spec.bands_hz))


def _shares(contributions: FloatArray | None, scores: FloatArray) -> FloatArray:
    """What each channel weighs: its positive contribution, or where there is none, its positive score."""
    if contributions is not None and float(contributions.max(initial=0.0)) > 0.0:
        return np.maximum(contributions, 0.0)
    return np.maximum(scores, 0.0)


def _same_event(one: Place, other: Place) -> bool:
    """Whether two places, of overlapping windows, are one event: the same band, most of the time shared."""
    shared = min(one.end_s, other.end_s) - max(one.start_s, other.start_s)
    shorter = min(one.end_s - one.start_s, other.end_s - other.start_s)
    return one.fmin_hz == other.fmin_hz and one.fmax_hz == other.fmax_hz and shared > 0.5 * shorter


def _largest(weights: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    """Indices of the largest weights, largest first; among equals the first."""
    return np.argsort(-weights, kind="stable")[:count]
