"""What an interpreter is built from: its architecture, width and feature maps; written down in a run."""

from __future__ import annotations

from typing import Literal

import msgspec
from torch import nn

from ...errors import RunError
from .cnn14_interpreter import Cnn14Psi, ExportedCnn14Psi
from .compact_interpreter import CompactPsi
from .interpreter import Interpreter, ScaledPsi, SoundFit, Theta
from .scales import Scale


class InterpreterForm(msgspec.Struct, frozen=True, kw_only=True):
    """All that an interpreter is built from, but its weights.

    scales: the maps it reads, coarsest first; spectrum: the tap (or "stft") whose frames it counts
    width: channels of the compact psi, or the dimension of Cnn14's embedding
    spectra: S, each with two components: evidence, which theta reads, and after all of these the rest; 0
        where every component has a spectrum of its own, as in reference ones and runs of earlier releases
    bins, updates, lift: F, how often activations are updated by the sound (0: psi's own), see `SoundFit`
    """

    architecture: Literal["compact", "reference"]
    width: int
    components: int
    scales: list[Scale]
    spectrum: str
    classes: int
    spectra: int = 0
    bins: int = 0
    updates: int = 0
    lift: float = 0.0

    def build(self) -> Interpreter:
        """The untrained interpreter.

        Raises:
            RunError: The form is damaged, or of an earlier release.

        """
        if self.architecture == "compact" and self.components != 2 * self.spectra:
            raise RunError(
                "the run's interpreter is of an earlier release, whose components were not divided into "
                "evidence and rest; train it again (earmark train l2i)"
            )
        try:
            if self.architecture == "reference":
                psi: nn.Module = ExportedCnn14Psi(Cnn14Psi(self.width, self.components))
                return Interpreter(ScaledPsi(psi, self.components), Theta(self.components, self.classes))
            psi = ScaledPsi(CompactPsi(self.scales, self.components, width=self.width), self.components)
            fit = SoundFit(self.spectra, self.bins, self.updates, self.lift) if self.updates else None
            return Interpreter(psi, Theta(self.spectra, self.classes), fit, rest=self.spectra)
        except (ValueError, IndexError, RuntimeError) as error:
            raise RunError(f"the run's interpreter.json is damaged ({error})") from error

    @property
    def inputs(self) -> list[str]:
        """The interpreter's inputs in order."""
        return [self.spectrum, *(scale.tap for scale in self.scales)]
