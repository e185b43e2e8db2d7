"""What learning U is told; written to its config as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from ....errors import RunError
from ..settings import SplitSettings


@dataclass(frozen=True, kw_only=True)
class ApexSettings(SplitSettings):
    """How to learn U (EPIC's recipe, arXiv 2505.12897, on APEX's views); see `rotation`.

    The seed is that of the random rotation that purity is compared with.
    """

    # U = expm(A) U0 over the rotation U0.
    invertible: Annotated[bool, Meta(description="Any invertible U, not a rotation alone.")] = False
    per_view: Annotated[bool, Meta(description="A U for each view, not square's for all.")] = False
    rounds: Annotated[int, Meta(ge=1, description="Times that top clips are chosen.")] = 60
    n_first: Annotated[int, Meta(ge=1, description="Top clips a channel at first.")] = 100
    # Purity is told of these.
    n_last: Annotated[int, Meta(ge=1, description="And from the middle on.")] = 5
    # Cells are first chosen by Zhat_c cos^focus, at last by Zhat_c alone; 0: always by value.
    focus: float = 32.0
    # From the best U, each kept if U is purer; with any, a U from all cells is tried too (solver exact).
    polish: Annotated[int, Meta(ge=0, description="Rounds of judged smaller steps.")] = 20
    solver: Annotated[
        Literal["exact", "adam"],
        Meta(description="exact: the best rotation for the clips chosen; adam: EPIC's steps on A."),
    ] = "exact"
    # For solver adam and for a general U.
    steps: Annotated[int, Meta(ge=1, description="Steps of Adam a round.")] = 20
    lr: Annotated[float, Meta(gt=0, description="Of Adam.")] = 1e-3
    weight_decay: float = 1e-5


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
