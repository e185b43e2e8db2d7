"""The settings of `earmark evaluate trust`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ...bounds import setting
from ..data.settings import ClipSettings
from ..faithfulness.settings import ConditionName

# A mask is believed in sound as it comes: clean, in noise, and with something else beside it.
USUAL: tuple[ConditionName, ...] = ("clean", "noise_6db", "mixture")


@dataclass(frozen=True, kw_only=True)
class TrustSettings(ClipSettings):
    """On which sounds it is measured how far masks are to be believed.

    Attributes:
        conditions: What is mixed into the clips; none: clean, noise_6db and mixture.

    """

    conditions: Annotated[
        tuple[ConditionName, ...],
        setting(
            "clean, noise (0 dB), noise_6db, mixture (another clip); all but noise by default.",
            option="--condition",
            metavar="CONDITION",
        ),
    ] = ()
