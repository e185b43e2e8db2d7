"""What export must know of any torch.nn.Module: the adapter that its user writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from ....runtime.bundle.manifest import Aggregation, AnalysisSpec, Level, MaskGain
from ..token_grid import TokenGrid


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
