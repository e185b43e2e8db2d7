"""Bundles whose weights were shuffled, layer by layer (Adebayo et al. 2018, cascading randomisation).

What is shuffled are the values of a weight among themselves: the layer knows nothing any more, and what it
gives stays as large as it was. The bundle is a copy beside the original; heavy files are shared.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ...errors import BundleError
from ...prototypes_index.durability import link
from ...runtime.bundle.files import MANIFEST
from ...runtime.bundle.graphs import load_whole
from ...runtime.bundle.identity import identity
from ...runtime.bundle.manifest import FileSpec
from ...runtime.bundle.open import Bundle
from ...runtime.methods.loading import method_of
from ..seeding import generator

# Smaller tensors of two axes are no weights of a layer.
_FEWEST = 4


def layers_of(bundle: Bundle, stage: str) -> list[str]:
    """The weights of a stage's graph, from its output to its input.

    They are float tensors of two axes or more with values of both signs: banks of filters and interpolation,
    which nobody learnt, have one.

    Raises:
        BundleError: The bundle has no such stage.

    """
    import onnx
    from onnx import numpy_helper

    graph = load_whole(_graph_of(bundle, stage)).graph
    weights = {
        one.name
        for one in graph.initializer
        if one.data_type == onnx.TensorProto.FLOAT
        and len(one.dims) >= 2
        and np.prod(one.dims) >= _FEWEST
        and numpy_helper.to_array(one).min() < 0.0 < numpy_helper.to_array(one).max()
    }
    # Nodes are in topological order: the last to use a weight is nearest to the output.
    used = [name for node in reversed(graph.node) for name in node.input if name in weights]
    return list(dict.fromkeys(used))


@contextmanager
def randomised(bundle: Bundle, stage: str, layers: list[str], seed: int) -> Iterator[Path]:
    """A copy of the bundle in which those weights of a stage are shuffled; it is gone afterwards.

    Args:
        bundle: The open bundle, which stays as it is.
        stage: Whose graph.
        layers: Names of weights, as `layers_of` gives them.
        seed: Of the shuffling; a layer is shuffled alike whatever others are.

    Raises:
        BundleError: The bundle has no such stage, or its graph is too large to be held in one file.

    """
    path = _graph_of(bundle, stage)
    try:
        # With its weights, wherever they lie: the copy holds all in one file.
        content = _shuffled(load_whole(path), set(layers), seed).SerializeToString()
    except ValueError as error:
        raise BundleError(f"{path}: too large to be randomised ({error})") from error
    manifest = method_of("prototypes").without(bundle.manifest)
    spec = manifest.stage(stage)
    assert spec is not None  # noqa: S101 (its graph was found)
    stages = [msgspec.structs.replace(one, data=[]) if one.name == stage else one for one in manifest.stages]
    files = {name: one for name, one in manifest.files.items() if name not in spec.data}
    files[spec.file] = FileSpec(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    changed = msgspec.structs.replace(manifest, stages=stages, files=files, explainers=_kept(manifest))
    with tempfile.TemporaryDirectory(prefix="earmark-sanity-") as temporary:
        folder = Path(temporary) / bundle.path.name
        folder.mkdir()
        for name in files:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name == spec.file:
                target.write_bytes(content)
            else:
                link(bundle.path / name, target)
        changed = msgspec.structs.replace(changed, bundle_id=identity(changed))
        (folder / MANIFEST).write_bytes(msgspec.json.encode(changed))
        yield folder


def _kept(manifest: Any) -> list[str]:
    """The explainers that a bundle without its prototypes has."""
    return [name for name in manifest.explainers if name != "prototypes"]


def _graph_of(bundle: Bundle, stage: str) -> Path:
    spec = bundle.manifest.stage(stage)
    if spec is None:
        raise BundleError(f"{bundle.path}: has no stage {stage!r}")
    return bundle.path / spec.file


def _shuffled(model: Any, layers: set[str], seed: int) -> Any:
    """The model with the values of these initialisers in another order."""
    from onnx import numpy_helper

    for one in model.graph.initializer:
        if one.name in layers:
            values = numpy_helper.to_array(one)
            order = generator(seed, "shuffled", one.name).permutation(values.size)
            one.CopyFrom(numpy_helper.from_array(values.ravel()[order].reshape(values.shape), one.name))
    return model
