"""`index_info.json`: what a generation of prototypes says of itself, checked when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ..errors import PrototypeIndexError
from .faiss_files import IndexInfo
from .table import MOST_TOPS, REBUILD, TOPS
from .views import VIEWS, View

INFO_VERSION = 2
INFO = "index_info.json"
_MOST_INFO_BYTES = 16 << 20
_OF_LISTS = ("projected", "lists", "probes", "candidates")
# No search makes more of an effort, whatever a file says.
_MOST_EFFORT = 1 << 16


class GenerationSpec(Protocol):
    """What the manifest says of the generation (`runtime.manifest.PrototypesSpec`)."""

    @property
    def views(self) -> Sequence[View]:
        """The views it holds."""

    @property
    def entries(self) -> Mapping[str, int]:
        """Entries per view."""

    @property
    def dimensions(self) -> Mapping[str, int]:
        """Vector length per view."""

    @property
    def clips(self) -> int:
        """Rows of the clips table."""

    @property
    def removed(self) -> int:
        """How many of them are removed."""


@dataclass(frozen=True, slots=True)
class GenerationInfo:
    """`index_info.json`.

    embeddings_sha256: the graph the vectors come from; model_sha256: the classifier it belongs to
    clips: rows of the clips table, of which `removed` are left out of all; sources: files of the rest
    labels: of the clips, indexed by the tables; settings: how it was built; versions: by what
    per_channel: prototypes a channel (fewer where there are fewer recordings)
    prototypes: per view how many entries are some channel's prototypes ("distinct"), and how many the
        channel with the fewest has ("fewest_of_a_channel"); empty in indexes of earlier versions
    apex: facts of the learnt U in the graph (JSON, as its trainer gave them); None: U = identity
    """

    embeddings_sha256: str
    model_sha256: str
    channels: int
    clips: int
    sources: int
    labels: list[str]
    views: dict[View, IndexInfo]
    seed: int
    settings: dict[str, Any]
    versions: dict[str, str]
    removed: int = 0
    per_channel: int = TOPS
    apex: dict[str, Any] | None = None
    prototypes: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def contrast(self) -> bool:
        """Whether the vectors are those with contrast (`views.embed`); older indexes have them without."""
        return self.settings.get("contrast") is True


def read_info(folder: Path) -> GenerationInfo:
    """Read `index_info.json`; raises PrototypeIndexError where it is missing, damaged or newer."""
    path = folder / INFO
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_INFO_BYTES + 1)
        if len(text) > _MOST_INFO_BYTES:
            raise ValueError("too large")
        fields = json.loads(text)
        version = int(fields["schema_version"])
        if version > INFO_VERSION:
            raise PrototypeIndexError(
                f"{path}: schema {version} is newer than this earmark reads ({INFO_VERSION}); update earmark"
            )
        views: dict[View, IndexInfo] = {}
        for view in VIEWS:
            if view in fields["views"]:
                views[view] = _index_info(fields["views"][view])
        return GenerationInfo(
            embeddings_sha256=str(fields["embeddings_sha256"]),
            model_sha256=str(fields["model_sha256"]),
            channels=int(fields["channels"]),
            clips=int(fields["clips"]),
            removed=int(fields.get("removed", 0)),
            sources=int(fields["sources"]),
            labels=[str(label) for label in fields["labels"]],
            views=views,
            seed=int(fields["seed"]),
            settings=dict(fields["settings"]),
            versions={str(name): str(text) for name, text in fields["versions"].items()},
            per_channel=min(max(int(fields.get("per_channel", TOPS)), 1), MOST_TOPS),
            prototypes={
                str(view): {str(name): int(count) for name, count in counts.items()}
                for view, counts in fields.get("prototypes", {}).items()
            },
            apex=None if fields.get("apex") is None else dict(fields["apex"]),
        )
    except OSError as error:
        raise PrototypeIndexError(f"{path}: cannot be read ({error.strerror}); {REBUILD}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PrototypeIndexError(f"{path}: damaged ({error}); {REBUILD}") from error


def info_document(info: GenerationInfo) -> dict[str, Any]:
    """The JSON document of `info`."""
    views = {
        view: {
            "kind": index.kind,
            "entries": index.entries,
            "dimension": index.dimension,
            "recall_at_10": index.recall_at_10,
            "ef_search": index.ef_search,
            **({name: getattr(index, name) for name in _OF_LISTS} if index.kind == "ivf" else {}),
        }
        for view, index in info.views.items()
    }
    # What the first version's readers would refuse or misunderstand has the second's number.
    plain = not info.removed and all(index.kind != "ivf" for index in info.views.values())
    document = {
        "schema_version": 1 if plain else INFO_VERSION,
        "embeddings_sha256": info.embeddings_sha256,
        "model_sha256": info.model_sha256,
        "channels": info.channels,
        "clips": info.clips,
        "removed": info.removed,
        "sources": info.sources,
        "labels": info.labels,
        "views": views,
        "seed": info.seed,
        "settings": info.settings,
        "versions": info.versions,
        "per_channel": info.per_channel,
        "prototypes": info.prototypes,
    }
    return document if info.apex is None else {**document, "apex": info.apex}


def _index_info(fields: Mapping[str, Any]) -> IndexInfo:
    kind = fields["kind"]
    if kind not in ("flat", "hnsw", "ivf"):
        raise ValueError(f"unknown kind of index {kind!r}")
    effort = fields.get("ef_search")
    info = IndexInfo(
        kind,
        int(fields["entries"]),
        int(fields["dimension"]),
        float(fields["recall_at_10"]),
        None if effort is None else min(max(int(effort), 1), _MOST_EFFORT),
    )
    if kind == "ivf":
        numbers: dict[str, Any] = {name: int(fields[name]) for name in _OF_LISTS}
        info = replace(info, **numbers)
        if not (
            1 <= info.projected <= info.dimension
            and 1 <= info.probes <= info.lists <= min(info.entries, _MOST_EFFORT)
            and 1 <= info.candidates <= _MOST_EFFORT
        ):
            raise ValueError("an index of lists that cannot be")
    return info


def check_agreement(folder: Path, info: GenerationInfo, spec: GenerationSpec) -> None:
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
        said = spec.entries.get(view), spec.dimensions.get(view)
        if (index.entries, index.dimension) != said or index.entries < 1:
            raise PrototypeIndexError(
                f"{folder / INFO}: {view} has {index.entries} entries of dimension {index.dimension}, "
                f"the manifest says {said[0]} of {said[1]}; {REBUILD}"
            )
