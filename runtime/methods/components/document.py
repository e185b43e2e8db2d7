"""What the method `components` gives, as JSON has it."""

from __future__ import annotations

from typing import Annotated, TypedDict

from msgspec import Meta

from ...scores.windows import Prediction, Span
from ..rescoring import Rescored


class ClipDict(TypedDict):
    """A place in a training clip."""

    name: Annotated[str, Meta(description="The file.")]
    start_s: Annotated[float, Meta(description="Begin in seconds.")]
    end_s: Annotated[float, Meta(description="End in seconds.")]


class ComponentDict(TypedDict):
    """One component."""

    index: Annotated[int, Meta(description="Its column of the dictionary.")]
    name: Annotated[str, Meta(description="What it is, in words.")]
    relevance: Annotated[float, Meta(description="-1..1.")]
    contribution: Annotated[float, Meta(description="Its part of the interpreter's logit.")]
    peak_hz: Annotated[float, Meta(description="Frequency of its largest weight.")]
    bandwidth_hz: Annotated[float, Meta(description="Width of the band around it with most of the weight.")]
    label: Annotated[str | None, Meta(description="For which it speaks most.")]
    clip: Annotated[ClipDict | None, Meta(description="The training clip that activates it most.")]
    spans_s: Annotated[list[Span], Meta(description="When it is active, [begin, end].")]


class AlsoDict(TypedDict):
    """Another label that holds."""

    label: Annotated[str, Meta(description="That.")]
    selected: Annotated[list[ComponentDict], Meta(description="Its relevant components.")]


class ComponentsDict(TypedDict):
    """Of which components the evidence consists; activations are in arrays.npz."""

    label: Annotated[str, Meta(description="The one explained.")]
    count: Annotated[int, Meta(description="How many components there are.")]
    threshold: Annotated[float, Meta(description="Relevance above which one is selected.")]
    by_design: Annotated[bool, Meta(description="Whether the components are the classifier itself.")]
    interpreted: Annotated[
        list[Prediction], Meta(description="The best labels of the interpreter alone, best first.")
    ]
    relevance: Annotated[list[float], Meta(description="Of every component.")]
    selected: Annotated[list[ComponentDict], Meta(description="The relevant ones, most relevant first.")]
    also: Annotated[list[AlsoDict], Meta(description="Other labels that hold.")]
    rescored: Annotated[
        dict[str, Rescored] | None,
        Meta(description="Domain -> what is classified of the selected components alone; or null."),
    ]


class ComponentsFields(TypedDict):
    """What the method adds to a record."""

    components: Annotated[
        ComponentsDict | None, Meta(description="Method components; null where it did not run.")
    ]
