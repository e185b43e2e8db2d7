"""`index_info.json`: what a generation of prototypes says of itself, checked when it is read."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from .. import limits
from ..errors import PrototypeIndexError
from .acoustics import AcousticsInfo
from .atomic import write_whole
from .facts import SchemaVersion, check_facts
from .faiss_files import IndexInfo
from .familiarity import Usual
from .spec import Count, PrototypesSpec
from .table import REBUILD, TOPS, read_small
from .views import VIEWS, View, dimension

INFO_VERSION = 2
INFO = "index_info.json"
# The setting that tells vectors with contrast (`views.embed`); others are no longer written or read.
CONTRAST = "contrast"


# What a setting is: of sound (rate, window, hop) and of the feature map (tap, frames), or CONTRAST.
Setting = bool | int | float | str | None


class PrototypeCounts(msgspec.Struct, frozen=True):
    """How many entries of a view are prototypes of channels, and how many the channel with the fewest has."""

    distinct: Annotated[int, msgspec.Meta(ge=0)]
    fewest_of_a_channel: Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class GenerationInfo:
    """`index_info.json`.

    Attributes:
        embeddings_sha256: The graph the vectors come from.
        model_sha256: The classifier it belongs to.
        clips: Rows of the clips table, of which `removed` are left out of all.
        sources: Files of the rest.
        labels: Of the clips, indexed by the tables.
        settings: How it was built.
        versions: By what.
        per_channel: Prototypes a channel (fewer where there are fewer recordings).
        apex: Facts of the learnt U in the graph (JSON, as its trainer gave them); None: U = identity.
        queries: View -> records of `<view>.queries.npy`; none in indexes of older versions.
        passages: Views with `<view>.passages.npy`; none in indexes of older versions.
        acoustics: What `acoustics.npy` holds; None in indexes of older versions.
        usual: How alike training clips are to the nearest of other recordings; None where they are too few,
            or nobody measured it.

    """

    embeddings_sha256: str
    model_sha256: str
    channels: Annotated[int, msgspec.Meta(ge=1, le=limits.CHANNELS)]
    clips: Count
    sources: Count
    labels: list[str]
    views: dict[View, IndexInfo]
    seed: int
    settings: dict[str, Setting]
    versions: dict[str, str]
    removed: Annotated[int, msgspec.Meta(ge=0)] = 0
    per_channel: Annotated[int, msgspec.Meta(ge=1, le=limits.PER_CHANNEL)] = TOPS
    apex: dict[str, Any] | None = None
    prototypes: dict[View, PrototypeCounts] = field(default_factory=dict)
    queries: dict[View, Count] = field(default_factory=dict)
    passages: tuple[View, ...] = ()
    acoustics: AcousticsInfo | None = None
    usual: Usual | None = None


def read_info(folder: Path) -> GenerationInfo:
    """Read `index_info.json`; raises PrototypeIndexError where it is missing, damaged or newer."""
    path = folder / INFO
    text = read_small(path, limits.INFO_BYTES)
    try:
        version = msgspec.json.decode(text, type=SchemaVersion).schema_version
        if version > INFO_VERSION:
            raise PrototypeIndexError(
                f"{path}: schema {version} is newer than this earmark reads ({INFO_VERSION}); update earmark"
            )
        info = msgspec.json.decode(text, type=GenerationInfo)
        if info.settings.get(CONTRAST) is not True:
            raise PrototypeIndexError(
                f"{path}: its vectors are of an older kind, without contrast; {REBUILD}"
            )
        _check(info)
    except PrototypeIndexError:
        raise
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise PrototypeIndexError(f"{path}: damaged ({error}); {REBUILD}") from error
    # Everywhere in the same order.
    views = {view: info.views[view] for view in VIEWS if view in info.views}
    return replace(info, views=views)


def _check(info: GenerationInfo) -> None:
    """Raise ValueError where numbers cannot be together."""
    if not info.removed < info.clips or info.sources > info.clips:
        raise ValueError(f"{info.clips} clips of {info.sources} files, {info.removed} removed")
    if len(set(info.labels)) != len(info.labels):
        raise ValueError("a label stands twice")
    check_facts(info.settings)
    check_facts(info.apex or {})
    if not (info.queries.keys() | set(info.passages)) <= info.views.keys():
        raise ValueError("queries or passages of a view that is not there")
    if info.usual is not None:
        info.usual.check()
    for view, index in info.views.items():
        if index.dimension != dimension(view, info.channels):
            raise ValueError(f"{view} vectors of {index.dimension} numbers, of {info.channels} channels")
        if index.kind == "ivf" and not (
            1 <= index.projected <= index.dimension
            and 1 <= index.probes <= index.lists <= min(index.entries, limits.EFFORT)
            and 1 <= index.candidates <= limits.EFFORT
        ):
            raise ValueError(f"{view} has an index of lists that cannot be")


def write_info(folder: Path, info: GenerationInfo) -> None:
    """Write `index_info.json` into `folder`. Raises WriteError."""
    text = json.dumps(info_document(info), indent=2, ensure_ascii=False) + "\n"
    write_whole(folder / INFO, text)


def info_document(info: GenerationInfo) -> dict[str, Any]:
    """The JSON document of `info`."""
    document = {"schema_version": INFO_VERSION, **msgspec.to_builtins(info)}
    for name in ("apex", "acoustics", "usual"):
        if document[name] is None:
            del document[name]
    return document


def check_agreement(folder: Path, info: GenerationInfo, spec: PrototypesSpec) -> None:
    """Raise PrototypeIndexError where index_info.json and the manifest disagree."""
    if info.clips != spec.clips or info.clips < 1 or info.channels < 1:
        raise PrototypeIndexError(
            f"{folder / INFO}: {info.clips} clips, the manifest says {spec.clips}; {REBUILD}"
        )
    if info.removed != spec.removed or not 0 <= info.removed < info.clips:
        raise PrototypeIndexError(
            f"{folder / INFO}: {info.removed} clips removed, the manifest says {spec.removed}; {REBUILD}"
        )
    if set(info.views) != set(spec.views):
        raise PrototypeIndexError(
            f"{folder / INFO}: views {', '.join(info.views)}, "
            f"the manifest says {', '.join(spec.views)}; {REBUILD}"
        )
    for view, index in info.views.items():
        expected = spec.entries.get(view), spec.dimensions.get(view)
        if (index.entries, index.dimension) != expected or index.entries < 1:
            raise PrototypeIndexError(
                f"{folder / INFO}: {view} has {index.entries} entries of dimension {index.dimension}, "
                f"the manifest says {expected[0]} of {expected[1]}; {REBUILD}"
            )
