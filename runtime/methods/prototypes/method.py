"""The method `prototypes`: which training sounds the evidence resembles, in four views (APEX).

For the target k, a channel's contribution is its share of the logit (EPIC, arXiv 2505.12897:
logit_k = b_k + sum_c W_kc v_c). Listed are the channels with the most, each with the training clips in
which it is strongest. Per view, the places of the input that speak most for the target
(`prototype_places`) are looked up among the places of the training sounds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import numpy.typing as npt

from ....errors import BundleError, MethodError, PrototypeIndexError
from ....prototypes_index.checks import check_generation
from ....prototypes_index.generation import EMBEDDINGS, Generation, Match
from ....prototypes_index.views import LOCALISES_FREQUENCY, Grid, View, normalise, real_maps
from ...arrays import FloatArray
from ...bundle.files import Files
from ...bundle.graphs import check_graph, embeddings_borders
from ...bundle.manifest import FeatureMapSpec, Manifest
from ...drawing.spectrogram import columns_of
from ...inference.window import Window
from ...lazy import LazyMapping
from ..protocol import Answer, Context, Sound, refuse_unknown
from .places import Candidate, Embed, Head, WindowPlaces, places_of
from .result import Channel, ChannelAccount, ChannelView, Kind, Place, Prototype, WindowSound

# Prototypes a view, places of the input that are looked up a view, channels listed, prototypes of each.
MATCHES = 5
PLACES = 2
CHANNELS = 5
CHANNEL_MATCHES = 3
# Files among which matches of as many recordings are looked for; as many as cost no more than fewer.
_LOOKED_AT = 3 * MATCHES

_NOTES = {
    "additive": "",
    "gradient": "gradient x activation: this model's head is not linear, so contributions do not add up",
    "localisation": "localisation only: this model's head is not additive over channels",
}


class Prototypes:
    """The method over one generation of prototypes."""

    name: ClassVar[str] = "prototypes"
    stage: ClassVar[str | None] = "prototypes"

    def __init__(
        self, manifest: Manifest, generation: Generation, embed: Embed, head: Head | None = None
    ) -> None:
        """Use an open generation; `embed` runs its embeddings.onnx, `head` keeps what is read from it.

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
        self.feature_map, self.head = spec, head or Head()
        self.grid = grid_of(spec)
        self.kind: Kind = "additive" if spec.additive else "gradient" if spec.gradient else "localisation"

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> None:
        """Raises MethodError: this method has no options."""
        refuse_unknown(cls.name, options, ())

    @classmethod
    def of(cls, context: Context) -> Self:
        """The method over the context's bundle. Raises MethodError where it has no prototypes."""
        bundle = context.bundle
        held = context.cache.get(cls.name)
        if held is None:
            held = context.cache[cls.name] = open_generation(bundle.path, bundle.manifest), Head()
        generation, head = held
        graph = generation.graph
        taps = bundle.manifest.feature_map.taps if bundle.manifest.feature_map else ()

        def embed(*given: FloatArray) -> Any:
            made = context.run_graph(graph, dict(zip(taps, given, strict=True)))
            _check_maps(made, bundle.manifest, len(given[0]), graph)
            return made

        return cls(bundle.manifest, generation, embed, head)

    def begin(self, sound: Sound, target: int) -> PrototypeAccount:
        """Open an account for `sound` and the class index `target`."""
        return PrototypeAccount(self, sound, target)


@dataclass(frozen=True, slots=True)
class _Found:
    """A place that will be looked up, and the window in which it lies."""

    candidate: Candidate
    window: WindowSound


@dataclass(frozen=True, slots=True)
class _Window:
    """The window whose account is given."""

    logit: float
    places: WindowPlaces
    outputs: Any
    sound: WindowSound


