"""Where the results of many sounds lie: output folders mirror the input tree, one a sound."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from .inputs import Input

# What some file system refuses in a name, and bytes that are no UTF-8.
_REFUSED = re.compile('[<>:"/\\\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_MOST_BYTES = 120

Parts = tuple[str, ...]


def result_folders(
    output: Path, items: Sequence[Input], taken: Collection[str] = (), endings: tuple[str, ...] = ()
) -> list[Path | None]:
    """The folder of each item's result under `output`, in linear time; None for what is missing.

    A sound's folder has its path below the folder that was asked for, without the ending of its name. Where
    two sounds would have one folder, or one would lie in the other's, all that are concerned keep the
    ending, then write its dot as an underscore, then get the folder they come from, then a hash of their
    path; so does one whose folder is a file already, such as a sound where `output` is the sounds' folder,
    or would be one of the run's own.
    Names depend on which sounds and files there are, never on their order. The same file named twice has one
    folder.

    taken: names that the run itself writes to below `output`; endings: of files that it writes anywhere there
    """
    keys = [None if item.missing is not None else _key(item) for item in items]
    candidates = {
        key: _candidates(item, key) for item, key in zip(items, keys, strict=True) if key is not None
    }
    level = dict.fromkeys(candidates, 0)
    while True:
        places = {key: _folded(candidates[key][at]) for key, at in level.items()}
        counts = Counter(places.values())
        above = {place[:depth] for place in counts for depth in range(1, len(place))}
        clash = [
            key
            for key, place in places.items()
            if counts[place] > 1
            or place in above
            or "/".join(place) in taken
            or place[-1].endswith(endings)
            or _is_file(output, candidates[key][level[key]])
        ]
        clash = [key for key in clash if level[key] + 1 < len(candidates[key])]
        if not clash:
            break
        for key in clash:
            level[key] += 1
    return [None if key is None else output.joinpath(*candidates[key][level[key]]) for key in keys]


def label_folders(labels: Sequence[str]) -> dict[str, str]:
    """A folder's name for each label of a bundle; those that file systems take for one have a hash."""
    folded = {label: _folded((safe_name(label),)) for label in labels}
    counts = Counter(folded.values())
    return {
        label: safe_name(label) if counts[folded[label]] == 1 else f"{safe_name(label)}-{_hash(label)}"
        for label in labels
    }


def safe_name(name: str) -> str:
    """A name for a folder that every file system takes and that leads nowhere else."""
    safe = _REFUSED.sub("_", name).rstrip(" .")
    # Hidden names would be overlooked, and are earmark's while it writes.
    if not safe or safe.startswith((".", " ")) or _DEVICES.fullmatch(safe):
        safe = f"_{safe[1:] if safe.startswith(('.', ' ')) else safe}"
    if len(safe.encode()) > _MOST_BYTES:
        safe = f"{safe.encode()[: _MOST_BYTES - 9].decode(errors='ignore')}-{_hash(name)}"
    return safe


def _key(item: Input) -> str:
    """What tells the sound from others, wherever it stands in the list."""
    return os.path.abspath(item.sound) if isinstance(item.sound, str) else item.name  # noqa: PTH100


def _candidates(item: Input, key: str) -> list[Parts]:
    """Places for the result, the shortest first, the last one unique."""
    path = Path(item.name)
    inside = item.within is not None and path.is_relative_to(item.within)
    below = path.relative_to(item.within or "") if inside else Path(path.name)
    origin = Path(key).parents[len(below.parts) - 1 :] if isinstance(item.sound, str) else ()
    above = origin[0].name if origin else ""
    folders = tuple(map(safe_name, below.parts[:-1]))
    name = below.name or "sound"
    # Of a name of dots nothing would be left.
    stem = Path(name).stem if Path(name).stem.strip(" .") else name
    whole = safe_name(name)
    return [
        (*folders, safe_name(stem)),
        (*folders, whole),
        # Where results lie beside their sounds, that is the sound itself.
        (*folders, safe_name(name.replace(".", "_"))),
        *([(safe_name(above), *folders, whole)] if above else []),
        (*folders, f"{whole}-{_hash(key)}"),
    ]


def _is_file(output: Path, place: Parts) -> bool:
    """Whether a file stands there, as where results go beside their sounds."""
    return os.path.isfile(os.path.join(output, *place))  # noqa: PTH113, PTH118 (never raises)


def _folded(place: Parts) -> Parts:
    """The place as file systems see it that know neither case nor how an accent is spelt."""
    return tuple(unicodedata.normalize("NFC", part).casefold() for part in place)


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]
