"""Which feature maps of a graph are shown, and the listenable STFT whose frames their cells hold."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from ....errors import SourceError
from ....runtime.bundle.manifest import AnalysisSpec
from .file import OnnxSource
from .maps import find_maps
from .probe import GraphProbe, Place

# The listenable STFT's hop by its n_fft, where a waveform graph leaves it open.
_LEAST_HOP, _MOST_HOP = 6, 2


def places_of(graph: OnnxSource, probe: GraphProbe, taps: Sequence[str] | None) -> list[Place]:
    """Where the feature maps are that are shown.

    taps: their names; None: the feature map that the user named, or those that are found
    Raises SourceError where a name is no tensor's, or no map is found.
    """
    if taps is not None:
        named = {tap: Place.of(tap) for tap in taps if tap not in {"stft", "target"}}
        if None in named.values():
            strange = ", ".join(tap for tap, place in named.items() if place is None)
            raise SourceError(f"{graph.original.path}: shows no {strange}, which what was trained reads")
        return [place for place in named.values() if place is not None]
    if graph.shown is not None:
        return [Place(graph.shown.request.tensor, graph.shown.request.axes)]
    finest = 2 * graph.analysis.n_fft // _LEAST_HOP
    least = graph.analysis.hop if graph.rescore == "spectrogram" else finest
    return find_maps(probe, graph.sample_rate, 1 + probe.samples // least)


def suited(analysis: AnalysisSpec, step: float) -> AnalysisSpec:
    """The listenable STFT with a hop of which a cell of the finest map, `step` samples, holds a number.

    At least two, since finer maps are left out where there are coarser ones.
    """
    usual = analysis.n_fft // 4
    most = max(1, int(step * _LEAST_HOP / analysis.n_fft))
    least = max(min(2, most), int(np.ceil(step * _MOST_HOP / analysis.n_fft)))
    choices = range(least, max(most, least) + 1)

    def misfit(count: int) -> tuple[float, float]:
        hop = step / count
        return round(abs(hop - round(hop)) / hop, 3), abs(np.log(hop / usual))

    hop = round(step / min(choices, key=misfit))
    return msgspec.structs.replace(analysis, hop=hop)
