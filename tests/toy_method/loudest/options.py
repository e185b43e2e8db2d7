"""Its option."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from earmark.errors import MethodError
from earmark.runtime.methods.options import MethodOptions


@dataclass(frozen=True)
class LoudestOptions(MethodOptions):
    """frames: how many of the loudest frames to name, at least 1."""

    frames: Annotated[
        int, Meta(description="Loudest frames to name.", extra={"option": "--loudest-frames", "metavar": "N"})
    ] = 3

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise MethodError(f"loudest: {self.frames} frames: give 1 or more")
