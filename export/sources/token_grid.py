"""How a transformer's tokens lie over time and frequency. Never torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch


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


def fits(grid: TokenGrid, tokens: int) -> bool:
    """Whether so many tokens are whole rows of a grid."""
    count = tokens - grid.skip
    return grid.rows >= 1 and grid.skip >= 0 and count >= 1 and count % grid.rows == 0
