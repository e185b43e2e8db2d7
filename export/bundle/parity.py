"""Parity: every exported output measured against its source, before a bundle is written. Never torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...errors import ParityError, SourceError
from ...printable import first_line
from ...runtime.audio.lengths import samples_of
from ...runtime.bundle.manifest import StageSpec
from ...runtime.bundle.parity import Agreement
from ...runtime.inference.chain import Chain
from ...runtime.inference.scores import scores_of
from ...runtime.methods.loading import all_methods
from ...runtime.values.arrays import FloatArray
from ..source.exportable import LIMIT, USUAL_LOGIT, Exportable
from .sounds import parity_lengths, synthesise
from .stages import Stages


@dataclass
class Comparison:
    """The largest absolute difference of one output, and where it was looked at.

    allowed: what it may be at the most, for values of order 1
    size: how far above order 1 the largest value is, of what may be of any size
    """

    allowed: float = LIMIT
    max_abs: float = 0.0
    size: float = 1.0
    lengths: set[int] = field(default_factory=set)
    batches: set[int] = field(default_factory=set)

    def see(
        self, ours: FloatArray, reference: FloatArray, length: int, *, usual: float | None = None
    ) -> None:
        """Take one comparison in; a difference in shape or a NaN counts as infinite.

        usual: up to which values are of order 1; above it the limit grows with them. None: it never does
        """
        same = ours.shape == reference.shape
        difference = float(np.max(np.abs(ours - reference), initial=0.0)) if same else np.inf
        self.max_abs = max(self.max_abs, difference if np.isfinite(difference) else np.inf)
        if usual is not None:
            self.size = max(self.size, float(np.max(np.abs(reference), initial=0.0)) / usual)
        self.lengths.add(length)
        self.batches.add(ours.shape[0])

    @property
    def limit(self) -> float:
        """What the difference may be at the most."""
        return self.allowed * self.size

    def agreement(self) -> Agreement:
        """For the manifest."""
        return Agreement(
            max_abs=self.max_abs,
            limit=self.limit,
            lengths=sorted(self.lengths),
            batches=sorted(self.batches),
        )


class ExportedChain:
    """The exported stages on the CPU, chained as a bundle's reader chains them.

    classifying: front end and classifier alone
    Raises MissingDependencyError where no onnxruntime is installed.
    """

    def __init__(self, source: Exportable, folder: Path, stages: Sequence[StageSpec]) -> None:
        self.source = source
        self._stages: dict[str, StageSpec] = {stage.name: stage for stage in stages}
        measured = [method for method in all_methods() if method.outputs]
        self._methods = [one for one in measured if all(rule.name in self._stages for rule in one.stages)]
        names = ["frontend", "classifier", *(rule.name for one in self._methods for rule in one.stages)]
        self._run = Stages(folder, stages, names).run
        self.classifying = Chain(self._run, source.analysis, source.rescore)

    def run(self, waveform: FloatArray) -> dict[str, FloatArray]:
        """Waveform [B, N] -> "logits", "scores", and what methods compute with stages of their own."""
        forward = self.classifying.forward(waveform)
        result = {"logits": forward.logits, "scores": scores_of(forward.logits, self.source.task)}
        for method in self._methods:
            result |= method.compute(self._run, self._stages, forward, self.source.mask_gain)
        return result


def _reference_of(source: Exportable, sound: FloatArray, window: int) -> dict[str, FloatArray] | None:
    """The source's outputs; None where it cannot take a sound longer than its window (nor need it)."""
    try:
        return source.outputs(sound)
    except (RuntimeError, ValueError, IndexError) as error:
        if sound.shape[1] > window:
            return None
        raise SourceError(
            f"{source.name}: the source itself fails on {sound.shape[1] / source.sample_rate:.2f} s of sound "
            f"({first_line(error, 160)}); raise its minimum_seconds"
        ) from error


def _chain_of(chain: ExportedChain, sound: FloatArray) -> dict[str, FloatArray]:
    """The graphs' outputs; a ParityError where a graph cannot take what its source takes."""
    try:
        return chain.run(sound)
    except Exception as error:
        # onnxruntime's errors have no common base.
        raise ParityError(
            f"{chain.source.name}: the exported graphs fail on {sound.shape[0]} x {sound.shape[1]} samples, "
            f"which the source takes ({first_line(error, 160)}); nothing was written"
        ) from error


def measure(
    chain: ExportedChain,
    *,
    seed: int = 0,
    clips: Sequence[FloatArray] = (),
    progress: Callable[[str], None] | None = None,
) -> dict[str, Agreement]:
    """`Parity.fp32` for the manifest: each output's largest difference over lengths and batches.

    clips: real sounds [N] at the source's rate, level applied; measured besides the synthesised ones.
    Batches of 1 at every length, of 3 at the shorter ones (a reference may need 100 times the
    memory of the graph), of 2 where there are none. Raises ParityError above the limit, naming output and
    difference.
    """
    source = chain.source
    window = samples_of(source.window.seconds, source.sample_rate)
    sounds = [
        synthesise(batch, length, source.sample_rate, seed + length)
        for length in parity_lengths(source)
        for batch in ((1, 3) if 2 * length <= window or window <= 2 * source.sample_rate else (1,))
    ]
    if all(len(sound) == 1 for sound in sounds):
        sounds.append(synthesise(2, window, source.sample_rate, seed))
    sounds += [clip[None, :window] for clip in clips]
    # First all of the source's, then all of the graphs': large weights are in memory once.
    references = [_reference_of(source, sound, window) for sound in sounds]
    source.rest()
    compared: dict[str, Comparison] = {}
    # Activations, what follows from them, and values are of any size.
    usual = {output.name: 1.0 for method in all_methods() for output in method.outputs if output.relative}
    usual["logits"] = 1.0 if source.task == "regression" else USUAL_LOGIT
    for sound, theirs in zip(sounds, references, strict=True):
        if theirs is None:
            continue
        if progress is not None:
            progress(f"parity: {sound.shape[0]} x {sound.shape[1] / source.sample_rate:.2f} s")
        ours = _chain_of(chain, sound)
        for name, expected in theirs.items():
            compared.setdefault(name, Comparison(source.parity_limit)).see(
                ours[name], expected, sound.shape[1], usual=usual.get(name)
            )
    agreements = {name: one.agreement() for name, one in compared.items()}
    for name, agreement in agreements.items():
        if not agreement.max_abs <= agreement.limit:
            raise ParityError(
                f"{source.name}: the exported {name} differ from the source by {agreement.max_abs:.2e}, "
                f"above {agreement.limit:.0e}; nothing was written. Check the "
                "source's modules for what eval() changes"
            )
    return agreements
