"""What learning U is told; written to its config as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ....errors import RunError


@dataclass(frozen=True, kw_only=True)
class ApexSettings:
    """How to learn U (EPIC's recipe, arXiv 2505.12897, on APEX's views); see `rotation`."""

    # Rounds of choosing every channel's top clips anew.
    rounds: int = 60
    # Top clips a channel, in the first round and from the middle on; purity is told of the last.
    n_first: int = 100
    n_last: int = 5
    # Cells are first chosen by Zhat_c cos^focus, at last by Zhat_c alone; 0: always by value.
    focus: float = 32.0
    # Rounds of smaller steps from the best U, each kept if U is purer; with any, a U from all cells is tried
    # too (solver exact). 0: neither.
    polish: int = 20
    # exact: the best rotation for the places chosen, at once; adam: EPIC's steps on A, U = expm(A - A^T).
    solver: Literal["exact", "adam"] = "exact"
    # Steps of Adam a round, for solver adam and for a general U.
    steps: int = 20
    lr: float = 1e-3
    weight_decay: float = 1e-5
    # A general U = expm(A) U0 over the rotation U0.
    invertible: bool = False
    # A U for each view, instead of the square view's for all.
    per_view: bool = False
    # Of the random rotation that purity is compared with.
    seed: int = 0
    val_fold: int | None = None
    val_fraction: float | None = None
    train_folds: tuple[int, ...] | None = None


def check(settings: ApexSettings) -> None:
    """Raise RunError for settings that cannot work, naming the first."""
    for name in ("rounds", "n_first", "n_last", "steps"):
        if getattr(settings, name) < 1:
            raise RunError(f"{name} {getattr(settings, name)}: must be 1 or more")
    if settings.polish < 0:
        raise RunError(f"polish {settings.polish}: must be 0 or more")
    if not 0 < settings.lr < 1:
        raise RunError(f"lr {settings.lr:g}: must be between 0 and 1 (0.001 is usual)")
    if not 0 <= settings.focus <= 1000:
        raise RunError(f"focus {settings.focus:g}: give 0 (none) to 1000")
    if settings.weight_decay < 0:
        raise RunError(f"weight decay {settings.weight_decay:g}: must be 0 or more")
