"""Interpreters for a source's feature maps: which architecture, how wide, at what cost; kept in a run."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ...errors import RunError, SourceError
from ..source.source import Source
from .cnn14_interpreter import Cnn14Psi, ExportedCnn14Psi
from .compact_interpreter import CompactPsi
from .decoders import decoder_form, measured_inputs, multiply_adds
from .interpreter import Interpreter, ScaledPsi, Theta
from .scales import Scale

# Multiply-adds of a compact interpreter by those of its classifier, at the most: half of what the whole
# method may cost, the other half is the masks'.
SHARE = 0.08
_WIDTHS = range(16, 193, 8)
_CNN14_TAPS = ["x1", "x2", "x3", "x4"]


class InterpreterForm(msgspec.Struct, frozen=True, kw_only=True):
    """All that an interpreter is built from, but its weights.

    scales: the maps it reads, coarsest first; spectrum: the tap (or "stft") whose frames it counts
    width: channels of the compact psi, or the dimension of Cnn14's embedding
    """

    architecture: Literal["compact", "reference"]
    width: int
    components: int
    scales: list[Scale]
    spectrum: str
    classes: int

    def build(self) -> Interpreter:
        """The untrained interpreter. Raises RunError where the form is damaged."""
        try:
            psi = (
                CompactPsi(self.scales, self.components, width=self.width)
                if self.architecture == "compact"
                else ExportedCnn14Psi(Cnn14Psi(self.width, self.components))
            )
            return Interpreter(ScaledPsi(psi, self.components), Theta(self.components, self.classes))
        except (ValueError, IndexError, RuntimeError) as error:
            raise RunError(f"the run's interpreter.json is damaged ({error})") from error

    @property
    def inputs(self) -> list[str]:
        """The interpreter's inputs in order."""
        return [self.spectrum, *(scale.tap for scale in self.scales)]


def read_form(record: Any) -> InterpreterForm:
    """The form that `msgspec.to_builtins` made a record of. Raises RunError where it is damaged."""
    try:
        return msgspec.convert(record, InterpreterForm)
    except msgspec.ValidationError as error:
        raise RunError(f"the run's interpreter.json is damaged or of an older earmark ({error})") from error


def interpreter_form(
    source: Source, components: int, architecture: str = "compact", width: int | None = None
) -> InterpreterForm:
    """The form of an interpreter for `source`; without a width, the widest that costs no more than it should.

    compact: at most 8 % of the classifier's multiply-adds, or as narrow as can be where even that is more.
    reference: the layers of SpeechBrain's CNN14PSI_stft_2d, for Cnn14 alone.
    Raises SourceError where the source shows no feature maps, or is no Cnn14.
    """
    # What a decoder reads, an interpreter reads too.
    seen = decoder_form(source, "compact", 4)
    if architecture == "reference":
        shapes = [source.taps.get(name, [])[3:] for name in _CNN14_TAPS]
        if shapes != [[2], [2], [5], [10]]:
            raise SourceError(
                f"{source.name}: reference layers are those of SpeechBrain's CNN14PSI_stft_2d, over Cnn14 "
                "with 80 bands; train a compact interpreter"
            )
        by_tap = {scale.tap: scale for scale in seen.scales}
        return InterpreterForm(
            architecture="reference",
            width=int(source.taps["x1"][1]),
            components=components,
            scales=[by_tap[name] for name in _CNN14_TAPS],
            spectrum=seen.spectrum,
            classes=len(source.labels),
        )
    form = InterpreterForm(
        architecture="compact",
        width=width or 0,
        components=components,
        scales=seen.scales,
        spectrum=seen.spectrum,
        classes=len(source.labels),
    )
    if width is not None:
        return form
    classifier, inputs = measured_inputs(source, form.inputs)
    shapes_alone = [given.to("meta") for given in inputs]
    fitting = [
        width
        for width in _WIDTHS
        if multiply_adds(msgspec.structs.replace(form, width=width).build().to("meta"), *shapes_alone)
        <= SHARE * classifier
    ]
    return msgspec.structs.replace(form, width=max(fitting, default=_WIDTHS[0]))


def cost(source: Source, form: InterpreterForm) -> tuple[float, float]:
    """Multiply-adds of the interpreter and of the classifier for one window."""
    classifier, inputs = measured_inputs(source, form.inputs)
    return multiply_adds(form.build().to("meta"), *(given.to("meta") for given in inputs)), classifier
