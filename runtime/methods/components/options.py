"""The option of the method `components`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ....bounds import setting
from ..options import MethodOptions


@dataclass(frozen=True)
class ComponentsOptions(MethodOptions):
    """threshold: relevance above which a component is selected, 0 to below 1; None: the bundle's."""

    threshold: (
        Annotated[
            float,
            setting(
                "Relevance above which a component is selected.",
                ge=0.0,
                lt=1.0,
                option="--relevance-threshold",
                metavar="TAU",
                default="the bundle's",
            ),
        ]
        | None
    ) = None
