"""The nearest prototypes of one sound, window by window: the best places and the best window so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ....errors import MethodError, PrototypeIndexError
from ....prototypes_index.generation import EntryKind, SearchHit
from ....prototypes_index.passages import PASSAGE_VIEWS
from ....prototypes_index.table import Table
from ....prototypes_index.views import LOCALISES_FREQUENCY, View, normalise
from ...drawing.scales import columns_of
from ...inference.scores import scores_of
from ...inference.window import Window
from ...values.lazy import LazyMapping
from ..protocol import Sound
from .bands import like_rows
from .channels import Channel, ChannelView, Contributions
from .comparing import FamiliarWindows
from .familiarity import Familiarity
from .looking import CHANNELS, PLACES, Looked
from .options import PrototypesOptions
from .passages import Passages
from .places import Candidate, WindowPlaces
from .prototype import Place, Prototype, WindowSound
from .result import PrototypesResult
from .search import Search

# Prototypes a view, and of each channel that is listed.
MATCHES = 5
CHANNEL_MATCHES = 3
# Files among which matches of as many recordings are looked for; as many as cost no more than fewer.
_LOOKED_AT = 3 * MATCHES

_NOTES = {
    "additive": "",
    "gradient": "gradient x activation: this model's head is not linear, so no sum holds",
    "localisation": "localisation only: this model's head is not additive over channels",
}


@dataclass(frozen=True, slots=True)
class _Query:
    """A place that will be looked up, and the window in which it lies."""

    candidate: Candidate
    window: WindowSound
    passages: Passages


@dataclass(frozen=True, slots=True)
class _BestWindow:
    """The window whose logit is split into channels."""

    logit: float
    places: WindowPlaces
    outputs: Any
    sound: WindowSound


class PrototypesExplanation:
    """The best places and the best window so far; memory does not grow with the sound."""

    def __init__(
        self, search: Search, sound: Sound, target: int, options: PrototypesOptions | None = None
    ) -> None:
        self._options = options or PrototypesOptions()
        self._search, self._sound, self._target = search, sound, target
        self._best: dict[View, list[_Query]] = {view: [] for view in search.generation.views}
        self._window: _BestWindow | None = None
        self._windows = FamiliarWindows(search)

    def ask(self, window: Window) -> Looked:
        """Run the embeddings graph on the next window, and look where channels peak."""
        search = self._search
        return search.look(window, self._sound.samples, self._target, search.generation.views)

    def add(self, window: Window, looked: Looked) -> None:
        """See one more window."""
        search = self._search
        rate, samples = search.manifest.sample_rate, window.waveform.shape[-1]
        amplitude = window.amplitude
        start_s = window.offset / rate
        sound = WindowSound(columns_of(amplitude), start_s, samples / rate, rate / 2)
        hop, real = search.manifest.analysis.hop, looked.places.span[1]
        passages = Passages(amplitude, rate, hop, search.grid, real)
        for view in self._best:
            self._keep(view, [_Query(candidate, sound, passages) for candidate in looked.best[view]])
        if self._options.bands == "like":
            score = float(scores_of(window.logits, search.manifest.task)[self._target])
            self._windows.add(window, looked, score)
        logit = float(window.logits[self._target])
        if self._window is None or logit > self._window.logit:
            self._window = _BestWindow(logit, looked.places, looked.outputs, sound)

    def _keep(self, view: View, queries: Sequence[_Query]) -> None:
        """Hold the PLACES best candidates, an event that two windows share once."""
        held: list[_Query] = []
        for one in sorted([*self._best[view], *queries], key=lambda one: -one.candidate.weight):
            place = one.candidate.place
            if not any(_same_event(place, other.candidate.place) for other in held):
                held.append(one)
        self._best[view] = held[:PLACES]

    def finish(self) -> PrototypesResult:
        """What the best places and the best window tell; what they resemble is searched when looked at.

        Raises PrototypeIndexError where the generation is damaged.
        """
        if self._window is None:
            raise MethodError("prototypes: the sound has no window")
        prototypes = LazyMapping(self._best, lambda view: self._nearest(cast(View, view)))
        familiarity = self._windows.familiarity()
        return PrototypesResult(
            prototypes, self._channels(self._window), familiarity, tuple(self._warnings(familiarity))
        )

    def _warnings(self, familiarity: Familiarity | None) -> Iterator[str]:
        for view in self._best:
            if self._compares_passages(view) and self._search.generation.passages(view) is None:
                yield (
                    f"prototypes: this index knows no passages, so that those of the view {view} are of any "
                    "length and rhythm; build it again with earmark index --rebuild"
                )
        if familiarity is not None and familiarity.warning is not None:
            yield familiarity.warning

    def _matches(self, view: View, passages: Table | None) -> list[SearchHit]:
        """The nearest entries to the best places, one a recording, or more where recordings are few."""
        generation = self._search.generation
        queries = np.stack([one.candidate.vector for one in self._best[view]])
        matches = generation.search(view, queries, _LOOKED_AT, rows=self._rows(view), passages=passages)
        if not matches:
            return []
        clips = generation.entries(view)["clip"][[match.entry for match in matches]]
        _, first = np.unique(generation.clips["recording"][clips], return_index=True)
        # A recording's best comes before any other's second; np.unique leaves them in another order.
        others = np.delete(np.arange(len(matches)), first)
        chosen = np.concatenate((np.sort(first), others))[:MATCHES]
        return [matches[index] for index in np.sort(chosen)]

    def _rows(self, view: View) -> npt.NDArray[np.bool_] | None:
        """Which rows of the feature map the matches of each place may lie in; None: any."""
        if self._options.bands == "any":
            return None
        rows = [one.candidate.row for one in self._best[view]]
        return like_rows(view, rows, self._search.grid.bands_hz)

    def _passages(self, view: View) -> Table | None:
        """The passage in which each place lies, of views whose matches lie in a like one; None: in any."""
        if not self._compares_passages(view) or self._search.generation.passages(view) is None:
            return None
        around = [one.passages.at(np.array([one.candidate.frame])) for one in self._best[view]]
        return np.concatenate(around)

    def _compares_passages(self, view: View) -> bool:
        """Whether matches of the view are asked to lie in a like passage."""
        return self._options.passages == "like" and view in PASSAGE_VIEWS

    def _nearest(self, view: View) -> tuple[Prototype, ...]:
        """The nearest entries to the best places in one view."""
        passages = self._passages(view)
        matches = self._matches(view, passages)
        unlike = not matches and passages is not None
        if unlike:
            matches = self._matches(view, None)
        nearest = []
        for match in matches:
            asked = self._best[view][match.query]
            place, channels = asked.candidate.place, asked.candidate.channels
            one = self._prototype(view, match.entry, match.cosine, place, channels, asked.window, match.kind)
            nearest.append(replace(one, unlike=unlike))
        return tuple(nearest)

    def _prototype(
        self,
        view: View,
        row: int,
        cosine: float,
        place: Place,
        channels: tuple[int, ...],
        window: WindowSound,
        kind: EntryKind = "prototype",
    ) -> Prototype:
        """What a row of the index is, beside the place in the input that it matches."""
        generation = self._search.generation
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
            place=place,
            channels=channels,
            kind=kind,
            attribution=clip.attribution,
            also=clip.also,
            sound=generation.sound(clip),
            gain=clip.gain,
            window=window,
            crops_frequency=view in LOCALISES_FREQUENCY and len(self._search.grid.bands_hz) > 1,
        )

    def _channels(self, window: _BestWindow) -> Contributions:
        """The channels of the best window, with the clips in which each is strongest."""
        search, places = self._search, window.places
        contributions = places.weights.contributions
        listed = np.argsort(-places.weights.shares["square"], kind="stable")[:CHANNELS]
        shown = search.generation.views
        # The channels' prototypes are looked up together, a view at a time.
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
        if search.kind == "additive" and contributions is not None:
            bias = float(window.outputs["bias"].reshape(-1)[self._target])
            remainder = window.logit - bias - sum(channel.contribution or 0.0 for channel in channels)
            error = abs(float(contributions.sum(dtype=np.float64)) + bias - window.logit)
        start, duration = places.span
        return Contributions(
            label=search.manifest.labels[self._target],
            logit=window.logit,
            start_s=start,
            end_s=start + duration,
            channels=channels,
            additive=bias is not None,
            bias=bias,
            remainder=remainder,
            error=error,
            note=_NOTES[search.kind],
            kind=search.kind,
            others=search.feature_map.channels - len(channels),
            window=window.sound,
        )

    def _strongest(
        self, view: View, window: _BestWindow, channels: npt.NDArray[np.int64]
    ) -> list[ChannelView]:
        """Of each channel its place in the input, and the clips in which it is strongest."""
        generation, places = self._search.generation, window.places
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
        by_rank: list[list[Prototype]] = [[] for _ in channels]
        for rank, row, cosine in zip(of_rank.tolist(), rows.tolist(), cosines.tolist(), strict=True):
            channel = (int(channels[rank]),)
            by_rank[rank].append(self._prototype(view, row, cosine, where[rank], channel, window.sound))
        return [ChannelView(place, tuple(ones)) for place, ones in zip(where, by_rank, strict=True)]


def _same_event(one: Place, other: Place) -> bool:
    """Whether two places, of overlapping windows, are one event: the same band, most of the time shared."""
    shared = min(one.end_s, other.end_s) - max(one.start_s, other.start_s)
    shorter = min(one.end_s - one.start_s, other.end_s - other.start_s)
    return one.fmin_hz == other.fmin_hz and one.fmax_hz == other.fmax_hz and shared > 0.5 * shorter
