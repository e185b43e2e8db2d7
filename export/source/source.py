"""What a source hands to the export: PyTorch modules with named tensors, and their reference.

Every kind of source (a run directory, a SpeechBrain folder, a factory) is a folder in `sources/` whose `load`
returns a `Source`; the conversion knows nothing of where it came from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from ...errors import SourceError
from ...runtime.audio.lengths import samples_of
from ...runtime.bundle.manifest import StageSpec
from ...runtime.values.arrays import FloatArray
from ..graphs.files import Dims, StageName
from ..graphs.heads import Head, Layer
from ..graphs.stft import masked, stft
from ..models.scales import Scale
from .exportable import Exportable

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Reference:
    """The source's own PyTorch pipeline, against which the exported graphs are measured.

    Attributes:
        logits: Waveform [B, N] (level already applied) -> [B, K].
        mask: Waveform [B, N] -> [B, T, F] over the whole listenable STFT, explicitly padded where the source
            itself cannot run the length; None without a decoder.
        kept: Waveform [B, N] -> [B, N] listenable audio; None without a decoder.
        interpreted: Waveform [B, N] -> activations [B, K, T], pooled [B, K], theta's logits [B, C]; None
            without an interpreter.

    """

    logits: Callable[[torch.Tensor], torch.Tensor]
    mask: Callable[[torch.Tensor], torch.Tensor] | None = None
    kept: Callable[[torch.Tensor], torch.Tensor] | None = None
    interpreted: Callable[[torch.Tensor], tuple[torch.Tensor, ...]] | None = None


def remembering(answer: Callable[[torch.Tensor], Answer]) -> Callable[[torch.Tensor], Answer]:
    """The function, which keeps its last answer: several things are asked about one waveform in turn."""
    last: list[tuple[torch.Tensor, Answer]] = []

    def call(waveform: torch.Tensor) -> Answer:
        if not last or last[0][0] is not waveform:
            last[:] = [(waveform, answer(waveform))]
        return last[0][1]

    return call


@dataclass(frozen=True, kw_only=True)
class Source(Exportable):
    """A classifier in PyTorch, perhaps with a decoder, ready to be exported.

    A decoder's taps may also be "stft", the listenable STFT [B, T, F, 2], and "target", class indices [B].

    Attributes:
        frontend: Waveform [B, N] -> STFT [B, T, F, 2] (rescore "spectrogram") or features.
        classifier: That -> (logits [B, K], *taps), taps in the order of `taps`.
        taps: Tap name -> symbolic dims of the tap, as ["batch", 256, "frames_8", 10].
        decoder: (*the taps named in `decoder_taps`) -> mask [B, T, F], any T (pads and crops inside).
        interpreter: (*the taps named in `interpreter_taps`) -> activations [B, K, T], pooled [B, K], logits
            [B, C].
        head_layers: The layers between pooling and logits; empty where they are not known.
        scales: Where the cells of the taps lie that a decoder may be trained on, finest first; empty where
            the source does not say, then they are measured.
        log_mel: The tap with log1p(A @ FB) [B, T, mels], FB as `models.mel.filterbank`, if there is one.
        own_reference: The source's own pipeline, where that is not the modules behind torch.stft.

    """

    tools: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript", "onnxruntime")
    # Whether its classifier may be trained further, as an interpreter by design does.
    trained: ClassVar[bool] = True

    frontend: nn.Module
    classifier: nn.Module
    taps: dict[str, list[int | str]]
    decoder: nn.Module | None = None
    decoder_taps: list[str] = field(default_factory=list)
    interpreter: nn.Module | None = None
    interpreter_taps: list[str] = field(default_factory=list)
    head_layers: tuple[Layer, ...] = ()
    scales: list[Scale] = field(default_factory=list)
    log_mel: str | None = None
    own_reference: Reference | None = None

    @property
    def reference(self) -> Reference:
        """What the graphs are measured against: the source's own, else the modules behind torch.stft."""
        passed = remembering(self.forward_pass)

        def answers(module: nn.Module | None, taps: list[str], waveform: torch.Tensor) -> Any:
            assert module is not None  # noqa: S101 (it is asked for where there is one)
            tensors = passed(waveform)
            return module(*(tensors[name] for name in taps))

        def mask(waveform: torch.Tensor) -> torch.Tensor:
            return answers(self.decoder, self.decoder_taps, waveform)  # type: ignore[no-any-return]

        def kept(waveform: torch.Tensor) -> torch.Tensor:
            return masked(waveform, mask(waveform), self.analysis, self.mask_gain)

        def interpreted(waveform: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return answers(self.interpreter, self.interpreter_taps, waveform)  # type: ignore[no-any-return]

        own = self.own_reference or Reference(lambda waveform: passed(waveform)["logits"])
        return Reference(
            logits=own.logits,
            mask=None if self.decoder is None else own.mask or mask,
            kept=None if self.decoder is None else own.kept or kept,
            interpreted=None if self.interpreter is None else own.interpreted or interpreted,
        )

    @property
    def head(self) -> Head | None:
        """What follows pooling, where it is known. Raises SourceError if the feature map disagrees."""
        spec = self.feature_map
        if spec is None or not (spec.additive or spec.gradient):
            return None
        classes, layers = len(self.labels), self.head_layers
        fits = layers and layers[0].weight.shape[1] == spec.channels and len(layers[-1].weight) == classes
        if not fits or spec.pooling == "other" or Head(layers).linear != spec.additive:
            raise SourceError(
                f"{self.name}: an additive feature map needs mean, max_mean or attention pooling and a head "
                f"weight of [{classes}, {spec.channels}]"
            )
        return Head(layers)

    def fingerprint(self) -> str:
        """sha256 over the classifier's weights and buffers."""
        digest = hashlib.sha256()
        for name, value in sorted(self.classifier.state_dict().items()):
            digest.update(f"{name} {list(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().float().numpy().tobytes())
        return digest.hexdigest()

    @property
    def explainers(self) -> list[str]:
        """Masks, with a decoder; components, with an interpreter."""
        methods = {"mask": self.decoder, "components": self.interpreter}
        return [name for name, module in methods.items() if module is not None]

    def forward_pass(
        self, waveform: torch.Tensor, precision: AbstractContextManager[Any] | None = None
    ) -> dict[str, torch.Tensor]:
        """The modules chained behind torch.stft; `precision` holds for the classifier.

        Waveform [B, N], level applied -> "logits" [B, K], the taps by name, "stft" [B, T, F, 2] and "target"
        [B], the predicted class.
        """
        spectrum = stft(waveform, self.analysis)
        features = spectrum if self.rescore == "spectrogram" else self.frontend(waveform)
        with precision or nullcontext():
            logits, *taps = self.classifier(features)
        tensors = dict(zip(self.taps, taps, strict=True))
        return {**tensors, "logits": logits, "stft": spectrum, "target": logits.argmax(dim=1)}

    def write_stages(self, folder: Path) -> list[StageSpec]:
        """Export every stage into `folder`, in the order of the chain.

        Examples are half a window long; the graphs take any length.
        Raises SourceError where a module cannot be exported.
        """
        from ..graphs.embeddings import write_embeddings
        from ..graphs.torch_export import export_stage

        waveform = _example(self)
        with torch.inference_mode(False), torch.no_grad():
            # A view of a larger tensor would be exported with its strides.
            features = self.frontend.eval()(waveform).contiguous()
            logits = self.classifier.eval()(features)[0]
        classes = len(self.labels)
        if logits.shape[-1] != classes:
            raise SourceError(
                f"{self.name}: the classifier gives {logits.shape[-1]} logits for {classes} labels; "
                "check that label list and weights belong together"
            )
        spectral = self.rescore == "spectrogram"
        feature_name = "stft" if spectral else "features"
        feature_dims: Dims = (
            _stft_dims(self) if spectral else ["batch", *_feature_dims(self, features, waveform)]
        )
        stages = [
            export_stage(
                "frontend",
                self.frontend,
                (waveform,),
                inputs={"waveform": ["batch", "samples"]},
                outputs={feature_name: feature_dims},
                folder=folder,
            ),
            export_stage(
                "classifier",
                self.classifier,
                (features,),
                inputs={feature_name: feature_dims},
                outputs={"logits": ["batch", classes], **self.taps},
                folder=folder,
            ),
            *explaining_stages(self, folder),
        ]
        if self.feature_map is not None:
            stages.append(write_embeddings(folder, self.feature_map, self.taps, self.head, self.apex))
        return stages

    def outputs(self, waveform: FloatArray) -> dict[str, FloatArray]:
        """What the reference answers, by PyTorch's own kernels."""
        reference = self.reference
        wanted = {"logits": reference.logits, "mask": reference.mask, "kept": reference.kept}
        with torch.no_grad(), without_onednn():
            sound = torch.from_numpy(waveform)
            results = {name: call(sound).numpy() for name, call in wanted.items() if call is not None}
            if reference.interpreted is not None:
                names = ("activations", "pooled", "interpreted")
                answers = reference.interpreted(sound)
                results |= {name: answer.numpy() for name, answer in zip(names, answers, strict=True)}
            return results


def without_decoder(source: Source) -> Source:
    """The same source without its decoder: no masks."""
    own = source.own_reference
    return replace(
        source,
        decoder=None,
        decoder_taps=[],
        mask_targets=None,
        own_reference=own and replace(own, mask=None, kept=None),
    )


def without_interpreter(source: Source) -> Source:
    """The same source without its interpreter: no components."""
    own = source.own_reference
    return replace(
        source,
        interpreter=None,
        interpreter_taps=[],
        components=None,
        dictionary={},
        own_reference=own and replace(own, interpreted=None),
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


def explaining_stages(source: Source, folder: Path) -> list[StageSpec]:
    """Export the decoder and the interpreter, which stand behind whatever shows the taps.

    Raises SourceError where a module cannot be exported.
    """
    from ..graphs.torch_export import export_stage

    if source.decoder is None and source.interpreter is None:
        return []
    if source.interpreter is not None and source.components is None:
        raise SourceError(f"{source.name}: has an interpreter, but says nothing of its components")
    with torch.inference_mode(False), torch.no_grad():
        tensors = source.forward_pass(_example(source))
        taps = {name: tensor.contiguous() for name, tensor in tensors.items()}
    dims: dict[str, Dims] = {**source.taps, "stft": _stft_dims(source), "target": ["batch"]}
    count = source.components.count if source.components is not None else 0
    # A tap may be shown without a name for its frames, hence the name of the listenable STFT's.
    masks: dict[str, Dims] = {"mask": ["batch", "frames", dims["stft"][2]]}
    says: dict[str, Dims] = {
        "activations": ["batch", count, "frames"],
        "pooled": ["batch", count],
        "logits": ["batch", len(source.labels)],
    }
    explainers: list[tuple[StageName, nn.Module | None, list[str], dict[str, Dims]]] = [
        ("decoder", source.decoder, source.decoder_taps, masks),
        ("interpreter", source.interpreter, source.interpreter_taps, says),
    ]
    return [
        export_stage(
            name,
            module,
            tuple(taps[one] for one in read),
            inputs={one: dims[one] for one in read},
            outputs=outputs,
            folder=folder,
        )
        for name, module, read, outputs in explainers
        if module is not None
    ]


def _stft_dims(source: Source) -> list[int | str]:
    return ["batch", "frames", source.analysis.n_fft // 2 + 1, 2]


def _example(source: Source) -> torch.Tensor:
    """Noise [2, N]: half a window, and never so short that a dynamic axis has length one."""
    seconds = max(source.window.seconds / 2, 2 * source.window.minimum_seconds)
    whole = samples_of(min(seconds, source.window.seconds), source.sample_rate)
    samples = max(whole, 4 * source.analysis.n_fft)
    return 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(0))


def _feature_dims(source: Source, features: torch.Tensor, waveform: torch.Tensor) -> list[int | str]:
    """Dims after the batch of a front end's own features: those that change with the sound's length."""
    with torch.no_grad():
        shorter = source.frontend(waveform[:, : waveform.shape[1] * 3 // 4])
    if shorter.dim() != features.dim():
        raise SourceError(f"{source.name}: the front end's rank changes with the length of the sound")
    names = iter(["frames", *(f"frames_{n}" for n in range(2, 9))])
    return [a if a == b else next(names) for a, b in zip(features.shape[1:], shorter.shape[1:], strict=True)]
