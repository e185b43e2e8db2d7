"""A transformer's tokens as a feature map: their order is declared, and checked with impulses."""

from __future__ import annotations

import torch
from torch import nn

from ....errors import SourceError
from ....runtime.values.arrays import FloatArray
from ..impulses import Cell, misplaced
from ..token_grid import TokenGrid


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
    if not grid.fits(tokens.shape[1]):
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
    axes = (1, None) if features.dim() == 2 else (features.dim() - 2, features.dim() - 1)

    def map_with(cell: Cell | None) -> FloatArray:
        changed = features if cell is None else torch.from_numpy(cell.added(features.numpy(), *axes))
        laid_out: FloatArray = grid.feature_map(model(changed))[0].numpy()
        return laid_out

    wrong = misplaced(map_with, rows=True, around=False)
    if wrong is not None:
        raise SourceError(f"{origin}: {wrong}; correct rows, order and skip of the tokens")
