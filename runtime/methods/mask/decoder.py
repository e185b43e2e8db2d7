"""The decoder's mask of one window."""

from __future__ import annotations

import msgspec

from ....errors import BundleError, MethodError
from ...bundle.manifest import Manifest, StageSpec
from ...inference.window import Window
from ...values.arrays import FloatArray
from ..protocol import Graphs


def decoder_of(manifest: Manifest) -> StageSpec:
    """The stage of the decoder. Raises MethodError where the bundle has none."""
    stage = manifest.stage("decoder")
    if stage is None:
        raise MethodError(
            f"{manifest.name}: this bundle has no decoder, hence no masks; train one with "
            "earmark train lmac and export again"
        )
    return stage


class Decoded(msgspec.Struct, frozen=True, eq=False):
    """What the decoder gives for one window.

    mask: [T, F], 0..1
    kept: [N] what it keeps of the window's waveform, if that is made by a graph where the decoder runs
    energies: [3] as of `audio.stft.energies_of`, if that graph made the sound
    """

    mask: FloatArray
    kept: FloatArray | None = None
    energies: FloatArray | None = None


def decode(graphs: Graphs, window: Window, target: int, *, sound: bool = False) -> Decoded:
    """The decoder's mask of one window for the class index `target`, and the sound it keeps where asked for.

    Raises MethodError where there is no decoder, BundleError where its mask does not fit the spectrogram.
    """
    manifest = graphs.manifest
    stage = decoder_of(manifest)
    outputs = ("mask", "kept") if sound else ("mask",)
    given = window.batch.further(graphs.run, stage, outputs, window.row, target)
    mask: FloatArray = given["mask"][0]
    if mask.shape != window.batch.spectrum_shape[1:3]:
        raise BundleError(
            f"{manifest.name}: the mask of {stage.file} is {mask.shape}, the spectrogram "
            f"{window.batch.spectrum_shape[1:3]}; export the bundle again"
        )
    kept, energies = (given[name][0] if name in given else None for name in ("kept", "energies"))
    # The session has held it to 0..1 but for rounding.
    return Decoded(mask.clip(0.0, 1.0), None if kept is None else kept[: window.waveform.shape[-1]], energies)
