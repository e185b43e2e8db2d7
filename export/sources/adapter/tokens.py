"""A transformer's tokens as a feature map: their order is declared, and checked with impulses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from ....errors import SourceError

# Places tried along either axis, as parts of it; the change is so many standard deviations of the features.
_PLACES = (0.15, 0.4, 0.65, 0.9)
_IMPULSE = 4.0
# Part of the impulses that must be found in their cell or next to it.
_FOUND = 0.75


@dataclass(frozen=True)
class TokenGrid:
    """How tokens [B, N, D] lie over time and frequency: N - skip = T' F'.

    Attributes:
        rows: Rows of frequency F'; 1 where tokens are frames.
        order: The axis that varies slowest: "frequency" where the first T' tokens are the lowest row's (as in
            AST), "time" where the first F' tokens are the first frame's.
        skip: Tokens in front that stand for no place, such as a class and a distillation token.

    Examples:
        >>> grid = TokenGrid(rows=12, skip=2)  # AST: 2 + 12 x 101 tokens

    """

    rows: int
    order: Literal["frequency", "time"] = "frequency"
    skip: int = 1

    def feature_map(self, tokens: torch.Tensor) -> torch.Tensor:
        """Lay tokens out.

        Args:
            tokens: [B, N, D].

        Returns:
            The feature map Z [B, D, T', F'].

        """
        placed = tokens[:, self.skip :]
        if self.order == "frequency":
            return placed.reshape(placed.shape[0], self.rows, -1, placed.shape[2]).permute(0, 3, 2, 1)
        return placed.reshape(placed.shape[0], -1, self.rows, placed.shape[2]).permute(0, 3, 1, 2)


def doubts_of(
    grid: TokenGrid, model: nn.Module, head: nn.Module, features: torch.Tensor, origin: str
) -> tuple[str, ...]:
    """Hold the grid against the tokens of some sound, and say what its user should know.

    model: features -> tokens; features: of some sound [1, ...]; head: tokens -> logits
    Raises SourceError where tokens do not lie as the grid says.
    """
    tokens = model(features)
    check_tokens(grid, tokens, origin)
    check_impulses(grid, model, features, origin)
    if read_of(grid, tokens, head):
        return ()
    return (
        "the logits do not depend on the tokens of the feature map that have a place, so prototypes tell "
        "nothing of them; let feature_map end before the last layer, and head begin with it",
    )


def check_tokens(grid: TokenGrid, tokens: torch.Tensor, origin: str) -> None:
    """Raise SourceError where tokens [B, N, D] cannot lie in such a grid."""
    if tokens.dim() != 3:
        raise SourceError(f"{origin}: tokens of shape {list(tokens.shape)}; [B, N, D] is needed")
    count = tokens.shape[1] - grid.skip
    if grid.rows < 1 or grid.skip < 0 or count < 1 or count % grid.rows:
        raise SourceError(
            f"{origin}: {tokens.shape[1]} tokens but {grid.skip} are no whole number of {grid.rows} rows; "
            "correct skip and rows"
        )


def read_of(grid: TokenGrid, tokens: torch.Tensor, head: nn.Module) -> bool:
    """Whether the head's logits depend on any of the tokens [B, N, D] that have a place.

    Of a transformer's last tokens a class token alone may be read.
    """
    given = tokens.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(head(given).square().sum(), given)
    return bool(grid.feature_map(gradient).any())


@torch.no_grad()
def check_impulses(grid: TokenGrid, model: nn.Module, features: torch.Tensor, origin: str) -> None:
    """Change the features in one cell after another and see which token moves most.

    model: features -> tokens; features: [1, T, M] of some sound, [1, 1, T, M], or [1, N] samples
    Raises SourceError unless at least three in four impulses move the token of their own place or one next
    to it, and none of the axes is shifted on the whole.
    """
    before = grid.feature_map(model(features))
    frames, rows = before.shape[2:]
    step = _IMPULSE * max(float(features.std()), 1e-6)
    offsets, expected = [], []
    for frame in sorted({int(part * frames) for part in _PLACES}):
        for row in sorted({int(part * rows) for part in _PLACES}):
            changed = features.clone()
            _cell(changed, frame / frames, (frame + 1) / frames, row / rows, (row + 1) / rows).add_(step)
            moved = (grid.feature_map(model(changed)) - before).square().sum(dim=1)[0]
            nearest = np.unravel_index(int(moved.argmax()), (frames, rows))
            expected.append((frame, row))
            offsets.append((int(nearest[0]) - frame, int(nearest[1]) - row))
    away = np.abs(np.array(offsets)).max(axis=1)
    shift = np.median(np.array(offsets), axis=0)
    if (away <= 1).mean() >= _FOUND and np.abs(shift).max() < 1:
        return
    worst = int(away.argmax())
    frame, row = expected[worst]
    raise SourceError(
        f"{origin}: {int((away <= 1).sum())} of {len(away)} impulses were found at their place; one in frame "
        f"{frame}, row {row} moved most the token of frame {frame + offsets[worst][0]}, row "
        f"{row + offsets[worst][1]}; correct rows, order and skip of the tokens"
    )


def _cell(features: torch.Tensor, start: float, end: float, low: float, high: float) -> torch.Tensor:
    """The part of the features at that part of time (and frequency, where they have it), as a view."""
    length = features.shape[-2] if features.dim() > 2 else features.shape[-1]
    first = int(start * length)
    frames = slice(first, max(first + 1, int(end * length)))
    if features.dim() == 2:
        return features[:, frames]
    bins = features.shape[-1]
    lowest = int(low * bins)
    return features[..., frames, lowest : max(lowest + 1, int(high * bins))]
