"""What an interpreter is built from: its architecture, width and feature maps; written down in a run."""

from __future__ import annotations

from typing import Literal

import msgspec

from ...errors import RunError
from .cnn14_interpreter import Cnn14Psi, ExportedCnn14Psi
from .compact_interpreter import CompactPsi
from .interpreter import Interpreter, ScaledPsi, SoundFit, Theta
from .scales import Scale


class InterpreterForm(msgspec.Struct, frozen=True, kw_only=True):
    """All that an interpreter is built from, but its weights.

    scales: the maps it reads, coarsest first; spectrum: the tap (or "stft") whose frames it counts
    width: channels of the compact psi, or the dimension of Cnn14's embedding
    interpolates: psi interpolates between the cells of maps; False in runs of earlier releases
    bins, updates: F of the dictionary, and how often activations are updated by the sound; 0: psi's own
    parts: components of each spectrum, of which theta reads all but the last; 1 in runs of before: theta reads it
    lift: of the updates, see `SoundFit`
    """

    architecture: Literal["compact", "reference"]
    width: int
    components: int
    scales: list[Scale]
    spectrum: str
    classes: int
    interpolates: bool = False
    bins: int = 0
    updates: int = 0
    parts: int = 1
    lift: float = 0.0

    def build(self) -> Interpreter:
        """The untrained interpreter.

        Raises:
            RunError: The form is damaged, or of an earlier release.

        """
        if self.architecture == "compact" and not self.interpolates:
            raise RunError(
                "the run's interpreter is of an earlier release, whose activations flutter at half of the "
                "frame rate; train it again (earmark train l2i)"
            )
        try:
            psi = (
                CompactPsi(self.scales, self.components, width=self.width)
                if self.architecture == "compact"
                else ExportedCnn14Psi(Cnn14Psi(self.width, self.components))
            )
            spectra = self.components // self.parts
            rest = spectra if self.parts > 1 else 0
            theta = Theta(self.components - rest, self.classes)
            return Interpreter(ScaledPsi(psi, self.components), theta, self._fit(spectra), rest)
        except (ValueError, IndexError, RuntimeError) as error:
            raise RunError(f"the run's interpreter.json is damaged ({error})") from error

    def _fit(self, spectra: int) -> SoundFit | None:
        if not self.updates:
            return None
        return SoundFit(spectra, self.bins, self.updates, parts=self.parts, lift=self.lift)

    @property
    def inputs(self) -> list[str]:
        """The interpreter's inputs in order."""
        return [self.spectrum, *(scale.tap for scale in self.scales)]
