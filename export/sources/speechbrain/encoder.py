"""Source: a folder of a SpeechBrain EncoderClassifier with ECAPA-TDNN or Xvector.

    <folder>/hyperparams.yaml         compute_features, mean_var_norm, embedding_model, classifier
    <folder>/[save/]...               label list and weights, as in folder.py; a Pretrainer's paths name them

Features are Fbank's, less each band's mean over the sound. What the classifier's log-softmax is of are the
logits; ECAPA's are cosines, which its training multiplies by a scale before the softmax.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ....errors import SourceError
from ....runtime.bundle.manifest import AnalysisSpec, FeatureMapSpec, WindowSpec
from ...graphs.stft import StftFrontend
from ...models.scales import Scale
from ...source.source import Source
from ..state_dicts import State, fill, read_state
from .ecapa import Ecapa
from .files import ModelFiles
from .filterbank import Filterbank, FilterbankDefaults, read_spectrum
from .heads import CosineHead, head_of
from .hyperparams import TAG, Hyperparams
from .labels import read_labels
from .layers import Activation, longest_reach
from .xvector import Xvector

_FEATURES, _NORM, _BODY, _HEAD = "compute_features", "mean_var_norm", "embedding_model", "classifier"
_ENCODERS = ("ECAPA_TDNN", "Xvector")
_ACTIVATIONS: dict[str, Activation] = {
    "ReLU": torch.relu,
    "LeakyReLU": nn.functional.leaky_relu,
    "GELU": nn.functional.gelu,
    "Tanh": torch.tanh,
}
_WINDOW_SECONDS = 10.0
# Of the additive margin softmax in SpeechBrain's recipes.
_SCALE = 30.0
# Filterbank's: the smallest power, and how far below the sound's loudest band values may lie.
_FLOOR, _RANGE = 1e-10, 80.0
_USUAL = FilterbankDefaults(n_fft=400, win_length=25, hop_length=10, n_mels=40)
_DILATIONS = {"ECAPA_TDNN": [1, 2, 3, 4, 1], "Xvector": [1, 2, 3, 1, 1]}


@dataclass(frozen=True)
class Features:
    """What Fbank and InputNormalization are told.

    deviation: whether bands are divided by their deviation over the sound, too
    """

    bank: Filterbank
    analysis: AnalysisSpec
    deviation: bool


class EncoderClassifier(nn.Module):
    """STFT [B, T, F, 2] -> (logits [B, K], Z [B, C, T, 1], a map in the middle [B, C', T, 1])."""

    def __init__(self, features: Features, body: Ecapa | Xvector, head: nn.Module) -> None:
        super().__init__()
        self.deviation, self.body, self.head = features.deviation, body, head
        self.bank: Tensor
        self.register_buffer("bank", features.bank.matrix(), persistent=False)

    def forward(self, stft: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        decibel = 10.0 * torch.log10((stft.square().sum(dim=3) @ self.bank).clamp(min=_FLOOR))
        decibel = torch.maximum(decibel, decibel.amax(dim=(1, 2), keepdim=True) - _RANGE)
        x = decibel - decibel.mean(dim=1, keepdim=True)
        if self.deviation:
            x = x / torch.sqrt(x.square().mean(dim=1, keepdim=True).clamp(min=1e-20))
        embedding, z, middle = self.body(x)
        return self.head(embedding), z.unsqueeze(3), middle.unsqueeze(3)


def is_encoder(files: ModelFiles) -> bool:
    """Whether the folder's embedding model is one of those known here."""
    return _kind(files.hyperparams) in _ENCODERS


def load(files: ModelFiles) -> Source:
    """Read the folder. Raises SourceError naming file and key for whatever is missing or does not fit."""
    values = files.hyperparams
    features = _features(values)
    labels = read_labels(files.labels)
    body = _body(files, features.bank.n_mels)
    head_state = read_state(files.head, "classifier")
    scale = _scale(values)
    head = head_of(head_state, files.head, _activation(values, _HEAD, "LeakyReLU"), scale or _SCALE)
    rate, analysis = features.bank.sample_rate, features.analysis
    classifier = EncoderClassifier(features, body, head).eval()
    least = max(1, longest_reach(body)) * analysis.hop
    seconds = values.number("sentence_len", _WINDOW_SECONDS)
    frontend = StftFrontend(analysis)
    _check(classifier, frontend(torch.ones(1, 4 * least)), labels, files)
    step = analysis.hop / rate
    maps = {"feature_map": body.channels, "middle": body.middle_channels}
    return Source(
        name=files.folder.resolve().name,
        labels=labels,
        task="single_label",
        sample_rate=rate,
        window=WindowSpec.usual(seconds, least / rate, "single_label"),
        analysis=analysis,
        frontend=frontend,
        classifier=classifier,
        taps={name: ["batch", channels, "frames", 1] for name, channels in maps.items()},
        feature_map=FeatureMapSpec(
            tap="feature_map",
            channels=body.channels,
            frame_seconds=step,
            bands_hz=[(0.0, rate / 2)],
            pooling="other",
            additive=False,
        ),
        scales=[
            Scale(tap=name, channels=channels, rows=1, stride=1, hz=[]) for name, channels in maps.items()
        ],
        description=f"{_kind(values)} from a folder of a SpeechBrain EncoderClassifier.",
        doubts=tuple(_doubts(values, head, scale)),
    )


def _kind(values: Hyperparams) -> str:
    """The class of the embedding model, without its module."""
    return (values.tag(_BODY) or "").rpartition(".")[2]


def _features(values: Hyperparams) -> Features:
    """Settings with SpeechBrain's defaults; what is not implemented here is refused by name."""
    kind = (values.tag(_FEATURES) or "Fbank").rpartition(".")[2]
    if kind != "Fbank":
        raise SourceError(
            f"{values.path}: {_FEATURES} is {kind}; Fbank is known here; write an Adapter around the model "
            "(docs/adapters.md)"
        )
    only: list[tuple[str, str | None, object]] = [
        ("deltas", _FEATURES, False),
        ("context", _FEATURES, False),
        ("filter_shape", _FEATURES, "triangular"),
        ("norm_type", _NORM, "sentence"),
        ("global_context", _BODY, True),
    ]
    values.fixed(only, {"norm_type": "global"})
    rate = values.integer("sample_rate", 16000, of=_FEATURES)
    bank, analysis = read_spectrum(values, _USUAL, stft=_FEATURES, bank=_FEATURES, rate=rate)
    return Features(bank, analysis, values.get("std_norm", True, of=_NORM) is not False)


def _body(files: ModelFiles, n_mels: int) -> Ecapa | Xvector:
    """The embedding model with the checkpoint's widths."""
    values, path = files.hyperparams, files.body
    kind = _kind(values)
    state: State = read_state(path, "embedding model")
    activation = _activation(values, _BODY, "ReLU" if kind == "ECAPA_TDNN" else "LeakyReLU")
    own = "dilations" if kind == "ECAPA_TDNN" else "tdnn_dilations"
    dilations = _numbers(values, own, _DILATIONS[kind])
    try:
        with torch.device("meta"):
            body: Ecapa | Xvector
            if kind == "ECAPA_TDNN":
                body = Ecapa(state, dilations, _numbers(values, "groups", [1] * len(dilations)), activation)
            else:
                body = Xvector(state, dilations, activation)
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise SourceError(
            f"{path}: the embedding model is not the {kind} of {values.path.name} ({error}): its keys begin "
            f"with {sorted(state)[:3]}; were other weights saved?"
        ) from error
    body = fill(body, state, path, "embedding model")
    if body.bands != n_mels:
        raise SourceError(
            f"{path}: the embedding model takes {body.bands} bands, but {values.path.name} says n_mels "
            f"{n_mels}; they must belong together"
        )
    return body


def _numbers(values: Hyperparams, key: str, default: list[int]) -> list[int]:
    """A list of whole numbers of the embedding model. Raises SourceError where it is none."""
    given = values.get(key, default, of=_BODY)
    if not isinstance(given, list) or not all(type(number) is int and number > 0 for number in given):
        raise SourceError(f"{values.path}: {key} should be a list of whole numbers, but is {given!r}")
    return given


def _activation(values: Hyperparams, owner: str, default: str) -> Activation:
    """The activation that `owner` is told. Raises SourceError where it is not known here."""
    given = values.get("activation", None, of=owner)
    if given is None:
        return _ACTIVATIONS[default]
    plain = isinstance(given, Mapping) and not any(value for key, value in given.items() if key != TAG)
    name = str(given[TAG]).rpartition(".")[2] if plain and TAG in given else ""
    if name not in _ACTIVATIONS:
        raise SourceError(
            f"{values.path}: activation of {owner} is {given!r}; known here are "
            f"{', '.join(_ACTIVATIONS)} with their own settings"
        )
    return _ACTIVATIONS[name]


def _scale(values: Hyperparams) -> float | None:
    """What the training multiplied cosines by; None where the settings do not say."""
    cost = values.values.get("compute_cost")
    loss = cost.get("loss_fn") if isinstance(cost, dict) else None
    scale = loss.get("scale") if isinstance(loss, dict) else None
    return float(scale) if isinstance(scale, int | float) and scale > 0 else None


@torch.no_grad()
def _check(classifier: EncoderClassifier, spectrum: Tensor, labels: Sequence[str], files: ModelFiles) -> None:
    """The parts fit together, and to the labels. Raises SourceError."""
    try:
        logits = classifier(spectrum)[0]
    except RuntimeError as error:
        raise SourceError(
            f"{files.head}: the classifier does not take the embeddings of {files.body.name} "
            f"({str(error).splitlines()[0]}); they must belong together"
        ) from error
    if logits.shape[1] != len(labels):
        raise SourceError(
            f"{files.head}: the classifier gives {logits.shape[1]} scores, but {files.labels.name} has "
            f"{len(labels)} labels; they must belong together"
        )


def _doubts(values: Hyperparams, head: nn.Module, scale: float | None) -> list[str]:
    doubts = []
    if "sentence_len" not in values.values:
        doubts.append(
            f"hyperparams.yaml does not say how long the sounds of the training were: windows have "
            f"{_WINDOW_SECONDS:g} s, unless --window says otherwise"
        )
    if isinstance(head, CosineHead) and scale is None:
        doubts.append(
            f"logits are cosines times {_SCALE:g}, the scale of SpeechBrain's recipes: hyperparams.yaml does "
            "not say which scale the training had"
        )
    return doubts
