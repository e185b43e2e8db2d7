"""The option of the method `components`."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Annotated

from msgspec import Meta

from ....errors import MethodError
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

    def __post_init__(self) -> None:
        value = self.threshold
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 <= value < 1.0:
            raise MethodError(f"components: the threshold {value!r} is no number from 0 to below 1")
