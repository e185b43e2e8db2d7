"""L-MAC at run time: the decoder's mask over the listenable STFT, and the sound that it keeps.

Paissan, Ravanelli, Subakan, "Listenable Maps for Audio Classifiers", ICML 2024, section 3: the mask
M multiplies the log-magnitude X = log1p(|S|), or, unless `mask_gain` is "log", the magnitude itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....errors import BundleError, TargetError
from ...bundle.parts import StageRule
from ..protocol import Context, GraphOutput, Graphs, Inspection, Method, Sound, TimeTask

if TYPE_CHECKING:
    from ...bundle.manifest import Manifest, MaskGain, StageSpec, TrustSpec
    from ...bundle.open import Bundle
    from ...drawing.shown import Picture
    from ...inference.chain import ForwardPass, RunStage
    from ...inference.window import Window
    from ...values.arrays import Array, FloatArray
    from ..result import About
    from ..saved import SavedSounds
    from .explanation import MaskExplanation
    from .result import MaskResult


class Mask(Method):
    """The method `mask` over a bundle with a decoder."""

    name = "mask"
    gives = ("mask", "rescored", "trust")
    # Decoder, sound and rescoring are counted apart.
    own_clock = True
    rescores = True
    stages = (StageRule("decoder", gives="mask", takes=frozenset({"stft", "target"})),)
    outputs = (GraphOutput("mask"), GraphOutput("kept", golden=False))
    has_window_mask = True
    time_rows = ("mask", "mask_alone")

    def check(self, manifest: Manifest, path: Path) -> None:
        """Masks are not promised without a decoder. Raises BundleError."""
        if self.name in manifest.explainers and (
            manifest.stage("decoder") is None or manifest.mask_targets is None
        ):
            raise BundleError(f"{path}: promises masks without a decoder; export the bundle again")
        if manifest.trust is not None:
            from .trust import check_trust

            check_trust(manifest, path)

    def inspect(self, bundle: Bundle) -> Inspection:
        """The classes that the decoder makes masks for."""
        targets = bundle.manifest.mask_targets
        if targets is None:
            return Inspection()
        return Inspection(
            (
                ("masks", f"for the {'predicted class' if targets == 'predicted' else 'class asked for'}"),
                *([] if bundle.manifest.trust is None else [("trust", _known(bundle.manifest.trust))]),
            )
        )

    def begin(self, context: Context, sound: Sound, target: int) -> MaskExplanation:
        """Raises MethodError without a decoder, TargetError where it masks the predicted class only."""
        from .decoder import decoder_of
        from .explanation import MaskExplanation

        manifest = context.manifest
        decoder_of(manifest)
        if manifest.mask_targets == "predicted" and target != sound.predicted:
            raise TargetError(
                f"the mask can explain {manifest.labels[sound.predicted]!r}, which was predicted, not "
                f"{manifest.labels[target]!r}: this decoder was trained for the predicted class; "
                "the method prototypes takes any"
            )
        return MaskExplanation(context, sound, target)

    def save(self, part: MaskResult, folder: Path, about: About) -> None:
        """Write what is kept and removed, which add up to the input, or clips of the first."""
        from ...audio.writing import fitting
        from ..saving import blocks_of, write_audio, write_blocks, write_clips

        rate = about.sample_rate
        if about.audio == "full":
            kept = part.audio
            kind = fitting(about.format, chain(blocks_of(kept), part.removed_blocks()))
            write_audio(folder / "kept", kept, rate, kind)
            write_blocks(folder / "removed", part.removed_blocks(), kept.shape, rate, kind)
        elif about.audio == "clips":
            write_clips(folder / "kept", part.audio, part.spans, rate, about.format)

    def pictures(self, part: MaskResult, about: About) -> Mapping[str, Picture]:
        """The spectrogram with the mask on it."""
        from ...drawing.shown import Chart

        shown = part.spectrogram(about.duration_s)
        return {"mask": Chart(about.title, about.caption, about.duration_s, shown)}

    def fields_type(self) -> type:
        """What it adds to a record."""
        from .document import MaskFields

        return MaskFields

    def store(self, part: MaskResult, arrays: dict[str, Array]) -> object:
        """The mask and its figures."""
        from .stored import store

        return store(part, arrays)

    def restore(self, stored: Any, arrays: Mapping[str, Array], sounds: SavedSounds) -> MaskResult:
        """The mask again, with the sound that was saved."""
        from .stored import restore

        return restore(stored, arrays, sounds)

    def compute(
        self, run: RunStage, stages: Mapping[str, StageSpec], forward: ForwardPass, mask_gain: MaskGain
    ) -> dict[str, FloatArray]:
        """The decoder's mask for the predicted class, and the sound that it keeps."""
        from ...audio.stft import as_complex, gain, inverse

        mask = run("decoder", forward.feeds(stages["decoder"]), ["mask"])["mask"]
        spectrum = as_complex(forward.stft)
        if mask.shape != spectrum.shape:
            raise BundleError(
                f"{stages['decoder'].file}: its mask is {list(mask.shape)}, the spectrogram "
                f"{list(spectrum.shape)}; export the bundle again"
            )
        gains = gain(mask, forward.amplitude, mask_gain)
        kept = inverse(spectrum * gains, forward.analysis, forward.waveforms.shape[1])
        return {"mask": mask, "kept": kept}

    def ask_batch(self, graphs: Graphs, window: Window) -> None:
        """Masks of all."""
        self.window_mask(graphs, window, int(window.logits.argmax()))

    def window_gain(self, manifest: Manifest) -> MaskGain:
        """What the decoder was trained for."""
        return manifest.mask_gain

    def window_mask(self, graphs: Graphs, window: Window, target: int) -> FloatArray:
        """The decoder's mask; unlike `begin` it asks the decoder for any class."""
        from .decoder import decode

        return decode(graphs, window, target).mask

    def expectation(self, graphs: Graphs, window: Window, target: int) -> FloatArray | None:
        """The mask, where the decoder speaks for the target in this window."""
        if graphs.manifest.mask_targets == "predicted" and int(window.logits.argmax()) != target:
            return None
        return self.window_mask(graphs, window, target)

    def importance(self, row: str, task: TimeTask) -> Any:
        """Mean over the frames of each segment of sum_f M log1p|S|, or of sum_f M (mask_alone)."""
        import numpy as np

        from ..evidence import frames_over_segments

        mask = self.window_mask(task.graphs, task.window, task.target)
        if row != "mask_alone":
            mask = mask * np.log1p(np.hypot(task.window.stft[..., 0], task.window.stft[..., 1]))
        return frames_over_segments(mask.sum(axis=1), task.graphs.manifest, task.edges)


def _known(spec: TrustSpec) -> str:
    """What is known of how far masks are to be believed, in one line."""
    return (
        f"kept sound is of the class in {spec.kept.base:.0%}, removed is not in {spec.removed.base:.0%} "
        f"of {spec.windows} windows; calibration error {spec.kept.error:.3f} and {spec.removed.error:.3f}"
    )
