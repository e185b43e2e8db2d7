"""What a source hands to the export: PyTorch modules with named tensors, and their reference.

Every kind of source (a run directory, a SpeechBrain folder, a factory) is one file in `sources/`
that returns a `Source`; the conversion knows nothing of where it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from ...errors import SourceError
from ...runtime.bundle.manifest import StageSpec
from ..graphs.heads import Head, Layer, LearntRotation
from ..models.scales import Scale
from .exportable import Exportable, FloatArray, with_window

__all__ = [
    "Reference",
    "Source",
    "with_window",
    "without_decoder",
    "without_interpreter",
    "without_onednn",
]


@dataclass(frozen=True)
class Reference:
    """The source's own PyTorch pipeline, against which the exported graphs are measured.

    logits: waveform [B, N] (level already applied) -> [B, K]
    mask: waveform [B, N] -> [B, T, F] over the whole listenable STFT, explicitly padded where the
        source itself cannot run the length; None without a decoder
    kept: waveform [B, N] -> [B, N] listenable audio; None without a decoder
    interpreted: waveform [B, N] -> activations [B, K, T], pooled [B, K], theta's logits [B, C]; None without
        an interpreter
    """

    logits: Callable[[torch.Tensor], torch.Tensor]
    mask: Callable[[torch.Tensor], torch.Tensor] | None = None
    kept: Callable[[torch.Tensor], torch.Tensor] | None = None
    interpreted: Callable[[torch.Tensor], tuple[torch.Tensor, ...]] | None = None


@dataclass(frozen=True, kw_only=True)
class Source(Exportable):
    """A classifier in PyTorch, perhaps with a decoder, ready to be exported.

    frontend: waveform [B, N] -> STFT [B, T, F, 2] (rescore "spectrogram") or features
    classifier: that -> (logits [B, K], *taps), taps in the order of `taps`
    decoder: (*the taps named in decoder_taps) -> mask [B, T, F], any T (pads and crops inside)
    interpreter: (*the taps named in interpreter_taps) -> activations [B, K, T], pooled [B, K], logits [B, C]
    head_weight [K, C], head_bias [K]: the linear head after pooling, where there is one
    head_layers: the small network after pooling, where the head is that instead
    apex: U, learnt over this classifier, with the report of its training
    scales: where the cells of the taps lie that a decoder may be trained on, finest first; empty where
        the source does not say, then they are measured
    log_mel: the tap with log1p(A @ FB) [B, T, mels], FB as `architectures.mel.filterbank`, if there is one

    A decoder's taps may also be "stft", the listenable STFT [B, T, F, 2], and "target", class indices [B].
    """

    tools: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript", "onnxruntime")

    frontend: nn.Module
    classifier: nn.Module
    # tap name -> symbolic dims of the tap, e.g. ["batch", 256, "frames_8", 10]
    taps: dict[str, list[int | str]]
    reference: Reference
    decoder: nn.Module | None = None
    decoder_taps: list[str] = field(default_factory=list)
    interpreter: nn.Module | None = None
    interpreter_taps: list[str] = field(default_factory=list)
    head_weight: torch.Tensor | None = None
    head_bias: torch.Tensor | None = None
    head_layers: tuple[Layer, ...] = ()
    apex: LearntRotation | None = None
    scales: list[Scale] = field(default_factory=list)
    log_mel: str | None = None

    @property
    def head(self) -> Head | None:
        """What follows pooling, where it is known. Raises SourceError if the feature map disagrees."""
        spec = self.feature_map
        if spec is None or not (spec.additive or spec.gradient):
            return None
        classes = len(self.labels)
        weight, bias = self.head_weight, self.head_bias
        layers = self.head_layers
        if weight is not None:
            none = np.zeros(classes, np.float32)
            plain = weight.detach().numpy().astype(np.float32)
            layers = (Layer(plain, none if bias is None else bias.detach().numpy().astype(np.float32)),)
        fits = layers and layers[0].weight.shape[1] == spec.channels and len(layers[-1].weight) == classes
        if not fits or spec.pooling == "other" or Head(layers).linear != spec.additive:
            raise SourceError(
                f"{self.name}: an additive feature map needs mean, max_mean or attention pooling and a head "
                f"weight of [{classes}, {spec.channels}]"
            )
        return Head(layers)

    @property
    def explainers(self) -> list[str]:
        """Masks, with a decoder; components, with an interpreter."""
        methods = {"mask": self.decoder, "components": self.interpreter}
        return [name for name, module in methods.items() if module is not None]

    def write_stages(self, folder: Path) -> list[StageSpec]:
        """Convert every module. Raises SourceError where one cannot be exported."""
        from ..graphs.torch_export import convert

        return convert(self, folder)

    def outputs(self, waveform: FloatArray) -> dict[str, FloatArray]:
        """What the reference answers, by PyTorch's own kernels."""
        wanted: dict[str, Callable[[torch.Tensor], torch.Tensor] | None] = {"logits": self.reference.logits}
        if self.decoder is not None:
            wanted |= {"mask": self.reference.mask, "kept": self.reference.kept}
        with torch.no_grad(), without_onednn():
            sound = torch.from_numpy(waveform)
            made = {name: call(sound).numpy() for name, call in wanted.items() if call is not None}
            if self.interpreter is not None and self.reference.interpreted is not None:
                names = ("activations", "pooled", "interpreted")
                answers = self.reference.interpreted(sound)
                made |= {name: answer.numpy() for name, answer in zip(names, answers, strict=True)}
            return made


def without_decoder(source: Source) -> Source:
    """The same source without its decoder: no masks."""
    reference = Reference(logits=source.reference.logits, interpreted=source.reference.interpreted)
    return replace(source, decoder=None, decoder_taps=[], mask_targets=None, reference=reference)


def without_interpreter(source: Source) -> Source:
    """The same source without its interpreter: no components."""
    reference = replace(source.reference, interpreted=None)
    return replace(
        source, interpreter=None, interpreter_taps=[], components=None, dictionary={}, reference=reference
    )


@contextmanager
def without_onednn() -> Iterator[None]:
    """Let PyTorch's own kernels compute, not oneDNN's.

    oneDNN's transposed convolution (torch 2.13, several threads) was seen to give a mask wrong by
    0.06 once in a few runs of the same input; PyTorch's own kernels never did. Set by hand, since
    torch.backends.mkldnn.flags also touches TF32 and warns.
    """
    switch: Any = torch.backends.mkldnn
    before = switch.enabled
    switch.enabled = False
    try:
        yield
    finally:
        switch.enabled = before
