"""Where an explanation looks in a window: its feature map, and the places that speak most for the target.

Needs no prototypes: by the same places training clips are compared with each other when they are indexed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ....errors import BundleError, MethodError
from ....prototypes_index.familiarity import Queries
from ....prototypes_index.views import LOCALISES_FREQUENCY, View, real_maps
from ...bundle.manifest import Manifest
from ...inference.window import Window
from ...values.arrays import FloatArray
from ...values.lazy import LazyMapping
from .generation import grid_of
from .places import Candidate, Embed, FoldedHead, WindowPlaces, places_of

# Places of the input that are looked up a view, channels listed.
PLACES = 2
CHANNELS = 5


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen in one window.

    best: by view the places that are looked up
    outputs: what the embeddings graph gave
    """

    places: WindowPlaces
    best: Mapping[str, list[Candidate]]
    outputs: Any

    def queries(self, views: Sequence[View]) -> dict[View, Queries]:
        """The same of all views, as an index keeps them."""
        found: dict[View, Queries] = {}
        for view in views:
            best = self.best[view]
            rows = [one.row if view in LOCALISES_FREQUENCY else -1 for one in best]
            found[view] = Queries(np.array(rows, np.int32), np.stack([one.vector for one in best]))
        return found


class Looker:
    """Front of every search: `embed` runs embeddings.onnx, `head` keeps what is read from it once."""

    def __init__(self, manifest: Manifest, embed: Embed, head: FoldedHead | None = None) -> None:
        """Raises MethodError where the manifest describes no feature map."""
        spec = manifest.feature_map
        if spec is None:
            raise MethodError(f"{manifest.name}: this bundle has no feature map, hence no prototypes")
        self.manifest, self.embed = manifest, embed
        self.feature_map, self.head = spec, head or FoldedHead()
        self.grid = grid_of(spec)

    def look(self, window: Window, samples: int, target: int, views: Sequence[View]) -> Looked:
        """Look at one window of a sound of so many `samples` for the class index `target`.

        Raises BundleError where the attention does not fit the feature map, PrototypeIndexError where what
        cells contribute is not finite.
        """
        spec, rate = self.feature_map, self.manifest.sample_rate
        length = window.waveform.shape[-1]
        real = max(1, min(length, samples - window.offset))
        span = window.offset / rate, real / rate
        # Padding holds no evidence that a listener could check.
        frames = self.grid.frames_in(span[1]) if real < length else None
        taps = [window.taps[name] for name in spec.taps]
        outputs = self.embed(*taps)
        maps = real_maps({name: outputs[name][0] for name in ("square", "time", "frequency")}, frames)
        peaks = places_of(maps, views)
        weights = self.head.weights_of(spec, self.embed, taps, outputs, peaks, target)
        attention = self._attention(window, outputs["square"].shape[1:3], target)
        places = WindowPlaces(maps, peaks, weights, attention, grid=self.grid, span=span)
        best = LazyMapping(views, lambda view: places.best(cast(View, view), PLACES, CHANNELS))
        return Looked(places, best, outputs)

    def _attention(self, window: Window, shape: tuple[int, ...], target: int) -> FloatArray | None:
        """The weights [T, F] of attention pooling for the target; None where the model has none."""
        if self.feature_map.attention is None:
            return None
        weights: FloatArray = window.taps[self.feature_map.attention][0]
        if weights.shape[-2:] != shape or not np.isfinite(weights).all():
            raise BundleError(f"{self.manifest.name}: the attention does not fit the feature map")
        one: FloatArray = weights[min(target, len(weights) - 1)] if weights.ndim == 3 else weights
        return one
