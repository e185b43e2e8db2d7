"""Settings of learning U; written to its config as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from ..settings import SplitSettings


@dataclass(frozen=True, kw_only=True)
class ApexSettings(SplitSettings):
    """How to learn U (EPIC's recipe, arXiv 2505.12897, on APEX's views); see `rotation`.

    The seed is that of the random rotation that purity is compared with.
    """

    rounds: Annotated[int, Meta(ge=1, description="Times that top clips are chosen.")] = 60
    n_first: Annotated[int, Meta(ge=1, description="Top clips a channel at first.")] = 100
    # Purity is measured on these.
    n_last: Annotated[int, Meta(ge=1, description="And from the middle on.")] = 5
    # Cells are first chosen by Zhat_c cos^focus, at last by Zhat_c alone; 0: always by value.
    focus: Annotated[float, Meta(ge=0, le=1000)] = 32.0
    # From the best U, each kept if U is purer; with any, a U from all cells is tried too.
    polish: Annotated[int, Meta(ge=0, description="Rounds of judged smaller steps.")] = 20
    # Purity that is given for contributions outside the five largest, were these nothing and they all.
    gather: Annotated[
        float, Meta(ge=0, le=100, description="How much it counts to gather contributions in few channels.")
    ] = 0.02
