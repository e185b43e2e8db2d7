"""Where the feature maps of a folder's model are, and how they lie over time and frequency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from ....errors import SourceError
from ...frontends.description import Description
from ...frontends.matrices import mel_matrix
from ..token_grid import TokenGrid
from .config import CLAP, TOKENS, ModelConfig

_AST = "ASTForAudioClassification"


class OutputLayout(Protocol):
    """Lays a module's output out."""

    def feature_map(self, output: torch.Tensor, /) -> torch.Tensor:
        """The output -> [B, C, T', F']."""


@dataclass(frozen=True)
class ImageGrid:
    """An output [B, C, F', T'], as of models of images."""

    def feature_map(self, output: torch.Tensor, /) -> torch.Tensor:
        """[B, C, F', T'] -> [B, C, T', F']."""
        return output.transpose(2, 3)


@dataclass(frozen=True)
class Maps:
    """The maps of a model.

    Attributes:
        grids: Module of the model -> how its output lies; first the map that the scores are made of.
        bands_hz: What each row spans.
        centres_hz: The middle of each row; empty: rows are not told apart.
        step: Samples from one frame of the first map to the next; None: that is measured.

    """

    grids: dict[str, OutputLayout]
    bands_hz: list[tuple[float, float]]
    centres_hz: list[float]
    step: float | None = None


def maps_of(architecture: str, model: nn.Module, config: ModelConfig, description: Description) -> Maps:
    """The maps of a model that was loaded. Raises SourceError where its patches do not fit the features."""
    if architecture == CLAP:
        encoder: Any = model.get_submodule(TOKENS[CLAP])
        # Its image has stretches of the sound above each other.
        count: int = encoder.input_resolutions[-1][0] // encoder.freq_ratio
        height = description.bins // count
        bands, centres = _rows(description, [(row * height, height) for row in range(count)])
        return Maps({TOKENS[CLAP]: ImageGrid()}, bands, centres)
    if architecture != _AST:
        return Maps(
            _with_middle(TOKENS[architecture], TokenGrid(rows=1, order="time", skip=0), model),
            [(0.0, description.sample_rate / 2)],
            [],
        )
    height = config.patch_size if isinstance(config.patch_size, int) else config.patch_size[0]
    count = (description.bins - height) // config.frequency_stride + 1
    if count < 1:
        raise SourceError(f"patch_size {height} is more than the {description.bins} bands of the features")
    bands, centres = _rows(description, [(row * config.frequency_stride, height) for row in range(count)])
    # Two tokens of classes, then the patches, the lowest row's first.
    grid = TokenGrid(rows=count, order="frequency", skip=2)
    hop = None if description.stft is None else description.stft.hop
    stack, count = _layers(model)
    tokens = f"{stack}.{count - 1}.{TOKENS[_AST]}"
    return Maps(_with_middle(tokens, grid, model), bands, centres, hop and float(config.time_stride * hop))


def _layers(model: nn.Module) -> tuple[str, int]:
    """The name of the encoder's layers, and their number; ("", 0) where there are none."""
    stacks = {
        name: len(module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and name.rpartition(".")[2] in {"layer", "layers"}
    }
    return max(stacks.items(), key=lambda one: one[1], default=("", 0))


def _with_middle(tokens: str, grid: OutputLayout, model: nn.Module) -> dict[str, OutputLayout]:
    """These tokens, and those of the layer in the middle of the encoder, where it has two or more."""
    stack, count = _layers(model)
    return {tokens: grid} if count < 2 else {tokens: grid, f"{stack}.{count // 2 - 1}": grid}


def _rows(
    description: Description, parts: list[tuple[int, int]]
) -> tuple[list[tuple[float, float]], list[float]]:
    """What rows of (first, number of) mel bands span in Hz, and their centres."""
    bank = mel_matrix(description)
    width = description.sample_rate / (1 if description.stft is None else description.stft.n_fft)
    spans, centres = [], []
    for first, height in parts:
        weights = bank[:, first : first + height].sum(axis=1)
        inside = np.flatnonzero(weights)
        spans.append((float(inside[0] * width), float(inside[-1] * width)))
        centres.append(float((weights * np.arange(len(weights))).sum() / weights.sum() * width))
    return spans, centres