class PrototypeAccount:
    """The best places and the best window so far; memory does not grow with the sound."""

    def __init__(self, method: Prototypes, sound: Sound, target: int) -> None:
        self._method, self._sound, self._target = method, sound, target
        self._best: dict[View, list[_Found]] = {view: [] for view in method.generation.views}
        self._window: _Window | None = None

    def add(self, heard: Window) -> None:
        """See one more window."""
        method, spec = self._method, self._method.feature_map
        rate = method.manifest.sample_rate
        samples = heard.waveform.shape[-1]
        real = max(1, min(samples, self._sound.samples - heard.offset))
        span = heard.offset / rate, real / rate
        # Padding holds no evidence that a listener could check.
        frames = method.grid.frames_in(span[1]) if real < samples else None
        taps = [heard.taps[name] for name in spec.taps]
        outputs = method.embed(*taps)
        maps = real_maps({name: outputs[name][0] for name in ("square", "time", "frequency")}, frames)
        peaks = places_of(maps, method.generation.views)
        account = method.head.account(spec, method.embed, taps, outputs, peaks, self._target)
        attention: FloatArray | None = None
        if spec.attention is not None:
            weights = heard.taps[spec.attention][0]
            if weights.shape[-2:] != outputs["square"].shape[1:3] or not np.isfinite(weights).all():
                raise BundleError(f"{method.manifest.name}: the attention does not fit the feature map")
            attention = weights[min(self._target, len(weights) - 1)] if weights.ndim == 3 else weights
        places = WindowPlaces(
            maps,
            peaks,
            account,
            attention,
            grid=method.grid,
            span=span,
        )
        amplitude = np.hypot(heard.stft[..., 0], heard.stft[..., 1])
        sound = WindowSound(columns_of(amplitude), span[0], samples / rate, rate / 2)
        for view in self._best:
            best = places.best(view, PLACES, CHANNELS)
            self._keep(view, [_Found(candidate, sound) for candidate in best])
        logit = float(heard.logits[self._target])
        if self._window is None or logit > self._window.logit:
            self._window = _Window(logit, places, outputs, sound)

    def _keep(self, view: View, found: Sequence[_Found]) -> None:
        """Hold the PLACES best candidates, an event that two windows share once."""
        held: list[_Found] = []
        for one in sorted([*self._best[view], *found], key=lambda one: -one.candidate.weight):
            place = one.candidate.place
            if not any(_same_event(place, other.candidate.place) for other in held):
                held.append(one)
        self._best[view] = held[:PLACES]

    def finish(self) -> Answer:
        """Look the best places up. Raises PrototypeIndexError where the generation is damaged."""
        if self._window is None:
            raise MethodError("prototypes: no window of the sound was heard")
        found = {view: self._matches(view) for view in self._best}
        prototypes = LazyMapping(found, lambda view: self._nearest(cast(View, view), found[cast(View, view)]))
        return Answer({"prototypes": prototypes, "channels": self._account(self._window)})

    def _matches(self, view: View) -> list[Match]:
        """The nearest entries to the best places, one a recording, or more where recordings are few."""
        generation = self._method.generation
        queries = np.stack([one.candidate.vector for one in self._best[view]])
        matches = generation.search(view, queries, _LOOKED_AT)
        clips = generation.entries(view)["clip"][[match.entry for match in matches]]
        _, first = np.unique(generation.clips["recording"][clips], return_index=True)
        # A recording's best comes before any other's second; np.unique leaves them in another order.
        others = np.setdiff1d(np.arange(len(matches)), first)
        chosen = np.concatenate((np.sort(first), others))[:MATCHES]
        return [matches[index] for index in np.sort(chosen)]

    def _nearest(self, view: View, matches: Sequence[Match]) -> tuple[Prototype, ...]:
        """The nearest entries to the best places in one view."""
        asked = [self._best[view][match.query] for match in matches]
        return self._prototypes(
            view,
            [match.entry for match in matches],
            [match.cosine for match in matches],
            [one.candidate.place for one in asked],
            [one.candidate.channels for one in asked],
            [match.kind for match in matches],
            [one.window for one in asked],
        )

    def _prototypes(
        self,
        view: View,
        rows: Sequence[int],
        cosines: Sequence[float],
        places: Sequence[Place],
        channels: Sequence[tuple[int, ...]],
        kinds: Sequence[str],
        windows: Sequence[WindowSound],
    ) -> tuple[Prototype, ...]:
        """These entries as matches of places in the input."""
        generation = self._method.generation
        crops = view in LOCALISES_FREQUENCY and len(self._method.grid.bands_hz) > 1
        made = []
        for row, cosine, place, members, kind, window in zip(
            rows, cosines, places, channels, kinds, windows, strict=True
        ):
            entry = generation.entry(view, row)
            clip = generation.clip(entry.clip)
            made.append(
                Prototype(
                    view=view,
                    label=generation.info.labels[entry.label],
                    similarity=cosine,
                    clip=clip.source,
                    start_s=entry.start_s,
                    end_s=entry.end_s,
                    fmin_hz=entry.fmin_hz,
                    fmax_hz=entry.fmax_hz,
                    place=place,
                    channels=members,
                    kind="prototype" if kind == "prototype" else "clip",
                    attribution=clip.attribution,
                    also=clip.also,
                    sound=generation.sound(clip),
                    gain=clip.gain,
                    window=window,
                    crops_frequency=crops,
                )
            )
        return tuple(made)

    def _account(self, window: _Window) -> ChannelAccount:
        """The channels of the best window, with the clips in which each is strongest."""
        method, places = self._method, window.places
        contributions = places.account.contributions
        listed = _largest(places.account.shares["square"], CHANNELS)
        shown = method.generation.views
        # The channels' prototypes are found together, a view at a time.
        strongest = LazyMapping(shown, lambda view: self._strongest(cast(View, view), window, listed))
        where = places.at("square", listed)

        def views_of(rank: int) -> LazyMapping[ChannelView]:
            return LazyMapping(shown, lambda view: strongest[view][rank])

        channels = tuple(
            Channel(
                channel=channel,
                contribution=None if contributions is None else float(contributions[channel]),
                score=float(places.peaks["square"].scores[channel]),
                place=where[rank],
                views=views_of(rank),
            )
            for rank, channel in enumerate(listed.tolist())
        )
        bias = remainder = error = None
        if method.kind == "additive" and contributions is not None:
            bias = float(window.outputs["bias"].reshape(-1)[self._target])
            remainder = window.logit - bias - sum(channel.contribution or 0.0 for channel in channels)
            error = abs(float(contributions.sum(dtype=np.float64)) + bias - window.logit)
        start, duration = places.span
        return ChannelAccount(
            label=method.manifest.labels[self._target],
            logit=window.logit,
            start_s=start,
            end_s=start + duration,
            channels=channels,
            additive=bias is not None,
            bias=bias,
            remainder=remainder,
            error=error,
            note=_NOTES[method.kind],
            kind=method.kind,
            others=method.feature_map.channels - len(channels),
            window=window.sound,
        )

    def _strongest(self, view: View, window: _Window, channels: npt.NDArray[np.int64]) -> list[ChannelView]:
        """Of each channel its place in the input, and the clips in which it is strongest."""
        generation, places = self._method.generation, window.places
        vectors, where = places.vectors(view, channels), places.at(view, channels)
        tops = [
            generation.strongest(view, channel)["entry"][:CHANNEL_MATCHES] for channel in channels.tolist()
        ]
        rows = np.concatenate(tops).astype(np.int64)
        of_rank = np.repeat(np.arange(len(channels)), [len(top) for top in tops])
        cosines: npt.NDArray[Any] = np.zeros(0)
        if len(rows):
            entries = generation.info.views[view].entries
            if int(rows.min()) < 0 or int(rows.max()) >= entries:
                raise PrototypeIndexError(
                    f"{generation.folder / view}.tops.npy: damaged; build the prototypes again with "
                    "earmark index --rebuild"
                )
            stored = generation.index(view).vectors_at(rows)
            cosines = np.einsum("nd,nd->n", stored, normalise(vectors)[of_rank]).clip(-1.0, 1.0)
        ranks = of_rank.tolist()
        found = self._prototypes(
            view,
            rows.tolist(),
            cosines.tolist(),
            [where[rank] for rank in ranks],
            [(int(channels[rank]),) for rank in ranks],
            ["prototype"] * len(rows),
            [window.sound] * len(rows),
        )
        return [
            ChannelView(where[rank], tuple(one for one, of in zip(found, ranks, strict=True) if of == rank))
            for rank in range(len(channels))
        ]


