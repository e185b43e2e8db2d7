"""What places of a sound are looked up in: a generation of prototypes, and the graph of embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from ....errors import PrototypeIndexError
from ....prototypes_index.generation import Generation
from ...bundle.manifest import Manifest
from ...values.arrays import FloatArray
from ..protocol import Graphs
from .channels import Kind
from .generation import open_generation
from .looking import Looker
from .places import Embed, FoldedHead

# The key of what is kept open in the cache.
_CACHED = "prototypes"


class Search(Looker):
    """What is asked about a sound: a generation of prototypes, and the graph that makes embeddings."""

    def __init__(
        self, manifest: Manifest, generation: Generation, embed: Embed, head: FoldedHead | None = None
    ) -> None:
        """Use an open generation; `embed` runs its embeddings.onnx, `head` keeps what is read from it.

        Raises MethodError where the manifest describes no feature map, PrototypeIndexError: another one.
        """
        super().__init__(manifest, embed, head)
        spec = self.feature_map
        if spec.channels != generation.info.channels:
            raise PrototypeIndexError(
                f"{generation.folder}: outputs from {generation.info.channels} channels, this model has "
                f"{spec.channels}; build the prototypes again with earmark index --rebuild"
            )
        self.generation = generation
        self.kind: Kind = "additive" if spec.additive else "gradient" if spec.gradient else "localisation"

    @classmethod
    def over(cls, graphs: Graphs) -> Self:
        """Over the generation of an open bundle. Raises MethodError where it has none."""
        bundle = graphs.bundle
        held = graphs.cache.get(_CACHED)
        if held is None:
            held = graphs.cache[_CACHED] = open_generation(bundle.path, bundle.manifest), FoldedHead()
        generation, head = held
        graph = generation.graph
        taps = bundle.manifest.feature_map.taps if bundle.manifest.feature_map else ()

        def embed(*given: FloatArray) -> Any:
            outputs = graphs.run_graph(graph, dict(zip(taps, given, strict=True)))
            _check_maps(outputs, bundle.manifest, len(given[0]), graph)
            return outputs

        return cls(bundle.manifest, generation, embed, head)


def _check_maps(outputs: Mapping[str, FloatArray], manifest: Manifest, sounds: int, graph: Path) -> None:
    """Raise PrototypeIndexError where the views' maps or the contributions are missing or do not fit."""
    spec = manifest.feature_map
    if spec is None:
        return
    square = outputs.get("square")
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
        if name not in outputs or outputs[name].shape != shape:
            has = list(outputs[name].shape) if name in outputs else "nothing"
            raise PrototypeIndexError(
                f"{graph}: gives {has} as {name}, this model has {list(shape)}; build the prototypes again "
                "with earmark index --rebuild"
            )
