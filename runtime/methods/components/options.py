"""The option of the method `components`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from ..options import MethodOptions


@dataclass(frozen=True)
class ComponentsOptions(MethodOptions):
    """threshold: relevance above which a component is selected, 0 to below 1; None: the bundle's."""

    threshold: (
        Annotated[
            float,
            Meta(
                ge=0.0,
                lt=1.0,
                description="Relevance above which a component is selected.",
                extra={
                    "option": "--relevance-threshold",
                    "metavar": "TAU",
                    "default": "the bundle's",
                },
            ),
        ]
        | None
    ) = None