@dataclass(frozen=True, slots=True)
class _Door:
    """The bundle's door, for the names within its generation."""

    files: Files
    folder: str

    def where(self, name: str) -> Path:
        return self._through(self.files.where, name)

    def path(self, name: str) -> Path:
        return self._through(self.files.path, name)

    def _through(self, door: Callable[[str], Path], name: str) -> Path:
        try:
            return door(f"{self.folder}/{name}")
        except BundleError as error:
            raise PrototypeIndexError(str(error)) from error


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
        folder / name,
        spec,
        embeddings_sha256=embeddings.sha256,
        model_sha256=model_hash(manifest),
        door=_Door(Files(folder, manifest.files), name),
    )


def examine_generation(generation: Generation, manifest: Manifest) -> None:
    """Look into the generation's graph and every row of its tables. Raises BundleError."""
    inputs, outputs, optional = embeddings_borders(manifest)
    check_graph(generation.graph, inputs, outputs, optional=optional)
    check_generation(generation)


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


def _check_maps(made: Mapping[str, FloatArray], manifest: Manifest, sounds: int, graph: Path) -> None:
    """Raise PrototypeIndexError where the views' maps or the account are missing or do not fit."""
    spec = manifest.feature_map
    if spec is None:
        return
    square = made.get("square")
    frames = 0 if square is None or square.ndim != 4 else square.shape[1]
    rows, channels, classes = len(spec.bands_hz), spec.channels, len(manifest.labels)
    wanted: dict[str, tuple[int, ...]] = {
        "square": (sounds, frames, rows, channels),
        "time": (sounds, frames, channels),
        "frequency": (sounds, rows, channels),
    }
    if spec.additive or spec.gradient:
        wanted |= {"contributions": (sounds, classes, channels), "bias": (classes,)}
    for name, shape in wanted.items():
        if name not in made or made[name].shape != shape:
            found = list(made[name].shape) if name in made else "nothing"
            raise PrototypeIndexError(
                f"{graph}: gives {found} as {name}, this model has {list(shape)}; build the prototypes again "
                "with earmark index --rebuild"
            )


def _same_event(one: Place, other: Place) -> bool:
    """Whether two places, of overlapping windows, are one event: the same band, most of the time shared."""
    shared = min(one.end_s, other.end_s) - max(one.start_s, other.start_s)
    shorter = min(one.end_s - one.start_s, other.end_s - other.start_s)
    return one.fmin_hz == other.fmin_hz and one.fmax_hz == other.fmax_hz and shared > 0.5 * shorter


def _largest(weights: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    """Indices of the largest weights, largest first; among equals the first."""
    return np.argsort(-weights, kind="stable")[:count]
