"""Which decoder or interpreter fits a source: the maps it reads, and how wide it may be for its cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec
import torch
from torch import nn

from ...errors import SourceError
from ...runtime.audio.lengths import samples_at_least, samples_of
from ..graphs.stft import stft
from ..models.decoders import Architecture, DecoderForm
from ..models.interpreters import InterpreterForm
from ..models.scales import Scale, measure_scales
from ..source.source import Source

# Multiply-adds by those of the classifier, at the most: of a compact decoder, of the reference
# recipe's, and of a compact interpreter (half of what the whole method may cost; the other is the masks').
_COMPACT_SHARE, _REFERENCE_SHARE, INTERPRETER_SHARE = 0.10, 9.0, 0.08
# Of a compact decoder over a classifier that takes sound: the listenable STFT, which is not the classifier's,
# may have twice the frames of the one inside, and each of them costs.
_SOUND_SHARE = 0.25
# Wider than this a compact decoder gains nothing; narrower, its masks stay grey for hundreds of steps.
_WIDEST, _NARROWEST = 48, 16
_BANDS = 64
# How often the sound updates activations, and from which part of a spectrum's scale on: docs/l2i.md has what
# more of these do.
_UPDATES, _LIFT = 4, 0.03
_WIDTHS = range(16, 193, 8)
_CNN14_TAPS = ["x1", "x2", "x3", "x4"]

Form = TypeVar("Form", DecoderForm, InterpreterForm)


def decoder_form(source: Source, architecture: Architecture, width: int | None = None) -> DecoderForm:
    """Choose the form of a decoder for `source`.

    Args:
        source: Over whose classifier it is trained.
        architecture: "compact": at most a tenth of the classifier's multiply-adds, a quarter where it takes
            sound, or 16 channels where these cost more; "reference": about nine times them.
        width: Channels; None: the widest that costs no more than that.

    Raises:
        SourceError: The source shows no feature maps.

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
        # The one map of a transformer's tokens is a coarse one.
        coarse=max(1, len(scales) - 1),
        on_features=architecture == "compact" and _takes_features(source),
    )
    if width is not None:
        return form
    compact_share = _SOUND_SHARE if source.rescore == "waveform" else _COMPACT_SHARE
    share = compact_share if architecture == "compact" else _REFERENCE_SHARE
    choices = range(_NARROWEST, _WIDEST + 1, 4) if architecture == "compact" else range(8, 4097, 4)
    classifier, inputs = measured_inputs(source, form.inputs)
    return _widest(form, choices, share * classifier, inputs)


def interpreter_form(
    source: Source, components: int, architecture: str = "compact", width: int | None = None
) -> InterpreterForm:
    """Choose the form of an interpreter for `source`.

    Args:
        source: Over whose classifier it is trained.
        components: Spectra of the dictionary; a compact interpreter has two components of each.
        architecture: "compact": psi and theta at most 8 % of the classifier's multiply-adds, or as narrow as
            can be where even that is more, and what brings them to the sound; "reference": the layers of
            SpeechBrain's CNN14PSI_stft_2d, for Cnn14 alone.
        width: Channels; None: the widest that costs no more than that.

    Raises:
        SourceError: The source shows no feature maps, or is no Cnn14.

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
        components=2 * components,
        spectra=components,
        scales=seen.scales,
        spectrum="stft",
        classes=len(source.labels),
        bins=source.analysis.n_fft // 2 + 1,
        updates=_UPDATES,
        lift=_LIFT,
    )
    if width is not None:
        return form
    classifier, inputs = measured_inputs(source, form.inputs)
    once = msgspec.structs.replace(form, updates=0)
    return msgspec.structs.replace(
        form, width=_widest(once, _WIDTHS, INTERPRETER_SHARE * classifier, inputs).width
    )


def cost(source: Source, form: DecoderForm | InterpreterForm) -> tuple[float, float]:
    """Multiply-adds of what `form` builds and of the source's classifier, for one window."""
    classifier, inputs = measured_inputs(source, form.inputs)
    return multiply_adds(form.build().to("meta"), *inputs), classifier


def _takes_features(source: Source) -> bool:
    """Whether the classifier takes what a front end makes of the sound, other than the listenable STFT."""
    if source.rescore == "spectrogram":
        return False
    samples = samples_of(source.window.seconds, source.sample_rate)
    dtype = next((p.dtype for p in source.frontend.parameters()), torch.float32)
    with torch.no_grad():
        return bool(source.frontend(torch.zeros(1, samples, dtype=dtype)).numel() != samples)


def _found(source: Source) -> list[Scale]:
    """The scales of a source that does not say where they lie: its four-axis taps, probed with tones."""
    samples = max(
        samples_at_least(source.window.minimum_seconds, source.sample_rate),
        min(samples_of(source.window.seconds, source.sample_rate), source.sample_rate),
    )

    def taps_of(waveform: torch.Tensor) -> dict[str, torch.Tensor]:
        tensors = source.forward_pass(waveform)
        return {name: tensors[name] for name in source.taps}

    return measure_scales(taps_of, 1 + samples // source.analysis.hop, samples, source.sample_rate)


def _widest(form: Form, choices: Sequence[int], most: float, inputs: Sequence[torch.Tensor]) -> Form:
    """The widest of `choices` that needs no more than `most` multiply-adds, or the first; by bisection."""
    low, high = 0, len(choices) - 1
    while low < high:
        middle = (low + high + 1) // 2
        built = msgspec.structs.replace(form, width=choices[middle]).build().to("meta")
        low, high = (middle, high) if multiply_adds(built, *inputs) <= most else (low, middle - 1)
    return msgspec.structs.replace(form, width=choices[low])


def measured_inputs(source: Source, names: Sequence[str]) -> tuple[float, list[torch.Tensor]]:
    """The classifier's multiply-adds for one window, and the inputs `names` of it, shapes alone."""
    samples = samples_of(source.window.seconds, source.sample_rate)
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
    single = [tensor.float() if tensor.is_floating_point() else tensor for tensor in tensors]
    return classifier, [tensor.to("meta") for tensor in single]


def multiply_adds(module: nn.Module, *inputs: torch.Tensor) -> float:
    """Multiply-adds of one pass, as torch counts them: convolutions and matrix products."""
    from torch.utils.flop_counter import FlopCounterMode

    was = module.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(*inputs)
    module.train(was)
    return float(counter.get_total_flops()) / 2
