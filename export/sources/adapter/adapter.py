"""Source `module:factory`: a small adapter around any torch.nn.Module."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ....errors import SourceError
from ....runtime.audio.lengths import samples_at_least, samples_of
from ....runtime.bundle.manifest import (
    Aggregation,
    AnalysisSpec,
    FeatureMapSpec,
    Level,
    MaskGain,
    WindowSpec,
    aggregate_of,
)
from ...graphs.heads import Head, Layer
from ...graphs.stft import StftFrontend
from ...source.source import Reference, Source
from .head import head_layers
from .original import check_original
from .tokens import TokenGrid, check_impulses, check_tokens, read_of


@dataclass
class Adapter:
    """What export must know of a model: front end, feature map, head, and their meaning.

    The model is cut in three, each an `nn.Module` that torch.export can trace: waveform or STFT -> features,
    features -> feature map Z, Z -> logits. What is said of it is checked on sound when it is exported.

    Attributes:
        name: Name of the bundle.
        labels: The K classes, in the order of the logits.
        sample_rate: Of the waveforms that the model takes, in Hz.
        front_end: What the model does before its first layer. With `rescore` "spectrogram": STFT [B, T, F, 2]
            of `analysis` -> features, such as log-mel [B, T, M]; with "waveform": waveform [B, N] ->
            features. It must not change the level of the sound.
        feature_map: Features -> Z [B, C, T', F'], the map right before pooling. Where it has no frequency
            axis, add one of size 1.
        head: Z -> logits [B, K].
        analysis: The STFT that masks lie over; with `rescore` "spectrogram" the model's own.
        window_seconds: Longest sound that the model takes at once; longer sound is cut into windows.
        hop_seconds: From one window to the next; None: half a window.
        minimum_seconds: Shortest sound that the model takes; shorter sound is zero-padded.
        rescore: Where a masked sound can re-enter the model: as "spectrogram" or as "waveform".
        task: "single_label" (scores by softmax) or "multi_label" (by sigmoid).
        aggregate: How the scores of windows are joined, "mean" or "max"; None: "max" where several labels may
            hold, else "mean".
        level: The gain of the model's own pipeline, applied once, outside of the graphs: "none", "peak"
            (divide by the largest absolute sample), "signed_peak" (by the largest sample) or "unit_variance"
            (by the standard deviation; the front end subtracts the mean).
        original: The model's pipeline as you run it, waveform [B, N] at its level -> logits [B, K]: your
            library's front end and the model uncut. The graphs are measured against it, so that a front end
            that is described wrongly is refused. None: they are measured against these parts alone.
        decoder: (Z, features) -> mask [B, T, F] in 0..1 over the STFT of `analysis`, with T as in features
            [B, T, M]. None: no masks.
        mask_targets: Which classes the decoder makes masks for: the "predicted" one or "any".
        mask_gain: What the decoder's mask multiplies: "linear" the magnitude, "floored" the magnitude, by a
            tenth of the largest M at least (cleaner to listen to), "log" its logarithm.
        linear: The head's last layer, where the head is `linear(pool(Z))`: then the contributions of channels
            add up to the logit. It is checked against the head.
        network: In place of `linear`, a Sequential of Linear, ReLU, Tanh, GELU and Dropout: contributions are
            gradient x activation, which does not add up, and labelled so. With neither of the two, channels
            say where, not how much.
        pooling: How Z becomes the input of `linear` or `network`: "mean" over the map, "max_mean" (max_t +
            mean_t of the mean over frequency), "attention" (a weighted sum), or "other".
        attention: Z -> the weights of attention pooling, [B, T', F'] or a map for each class [B, K, T', F'],
            0 or more, of sum 1.
        tokens: For transformers, how the tokens [B, N, D] that `feature_map` then gives lie over time and
            frequency. Z is made of them; `head` takes them as they are. It is checked with impulses.
        scales: Names of submodules of `feature_map`, such as "block2" or "layers.3", whose outputs
            [B, C, T', F'] (with `tokens`, also [B, N, D]) are feature maps, too; a decoder that `earmark
            train lmac` trains reads them.
        frame_seconds: From one cell of Z to the next in time; None: the bundle has no prototypes.
        bands_hz: (low, high) of each row of Z in Hz; None: the bundle has no prototypes.
        description: What the model is, for the bundle's card.
        licence: Licence of the weights.
        attribution: Whom to credit.

    Examples:
        In `my_model.py`, exported with `earmark export my_model:adapter -o bundle` or with
        `export_bundle(adapter(), "bundle")`:

            def adapter():
                model = MyNet.load("weights.pt").eval()
                return Adapter(
                    name="birds", labels=["wren", "robin"], sample_rate=16000,
                    analysis=AnalysisSpec(n_fft=512, window_length=400, hop=160, window="hann"),
                    front_end=LogMel(), feature_map=model.features, head=model.head,
                    window_seconds=5.0, frame_seconds=0.08,
                    bands_hz=[(0, 2000), (2000, 4000), (4000, 6000), (6000, 8000)],
                )

    """

    name: str
    labels: list[str]
    sample_rate: int
    front_end: nn.Module
    feature_map: nn.Module
    head: nn.Module
    analysis: AnalysisSpec
    window_seconds: float
    hop_seconds: float | None = None
    minimum_seconds: float = 0.0
    rescore: Literal["spectrogram", "waveform"] = "spectrogram"
    task: Literal["single_label", "multi_label"] = "single_label"
    aggregate: Aggregation | None = None
    level: Level = "none"
    original: Callable[[torch.Tensor], torch.Tensor] | None = None
    decoder: nn.Module | None = None
    mask_targets: Literal["predicted", "any"] = "predicted"
    mask_gain: MaskGain = "log"
    linear: nn.Linear | None = None
    network: nn.Sequential | None = None
    pooling: Literal["mean", "max_mean", "attention", "other"] = "other"
    attention: nn.Module | None = None
    tokens: TokenGrid | None = None
    scales: list[str] = field(default_factory=list)
    frame_seconds: float | None = None
    bands_hz: list[tuple[float, float]] | None = None
    description: str = ""
    licence: str = ""
    attribution: str = ""


class _Classifier(nn.Module):
    """features or STFT -> (logits, Z[, attention][, features], further scales)."""

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        self.front_end = adapter.front_end if adapter.rescore == "spectrogram" else nn.Identity()
        self.feature_map = adapter.feature_map
        self.head = adapter.head
        self.attention = adapter.attention
        self.tokens = adapter.tokens
        # With a waveform front end the features are an input already, but the decoder reads taps.
        self.give_features = adapter.decoder is not None
        self.scales = list(adapter.scales)
        self._seen: dict[str, torch.Tensor] = {}
        for name in self.scales:
            self.feature_map.get_submodule(name).register_forward_hook(self._keeping(name))

    def _keeping(self, name: str) -> Callable[[nn.Module, object, Any], None]:
        def keep(_module: nn.Module, _inputs: object, output: Any) -> None:
            # A transformer's layer gives its tokens, or a tuple that begins with them.
            shown = output[0] if isinstance(output, tuple) else output
            self._seen[name] = (
                self.tokens.feature_map(shown) if self.tokens is not None and shown.dim() == 3 else shown
            )

        return keep

    def forward(self, entry: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.front_end(entry)
        result = self.feature_map(features)
        logits = self.head(result)
        z = result if self.tokens is None else self.tokens.feature_map(result)
        shown = [z] if self.attention is None else [z, self.attention(z)]
        if self.give_features:
            # A tap may not be the graph's input itself, hence the addition of nothing.
            shown.append(features + 0.0)
        seen = tuple(self._seen.pop(name) for name in self.scales)
        return (logits, *shown, *seen)


def load(text: str) -> Source:
    """Import `module:factory`, call it and wrap the `Adapter` it returns.

    The module is looked for in the working directory too. Raises SourceError where module, factory
    or adapter are not what they should be.
    """
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        result = _made(text)
    finally:
        if added:
            sys.path.remove(here)
    return from_adapter(result, text)


def _made(text: str) -> object:
    """What the factory that `text` names returns. Raises SourceError."""
    module_name, _, attribute = text.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise SourceError(
            f"{text}: module {module_name!r} cannot be imported ({error}); "
            "run from its folder or set PYTHONPATH"
        ) from error
    factory: Callable[[], object] | None = getattr(module, attribute, None)
    if not callable(factory):
        raise SourceError(
            f"{text}: {module_name!r} has no function {attribute!r}; name one that returns an Adapter"
        )
    try:
        return factory()
    except Exception as error:
        # Whatever a stranger's function raises, the user wants to know that it was theirs.
        raise SourceError(
            f"{text}: the factory failed ({type(error).__name__}: {_line(error)}); mend it"
        ) from error


def from_adapter(adapter: object, origin: str = "factory") -> Source:
    """Check an `Adapter` on a probe sound and make the `Source` of it. Raises SourceError."""
    if not isinstance(adapter, Adapter):
        raise SourceError(f"{origin}: gave {type(adapter).__name__}; return an earmark.export.Adapter")
    if not adapter.labels:
        raise SourceError(f"{origin}: the adapter has no labels; give them in the order of the logits")
    spectral = adapter.rescore == "spectrogram"
    frontend = StftFrontend(adapter.analysis) if spectral else adapter.front_end.eval()
    try:
        classifier = _Classifier(adapter).eval()
    except AttributeError as error:
        raise SourceError(f"{origin}: scales: {_line(error)}; name submodules of the feature map") from error
    decoder = adapter.decoder.eval() if adapter.decoder is not None else None
    taps, answers = _probe(adapter, frontend, classifier, origin)
    _check_logits(adapter, frontend, classifier, answers["logits"], origin)
    if adapter.original is not None:
        samples = samples_of(adapter.window_seconds, adapter.sample_rate)
        check_original(
            adapter.original, lambda wave: classifier(frontend(wave))[0], samples, adapter.sample_rate, origin
        )
    z = answers["feature_map"]
    layers = head_layers(
        adapter.linear,
        adapter.network,
        adapter.pooling,
        z=z,
        weights=answers.get("attention"),
        logits=answers["logits"],
        origin=origin,
    )
    return Source(
        name=adapter.name,
        labels=list(adapter.labels),
        task=adapter.task,
        sample_rate=adapter.sample_rate,
        window=WindowSpec(
            seconds=adapter.window_seconds,
            hop_seconds=adapter.hop_seconds or adapter.window_seconds / 2,
            minimum_seconds=adapter.minimum_seconds,
            aggregate=adapter.aggregate or aggregate_of(adapter.task),
        ),
        analysis=adapter.analysis,
        frontend=frontend,
        classifier=classifier,
        taps=taps,
        own_reference=None if adapter.original is None else Reference(adapter.original),
        rescore=adapter.rescore,
        level=adapter.level,
        decoder=decoder,
        decoder_taps=["feature_map", "spectrum"] if decoder is not None else [],
        mask_targets=adapter.mask_targets if decoder is not None else None,
        mask_gain=adapter.mask_gain,
        feature_map=_feature_map(adapter, z, layers, origin),
        head_layers=layers,
        description=adapter.description,
        licence=adapter.licence,
        attribution=adapter.attribution,
        doubts=_doubts(adapter, frontend, classifier),
    )


def _doubts(adapter: Adapter, frontend: nn.Module, classifier: _Classifier) -> tuple[str, ...]:
    """What its user should know of the feature map."""
    if adapter.tokens is None:
        return ()
    noise = 0.1 * torch.randn(1, samples_of(adapter.window_seconds, adapter.sample_rate))
    with torch.no_grad():
        tokens = classifier.feature_map(classifier.front_end(frontend(noise)))
    if read_of(adapter.tokens, tokens, classifier.head):
        return ()
    return (
        "the logits do not depend on the tokens of the feature map that have a place, so prototypes tell "
        "nothing of them; let feature_map end before the last layer, and head begin with it",
    )


def _probe(
    adapter: Adapter, frontend: nn.Module, classifier: _Classifier, origin: str
) -> tuple[dict[str, list[int | str]], dict[str, torch.Tensor]]:
    """Run two lengths of noise: the taps' dims (what changes with length is named), the longer's answers."""
    samples = samples_of(adapter.window_seconds, adapter.sample_rate)
    generator = torch.Generator().manual_seed(1)
    noise = 0.1 * torch.randn(2, samples, generator=generator)
    try:
        with torch.no_grad():
            if adapter.tokens is not None:
                _check_token_grid(adapter, adapter.tokens, frontend(noise[:1]), origin)
            long = classifier(frontend(noise))
            least = samples_at_least(adapter.minimum_seconds, adapter.sample_rate)
            short = classifier(frontend(noise[:, : max(samples * 3 // 4, least)]))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise SourceError(f"{origin}: the adapter's modules do not fit together: {_line(error)}") from error
    logits, z = long[0], long[1]
    if logits.dim() != 2 or logits.shape[1] != len(adapter.labels):
        raise SourceError(f"{origin}: logits of shape {list(logits.shape)}, but {len(adapter.labels)} labels")
    if z.dim() != 4:
        raise SourceError(f"{origin}: the feature map has shape {list(z.shape)}; [B, C, T', F'] is needed")
    attention = ["attention"] * (adapter.attention is not None)
    names = ["feature_map"] + attention + ["spectrum"] * classifier.give_features + adapter.scales
    count = len(adapter.scales)
    for name, seen in zip(adapter.scales, long[len(long) - count :], strict=True):
        if seen.dim() != 4:
            raise SourceError(
                f"{origin}: scale {name!r} has shape {list(seen.shape)}; [B, C, T', F'] is needed"
            )
    names = [name.replace(".", "_") for name in names]
    taps: dict[str, list[int | str]] = {}
    for name, one, other in zip(names, long[1:], short[1:], strict=False):
        known = {"spectrum": "frames", "feature_map": "frames_z", "attention": "frames_z"}
        suffix = known.get(name, f"frames_{name}")
        taps[name] = ["batch"]
        for axis, (a, b) in enumerate(zip(one.shape[1:], other.shape[1:], strict=True)):
            taps[name].append(a if a == b else suffix if suffix not in taps[name] else f"{suffix}_{axis}")
    return taps, dict(zip(["logits", *names], long, strict=True))


def _check_logits(
    adapter: Adapter, frontend: nn.Module, classifier: _Classifier, logits: torch.Tensor, origin: str
) -> None:
    """The head gives logits. Raises SourceError where it gives probabilities."""
    bent = False
    if bool(((logits >= 0) & (logits <= 1)).all()):
        last = [module for module in adapter.head.modules() if not list(module.children())][-1:]
        # Logits of a map a thousand times as strong, either way, leave 0..1; probabilities do not.
        noise = 0.1 * torch.randn(1, samples_of(adapter.window_seconds, adapter.sample_rate))
        with torch.no_grad():
            result = classifier.feature_map(classifier.front_end(frontend(noise)))
            stronger = torch.cat([classifier.head(factor * result) for factor in (1e3, -1e3)])
        within = bool(((stronger >= 0) & (stronger <= 1)).all())
        bent = isinstance(last[0], (nn.Sigmoid, nn.Softmax)) or within
    if bent:
        raise SourceError(
            f"{origin}: the head gives probabilities; leave its last sigmoid or softmax out and give logits "
            '(task "multi_label" for a sigmoid, "single_label" for a softmax)'
        )
    total = logits.exp().sum(dim=1)
    if adapter.task == "multi_label" and logits.shape[1] > 1 and bool(((total - 1).abs() < 1e-3).all()):
        raise SourceError(
            f"{origin}: the head gives logarithms of probabilities of which one label holds; give task "
            '"single_label", or logits'
        )


def _check_token_grid(adapter: Adapter, grid: TokenGrid, entry: torch.Tensor, origin: str) -> None:
    """Tokens lie where the adapter says. Raises SourceError."""
    features = adapter.front_end(entry) if adapter.rescore == "spectrogram" else entry
    body = adapter.feature_map.eval()
    check_tokens(grid, body(features), origin)
    check_impulses(grid, body, features, origin)


def _feature_map(
    adapter: Adapter, z: torch.Tensor, layers: tuple[Layer, ...], origin: str
) -> FeatureMapSpec | None:
    """Where the cells of Z lie, if the adapter says."""
    if adapter.frame_seconds is None or adapter.bands_hz is None:
        return None
    if len(adapter.bands_hz) != z.shape[3]:
        raise SourceError(
            f"{origin}: {len(adapter.bands_hz)} bands_hz for {z.shape[3]} rows of the feature map"
        )
    return FeatureMapSpec(
        tap="feature_map",
        channels=z.shape[1],
        frame_seconds=adapter.frame_seconds,
        bands_hz=[(float(low), float(high)) for low, high in adapter.bands_hz],
        pooling=adapter.pooling,
        attention="attention" if adapter.attention is not None and layers else None,
        additive=bool(layers) and Head(layers).linear,
        gradient=bool(layers) and not Head(layers).linear,
    )


def _line(error: Exception) -> str:
    """The first line of an error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
