"""What the method `prototypes` gives, as JSON has it."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta


class PlaceDict(TypedDict):
    """A nominal region of a sound."""

    start_s: Annotated[float, Meta(description="Begin in seconds.")]
    end_s: Annotated[float, Meta(description="End in seconds.")]
    fmin_hz: Annotated[float, Meta(description="Lowest frequency in Hz.")]
    fmax_hz: Annotated[float, Meta(description="Highest frequency in Hz.")]


class PrototypeDict(PlaceDict):
    """A place in a training sound that resembles a place in the input."""

    label: Annotated[str, Meta(description="Of the training sound.")]
    labels: Annotated[list[str], Meta(description="All that it has.")]
    similarity: Annotated[float, Meta(description="Cosine of the two embeddings, -1..1.")]
    clip: Annotated[str, Meta(description="The training file, relative to its folder.")]
    place: Annotated[PlaceDict, Meta(description="The place in the input.")]
    channels: Annotated[list[int], Meta(description="Channels behind it, largest contribution first.")]
    kind: Annotated[str, Meta(description="prototype, or any other clip.")]
    attribution: NotRequired[Annotated[str, Meta(description="Of the training sound, where it has one.")]]
    unlike: NotRequired[
        Annotated[bool, Meta(description="True where it lies in a passage of another length or rhythm.")]
    ]


class ChannelViewDict(TypedDict):
    """One channel in one view."""

    place: Annotated[PlaceDict, Meta(description="Where it peaks in the input.")]
    prototypes: Annotated[list[PrototypeDict], Meta(description="The clips in which it is strongest.")]


class ChannelDict(ChannelViewDict):
    """One channel of the feature map, in the view square."""

    channel: Annotated[int, Meta(description="Its index.")]
    contribution: Annotated[float | None, Meta(description="Its share of the logit; null if it has none.")]
    score: Annotated[float, Meta(description="Its value at its peak.")]
    views: Annotated[dict[str, ChannelViewDict], Meta(description="The other views.")]


class ContributionsDict(TypedDict):
    """The target's logit, channel by channel, in the window where it is highest."""

    label: Annotated[str, Meta(description="The target.")]
    logit: Annotated[float, Meta(description="The classifier's own.")]
    start_s: Annotated[float, Meta(description="Begin of the window in seconds.")]
    end_s: Annotated[float, Meta(description="Its end.")]
    additive: Annotated[bool, Meta(description="Whether contributions, bias and remainder are the logit.")]
    kind: Annotated[str, Meta(description="additive, gradient or localisation.")]
    channels: Annotated[list[ChannelDict], Meta(description="Largest contribution first.")]
    others: Annotated[int, Meta(description="How many channels are not listed.")]
    bias: Annotated[float | None, Meta(description="Of the head; null unless additive.")]
    remainder: Annotated[float | None, Meta(description="Sum over the others; null unless additive.")]
    error: Annotated[float | None, Meta(description="How far the sum misses the logit; or null.")]
    sum: Annotated[str, Meta(description="All on one line.")]
    note: NotRequired[Annotated[str, Meta(description="What contributions are that do not sum up.")]]


class FamiliarityDict(TypedDict):
    """How far the sound lies from all training sounds, beside how far these lie from each other."""

    percentile: Annotated[
        float, Meta(description="By everything, 0..100; below 5 it is unlike what was trained on.")
    ]
    views: Annotated[dict[str, float], Meta(description="View -> percentile, 0..100.")]
    acoustics: NotRequired[
        Annotated[
            dict[str, float],
            Meta(description="sound, margin -> percentile, score -> 0..100; empty where the index has none."),
        ]
    ]
    clips: Annotated[int, Meta(description="Training clips that it is compared with.")]


class PrototypesFields(TypedDict):
    """What the method adds to a record."""

    prototypes: Annotated[
        dict[str, list[PrototypeDict]] | None,
        Meta(description="Method prototypes: view -> the nearest, best first; null where it did not run."),
    ]
    channels: Annotated[
        ContributionsDict | None, Meta(description="Method prototypes; null where it did not run.")
    ]
    familiarity: Annotated[
        FamiliarityDict | None,
        Meta(description="Method prototypes; null where it did not run, or the index does not know."),
    ]
