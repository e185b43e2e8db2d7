"""What the method `prototypes` answers: frozen records, JSON-ready, with the sound they point to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..result import Difference, MethodResult
from .channels import Contributions
from .familiarity import Familiarity
from .prototype import Prototype, place_text

# Of the sum of the channels' contributions, for a logit of order 1.
_SUM_LIMIT = 1e-3


@dataclass(frozen=True, eq=False, repr=False)
class PrototypesResult(MethodResult):
    """What the method `prototypes` answers.

    Attributes:
        prototypes: View -> the nearest prototypes, best first.
        channels: What each adds to the target's logit.
        familiarity: How far the sound lies from all training sounds; None where the index does not know what
            is usual, or prototypes of any band were asked for.

    """

    prototypes: Mapping[str, tuple[Prototype, ...]]
    channels: Contributions
    familiarity: Familiarity | None = None
    warnings: tuple[str, ...] = ()

    def fields(self) -> Mapping[str, Any]:
        """The nearest prototypes by view, the channels, and how familiar the sound is."""
        return {
            "prototypes": self.prototypes,
            "channels": self.channels,
            "familiarity": self.familiarity,
        }

    def lines(self, top: int) -> Iterator[tuple[str, str]]:
        """The nearest prototypes of each view and what they match; the target's logit by channels."""
        for view, prototypes in self.prototypes.items():
            for index, one in enumerate(prototypes[:top]):
                yield (
                    "resembles" if index == 0 else "",
                    f"{view if index == 0 else '':<14} {place_text(one.place):<26} -> "
                    f"{' + '.join(one.labels)} {one.similarity:.2f}  {one.clip} {place_text(one)}"
                    f"{' (of another length or rhythm)' if one.unlike else ''}",
                )
        yield "sum" if self.channels.additive else "channels", self.channels.sum
        if self.familiarity is not None:
            yield "familiar", self.familiarity.text

    def summary(self) -> Iterator[tuple[str, str]]:
        """The training sound that is nearest of all views, and how many views agree on its label."""
        nearest = [listed[0] for listed in self.prototypes.values() if listed]
        if not nearest:
            return
        best = max(nearest, key=lambda one: one.similarity)
        agree = sum(best.label in one.labels for one in nearest)
        views = f"{agree} of {len(nearest)} views agree" if len(nearest) > 1 else "one view"
        yield (
            "like",
            f"the training sound {best.clip} ({' + '.join(best.labels)}) at {place_text(best)}, "
            f"similarity {best.similarity:.2f}; {views}",
        )

    def verify(self) -> Iterator[Difference]:
        """Listen to every prototype; how far the contributions miss the logit."""
        of_channels = (view.prototypes for channel in self.channels for view in channel.views.values())
        for prototype in (one for listed in (*self.prototypes.values(), *of_channels) for one in listed):
            if prototype.sound is not None:
                prototype.audio()
        if self.channels.error is not None:
            # Rounding grows with the logit.
            limit = _SUM_LIMIT * max(1.0, abs(self.channels.logit))
            yield Difference("channels", self.channels.error, limit)
