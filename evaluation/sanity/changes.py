"""What is changed for a check: a sound, hardly audibly; the weights of a bundle, layer by layer.

Changes of a sound should hardly change an explanation. Of weights (Adebayo et al. 2018, cascading
randomisation) the values are shuffled among themselves: the layer knows nothing any more, and what it gives
stays as large as it was. The bundle is a copy beside the original; heavy files are shared.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from ...runtime.values.arrays import FloatArray
from ..seeding import generator

# A waveform [n] and its rate -> a waveform [n].
Change = Callable[[FloatArray, int, np.random.Generator], FloatArray]


@dataclass(frozen=True, slots=True)
class Changed:
    """A change by its name; `delay_s`: how much later the sound is, by which masks are compared."""

    name: str
    apply: Change
    delay_s: float = 0.0


def _gain(sound: FloatArray, _rate: int, _random: np.random.Generator) -> FloatArray:
    return sound * np.float32(10.0 ** (-12.0 / 20.0))


def _noise(sound: FloatArray, _rate: int, random: np.random.Generator) -> FloatArray:
    """White noise 40 dB below the sound, barely audible beside it."""
    level = float(np.sqrt(np.mean(sound.astype(np.float64) ** 2))) * 0.01
    return (sound + level * random.standard_normal(len(sound))).astype(np.float32)


def _resampled(sound: FloatArray, rate: int, _random: np.random.Generator) -> FloatArray:
    """To another rate, up by 147 / 160 of twice its own, and back."""
    import soxr

    between = rate * 147 / 80
    there = soxr.resample(sound, rate, between)
    return _of_length(soxr.resample(there, between, rate), len(sound))


def _coded(container: str, coding: str) -> Change:
    def change(sound: FloatArray, rate: int, _random: np.random.Generator) -> FloatArray:
        import soundfile

        file = io.BytesIO()
        peak = max(1.0, float(np.abs(sound).max(initial=0.0)))
        soundfile.write(file, sound / peak, rate, format=container, subtype=coding)
        file.seek(0)
        decoded, _ = soundfile.read(file, dtype="float32")
        return _of_length(decoded * np.float32(peak), len(sound))

    return change


def _of_length(sound: FloatArray, samples: int) -> FloatArray:
    """Cut, or with silence at its end."""
    return np.pad(sound[:samples], (0, max(0, samples - len(sound)))).astype(np.float32)


def changes(delay_s: float) -> tuple[Changed, ...]:
    """All changes; the shift is by `delay_s`, a whole number of frames."""

    def shift(sound: FloatArray, rate: int, _random: np.random.Generator) -> FloatArray:
        return _of_length(np.pad(sound, (round(delay_s * rate), 0)), len(sound))

    return (
        Changed("gain -12 dB", _gain),
        Changed(f"later by {1000 * delay_s:.0f} ms", shift, delay_s),
        Changed("noise at -40 dB", _noise),
        Changed("resampled", _resampled),
        Changed("FLAC, 16 bits", _coded("FLAC", "PCM_16")),
        Changed("Ogg Vorbis", _coded("OGG", "VORBIS")),
        Changed("MP3", _coded("MP3", "MPEG_LAYER_III")),
    )


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
    kept = [name for name in manifest.explainers if name != "prototypes"]
    changed = msgspec.structs.replace(manifest, stages=stages, files=files, explainers=kept)
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
