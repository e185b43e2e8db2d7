"""Its result."""

from dataclasses import dataclass
from typing import Any

from earmark.runtime.methods.result import Difference, MethodResult


@dataclass(frozen=True, eq=False, repr=False)
class LoudestResult(MethodResult):
    """Times in seconds of the loudest frames, the loudest first."""

    at_s: tuple[float, ...]
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"at_s": [round(one, 4) for one in self.at_s]}

    def fields(self):
        return {"loudest": self}

    def lines(self, top):
        yield "loudest", ", ".join(f"{one:.2f} s" for one in self.at_s[:top])

    def verify(self):
        yield Difference("loudest", 0.0, 1e-6)
