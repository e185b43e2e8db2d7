"""Settings of learning U; written to its config as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from ....bounds import setting
from ..settings import SplitSettings


@dataclass(frozen=True, kw_only=True)
class ApexSettings(SplitSettings):
    """How to learn U (EPIC's recipe, arXiv 2505.12897, on APEX's views); see `rotation`.

    The seed is that of the random rotation that purity is compared with.
    """

    rounds: Annotated[int, setting("Times that top clips are chosen.", ge=1)] = 60
    n_first: Annotated[int, setting("Top clips a channel at first.", ge=1)] = 100
    # Purity is measured on these.
    n_last: Annotated[int, setting("And from the middle on.", ge=1)] = 5
    # Cells are first chosen by Zhat_c cos^focus, at last by Zhat_c alone; 0: always by value.
    focus: Annotated[float, Meta(ge=0, le=1000)] = 32.0
    # From the best U, each kept if U is purer; with any, a U from all cells is tried too.
    polish: Annotated[int, setting("Rounds of judged smaller steps.", ge=0)] = 20
    # Purity that is given for contributions outside the five largest, were these nothing and they all.
    gather: Annotated[
        float, setting("How much it counts to gather contributions in few channels.", ge=0, le=100)
    ] = 0.02
