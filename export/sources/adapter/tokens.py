"""A transformer's tokens as a feature map: their order is declared, and checked with impulses."""

from __future__ import annotations

import torch

from ....errors import SourceError
from ....runtime.values.arrays import FloatArray
from ..impulses import SoundCell, misplaced
from ..token_grid import fits
from .adapter import Adapter
from .classifier import AdaptedClassifier


def doubts_of(
    adapter: Adapter,
    frontend: torch.nn.Module,
    classifier: AdaptedClassifier,
    noise: torch.Tensor,
    origin: str,
) -> tuple[str, ...]:
    """What the user should know of the adapter's grid, where it has one, by the tokens of noise [1, N].

    The features are changed in one cell after another: at least three in four impulses must move most the
    token of their own place or one next to it, and none of the axes may be shifted on the whole.
    Raises SourceError where tokens do not lie as the grid says.
    """
    grid = adapter.tokens
    if grid is None:
        return ()
    features = classifier.front_end(frontend(noise))
    tokens = adapter.feature_map(features)
    if tokens.dim() != 3:
        raise SourceError(f"{origin}: tokens of shape {list(tokens.shape)}; [B, N, D] is needed")
    if not fits(grid, tokens.shape[1]):
        raise SourceError(
            f"{origin}: {tokens.shape[1]} tokens but {grid.skip} are no whole number of {grid.rows} rows; "
            "correct skip and rows"
        )
    # Features are [1, T, M], [1, 1, T, M] or [1, N] samples.
    axes = (1, None) if features.dim() == 2 else (features.dim() - 2, features.dim() - 1)

    def map_with(cell: SoundCell | None) -> FloatArray:
        changed = features if cell is None else torch.from_numpy(cell.added(features.numpy(), *axes))
        laid_out: FloatArray = grid.feature_map(adapter.feature_map(changed))[0].numpy()
        return laid_out

    wrong = misplaced(map_with, rows=True, around=False)
    if wrong is not None:
        raise SourceError(f"{origin}: {wrong}; correct rows, order and skip of the tokens")
    # Of a transformer's last tokens a class token alone may be read.
    given = tokens.detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(classifier.head(given).square().sum(), given)
    if bool(grid.feature_map(gradient).any()):
        return ()
    return (
        "the logits do not depend on the tokens of the feature map that have a place, so prototypes tell "
        "nothing of them; let feature_map end before the last layer, and head begin with it",
    )
