"""`bundle_id`: a hash over what a bundle's answers depend on: its graphs, and facts of the manifest.

Bundles exported before have one over the graphs' files alone, which is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from ...errors import BundleError
from .manifest import Manifest

# Begins every identity over facts and files.
_PREFIX = "2-"
# What the manifest says that decides an answer.
_FACTS = (
    "task", "labels", "sample_rate", "window", "level", "analysis", "rescore", "mask_targets", "stages",
    "feature_map", "components",
)  # fmt: skip


def identity(manifest: Manifest) -> str:
    """The `bundle_id` that belongs to this manifest, whose files are described."""
    facts = {name: _plain(getattr(manifest, name)) for name in _FACTS}
    # Of a later version: left out where it is as older bundles have it, whose identity stays.
    if manifest.mask_gain != "log":
        facts["mask_gain"] = manifest.mask_gain
    facts["files"] = {name: manifest.files[name].sha256 for name in _answering(manifest)}
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return _PREFIX + hashlib.sha256(text.encode()).hexdigest()


def check_identity(manifest: Manifest, path: Path) -> None:
    """Raise BundleError where labels, rate, windows or graphs are not those of the bundle's identity."""
    if manifest.bundle_id.startswith(_PREFIX) and manifest.bundle_id != identity(manifest):
        raise BundleError(
            f"{path}: labels, rate, window or other facts are not those of its bundle_id; fetch or export "
            "the bundle again"
        )


def _answering(manifest: Manifest) -> list[str]:
    """The files that answer."""
    names = {name for stage in manifest.stages for name in (stage.file, *stage.data)}
    if manifest.components is not None:
        names.add(manifest.components.file)
    return sorted(names)


def _plain(value: Any) -> Any:
    """The value for JSON, without what is as a reader takes it to be where it is left out.

    So a field that is added to the manifest later changes no identity.
    """
    if isinstance(value, msgspec.Struct):
        fields = {one.name: one for one in msgspec.structs.fields(value)}
        held = {name: getattr(value, name) for name in fields}
        return {name: _plain(one) for name, one in held.items() if one != _default(fields[name])}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _default(one: msgspec.structs.FieldInfo) -> Any:
    if one.default_factory is not msgspec.NODEFAULT:
        return one.default_factory()
    return one.default
