"""What each channel of the feature map adds to the target's logit, and the prototypes of channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...values.records import ResultRecord
from .document import ChannelDict, ChannelViewDict, ContributionsDict
from .prototype import Place, Prototype, WindowSound

# What contributions of channels are.
Kind = Literal["additive", "gradient", "localisation"]


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class ChannelView(ResultRecord):
    """One channel in one view: where it peaks in the input, and the clips in which it is strongest."""

    place: Place
    prototypes: tuple[Prototype, ...]

    def to_dict(self) -> ChannelViewDict:
        """JSON-ready."""
        return {
            "place": self.place.to_dict(),
            "prototypes": [prototype.to_dict() for prototype in self.prototypes],
        }


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Channel(ResultRecord):
    """One channel of the feature map: where it peaks in the input, and its share of the logit.

    Attributes:
        channel: Its index in the feature map.
        contribution: Its share of the target's logit, see `Contributions`; None where channels only localise.
        score: Its value at its peak in the square map.
        place: Where that peak lies in the input.
        views: In every view of the index (where each view has a U of its own, in square alone) its place and
            the clips in which it is strongest, one a recording.

    """

    channel: int
    contribution: float | None
    score: float
    place: Place
    views: Mapping[str, ChannelView]

    @property
    def view(self) -> str:
        """The view of its own place and prototypes: square, or window where an embedding has no places."""
        return "window" if "window" in self.views else "square"

    @property
    def prototypes(self) -> tuple[Prototype, ...]:
        """The clips in which it is strongest in that view, best first."""
        return self.views[self.view].prototypes if self.view in self.views else ()

    def to_dict(self) -> ChannelDict:
        """JSON-ready; `views` without the own one, which is the record itself."""
        return {
            "channel": self.channel,
            "contribution": self.contribution,
            "score": self.score,
            "place": self.place.to_dict(),
            "prototypes": [prototype.to_dict() for prototype in self.prototypes],
            "views": {view: one.to_dict() for view, one in self.views.items() if view != self.view},
        }


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Contributions(ResultRecord):
    """The target's logit, channel by channel, in the window where it is highest.

    Attributes:
        kind: "additive": the contributions of `channels` + bias + remainder = logit, where remainder is the
            sum over the `others`, all channels not listed; "gradient": contributions are gradient x
            activation; "localisation": there are none. bias, remainder and error are None unless additive.
        error: How far all contributions and the bias are from the classifier's own logit.
        label: The target.
        logit: The classifier's logit of the target in that window.
        start_s: Begin of the window in seconds.
        end_s: Its end.
        channels: The listed channels, the largest contribution first.
        additive: Whether contributions, bias and remainder sum to the logit.
        bias: Of the head, for the target.
        remainder: Sum over the channels that are not listed.
        note: What the contributions are, where they do not sum to the logit.
        others: Number of channels that are not listed.
        window: Its amplitude, for pictures.

    """

    label: str
    logit: float
    start_s: float
    end_s: float
    channels: tuple[Channel, ...]
    additive: bool
    bias: float | None
    remainder: float | None
    error: float | None
    note: str = ""
    kind: Kind = "additive"
    others: int = 0
    window: WindowSound | None = field(default=None, repr=False, compare=False)

    def __iter__(self) -> Iterator[Channel]:
        """The channels, the largest contribution first."""
        return iter(self.channels)

    def __len__(self) -> int:
        """How many channels are listed."""
        return len(self.channels)

    def __getitem__(self, index: int) -> Channel:
        """The channel at that rank."""
        return self.channels[index]

    @property
    def sum(self) -> str:
        """All as one line: the listed contributions, the remainder and the bias, and the logit they make."""
        parts = [
            f"{one.contribution:+.2f} (channel {one.channel})"
            for one in self.channels
            if one.contribution is not None
        ]
        if self.bias is None or self.remainder is None:
            return ", ".join([*parts, self.note])
        rest = f"{self.remainder:+.2f} ({self.others} others)"
        return " ".join([*parts, rest, f"{self.bias:+.2f} (bias)", f"= {self.logit:.2f}"])

    def to_dict(self) -> ContributionsDict:
        """JSON-ready."""
        record: ContributionsDict = {
            "label": self.label,
            "logit": self.logit,
            "start_s": round(self.start_s, 6),
            "end_s": round(self.end_s, 6),
            "additive": self.additive,
            "kind": self.kind,
            "channels": [channel.to_dict() for channel in self.channels],
            "others": self.others,
            "bias": self.bias,
            "remainder": self.remainder,
            "error": self.error,
            "sum": self.sum,
        }
        if self.note:
            record["note"] = self.note
        return record
