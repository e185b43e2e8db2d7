"""Decoders for a source's feature maps: which architecture, how wide, at what cost; written down in a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import torch
from torch import nn

from ...errors import RunError, SourceError
from ..graphs.torch_stft import stft
from ..source.source import Source
from .compact_decoder import CompactDecoder
from .reference_decoder import ReferenceDecoder
from .scales import Scale, measure_scales

# Multiply-adds of a decoder by those of its classifier, at the most; the reference recipe's are nine times.
COMPACT_SHARE, REFERENCE_SHARE = 0.10, 9.0
# Wider than this a compact decoder gains nothing.
_WIDEST = 48
_BANDS = 64

Architecture = Literal["compact", "reference"]
Decoder = CompactDecoder | ReferenceDecoder


class DecoderForm(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decoder is built from, but its weights.

    scales: the maps it reads, coarsest first; spectrum: the tap with the log-mel of `bands` bands, or
    "stft" where the decoder makes its own
    """

    architecture: Architecture
    width: int
    scales: list[Scale]
    spectrum: str
    bands: int
    n_fft: int
    sample_rate: int
    classes: int

    def build(self) -> Decoder:
        """The untrained decoder. Raises RunError where the form is damaged."""
        try:
            if self.architecture == "reference":
                return ReferenceDecoder(self.scales, self.n_fft // 2 + 1, width=self.width)
            return CompactDecoder(
                self.scales,
                self.n_fft,
                self.sample_rate,
                self.classes,
                bands=self.bands,
                width=self.width,
                from_stft=self.spectrum == "stft",
            )
        except (ValueError, IndexError, RuntimeError) as error:
            raise RunError(f"the run's decoder.json is damaged ({error})") from error

    @property
    def inputs(self) -> list[str]:
        """The decoder's inputs in order: the spectrum, the maps, and the target where it takes one."""
        taps = [self.spectrum, *(scale.tap for scale in self.scales)]
        return [*taps, "target"] if self.architecture == "compact" else taps


def read_form(record: Any) -> DecoderForm:
    """The form that `msgspec.to_builtins` made a record of. Raises RunError where it is damaged."""
    try:
        return msgspec.convert(record, DecoderForm)
    except msgspec.ValidationError as error:
        raise RunError(f"the run's decoder.json is damaged or of an older earmark ({error})") from error


def decoder_form(source: Source, architecture: Architecture, width: int | None = None) -> DecoderForm:
    """The form of a decoder for `source`; without a width, the widest that costs no more than it should.

    Compact: at most a tenth of the classifier's multiply-adds, or as narrow as can be where even that is
    more. Reference: about nine times them. Raises SourceError where the source shows no feature maps.
    """
    shown = list(source.scales) or _found(source)
    scales = [scale for scale in shown if scale.stride >= 2] or shown
    if not scales:
        raise SourceError(
            f"{source.name}: shows no feature map [B, C, T', F'], which a decoder reads; name some (an "
            "Adapter does by `scales`)"
        )
    spectrum = source.log_mel or "stft"
    mels = source.taps[spectrum][2] if source.log_mel else _BANDS
    form = DecoderForm(
        architecture=architecture,
        width=width or 0,
        scales=sorted(scales, key=lambda scale: (-scale.stride, scale.rows)),
        spectrum=spectrum,
        bands=int(mels),
        n_fft=source.analysis.n_fft,
        sample_rate=source.sample_rate,
        classes=len(source.labels),
    )
    if width is not None:
        return form
    share = COMPACT_SHARE if architecture == "compact" else REFERENCE_SHARE
    choices = range(4, _WIDEST + 1, 4) if architecture == "compact" else range(8, 4097, 4)
    classifier, inputs = measured_inputs(source, form.inputs)
    return _widest(form, choices, share * classifier, [given.to("meta") for given in inputs])


def _found(source: Source) -> list[Scale]:
    """The scales of a source that does not say where they lie: its four-axis taps, probed with tones."""
    samples = max(
        math.ceil(source.window.minimum_seconds * source.sample_rate),
        min(round(source.window.seconds * source.sample_rate), source.sample_rate),
    )

    def taps_of(waveform: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict(zip(source.taps, source.classifier(source.frontend(waveform))[1:], strict=True))

    return measure_scales(taps_of, 1 + samples // source.analysis.hop, samples, source.sample_rate)


def _widest(
    form: DecoderForm, choices: Sequence[int], most: float, inputs: Sequence[torch.Tensor]
) -> DecoderForm:
    """The widest of `choices` whose decoder needs no more than `most` multiply-adds; by bisection."""
    low, high = 0, len(choices) - 1
    while low < high:
        middle = (low + high + 1) // 2
        # Shapes alone: nothing is computed.
        decoder = msgspec.structs.replace(form, width=choices[middle]).build().to("meta")
        low, high = (middle, high) if multiply_adds(decoder, *inputs) <= most else (low, middle - 1)
    return msgspec.structs.replace(form, width=choices[low])


def cost(source: Source, form: DecoderForm) -> tuple[float, float]:
    """Multiply-adds of the decoder and of the classifier for one window."""
    classifier, inputs = measured_inputs(source, form.inputs)
    return multiply_adds(form.build().to("meta"), *(given.to("meta") for given in inputs)), classifier


def measured_inputs(source: Source, names: Sequence[str]) -> tuple[float, list[torch.Tensor]]:
    """The classifier's multiply-adds for one window, and the decoder's inputs of it."""
    samples = round(source.window.seconds * source.sample_rate)
    dtype = next((p.dtype for p in source.classifier.parameters()), torch.float32)
    with torch.no_grad():
        waveform = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(0))
        entry = source.frontend(waveform).to(dtype)
        logits, *taps = source.classifier(entry)
        given = {**dict(zip(source.taps, taps, strict=True)), "target": logits.argmax(1)}
        given["stft"] = entry if source.rescore == "spectrogram" else stft(waveform, source.analysis)
    classifier = multiply_adds(source.classifier, entry)
    tensors = [given[name] for name in names]
    # Exact training has the classifier in double precision.
    return classifier, [tensor.float() if tensor.is_floating_point() else tensor for tensor in tensors]


def multiply_adds(module: nn.Module, *inputs: torch.Tensor) -> float:
    """Multiply-adds of one pass, as torch counts them: convolutions and matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    was = module.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(*inputs)
    module.train(was)
    return float(counter.get_total_flops()) / 2
