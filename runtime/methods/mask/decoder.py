"""The decoder's mask of one window."""

from __future__ import annotations

from collections.abc import Sequence

from ....errors import BundleError, MethodError
from ...bundle.manifest import Manifest, StageSpec
from ...inference.window import Window
from ...values.arrays import FloatArray
from ..protocol import Graphs


def decoder_of(manifest: Manifest) -> StageSpec:
    """The stage of the decoder.

    Raises:
        MethodError: The bundle has none.

    """
    stage = manifest.stage("decoder")
    if stage is None:
        raise MethodError(
            f"{manifest.name}: this bundle has no decoder, hence no masks; train one with "
            "earmark train lmac and export again"
        )
    return stage


def decode(graphs: Graphs, window: Window, target: int) -> FloatArray:
    """The decoder's mask [T, F] of one window for the class index `target`. Raises as `decode_sound`."""
    return _decoded(graphs, window, target, ("mask",))[0]


def decode_sound(graphs: Graphs, window: Window, target: int) -> tuple[FloatArray, FloatArray]:
    """The same, and what it keeps of the window's waveform [N], made by a graph where the decoder runs.

    Raises:
        MethodError: There is no decoder.
        BundleError: Its mask does not fit the spectrogram.

    """
    mask, kept = _decoded(graphs, window, target, ("mask", "kept"))
    return mask, kept[: window.waveform.shape[-1]]


def _decoded(graphs: Graphs, window: Window, target: int, outputs: Sequence[str]) -> list[FloatArray]:
    """What the decoder gives for one window, the mask first."""
    manifest = graphs.manifest
    stage = decoder_of(manifest)
    given = window.further(graphs.run, stage, outputs, target)
    mask: FloatArray = given["mask"][0]
    if mask.shape != window.stft.shape[:2]:
        raise BundleError(
            f"{manifest.name}: the mask of {stage.file} is {mask.shape}, the spectrogram "
            f"{window.stft.shape[:2]}; export the bundle again"
        )
    # The session has held it to 0..1 but for rounding.
    return [mask.clip(0.0, 1.0), *(given[name][0] for name in outputs[1:])]
