"""What is written last into a bundle: its card and its manifest, which its readers then examine."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ... import __version__
from ...errors import BundleError, SourceError
from ...prototypes_index.durability import naming
from ...runtime.bundle.manifest import SCHEMA_VERSION, Manifest, StageSpec
from ...runtime.bundle.parity import Parity
from ...runtime.opening import open_bundle
from ..source.exportable import Exportable
from .card import CARD, card
from .manifest_file import describe_files, write_manifest


def finish(
    folder: Path,
    source: Exportable,
    stages: list[StageSpec],
    parity: Parity,
) -> Manifest:
    """Write card and manifest beside all other files of the bundle in `folder`, and read it back.

    Raises SourceError where readers would refuse the bundle.
    """
    # But for files, and the bundle_id, which is over files too.
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        bundle_id="-",
        name=source.name,
        task=source.task,
        labels=source.labels,
        sample_rate=source.sample_rate,
        window=source.window,
        level=source.level,
        analysis=source.analysis,
        rescore=source.rescore,
        mask_targets=source.mask_targets,
        mask_gain=source.mask_gain,
        stages=stages,
        explainers=source.explainers,
        feature_map=source.feature_map,
        components=source.components,
        files={},
        parity=parity,
        evaluation=dict(source.evaluation),
        versions={"earmark": __version__, **_versions(source.tools)},
        source=source.description,
        licence=source.licence,
        attribution=source.attribution,
    )
    with naming(folder / CARD):
        (folder / CARD).write_text(card(manifest, source.description), encoding="utf-8")
    manifest = msgspec.structs.replace(manifest, files=describe_files(folder))
    try:
        # As a reader would: structs are not validated when they are made.
        manifest = msgspec.convert(msgspec.to_builtins(manifest), Manifest)
    except msgspec.ValidationError as error:
        raise SourceError(f"{source.name}: makes no valid manifest ({error}); correct the source") from error
    manifest = write_manifest(folder, manifest)
    try:
        open_bundle(folder, examine=False).examine()
    except BundleError as error:
        text = str(error).replace(f"{folder.resolve()}/", "")
        raise SourceError(f"{source.name}: makes a bundle that its readers refuse: {text}") from error
    return manifest


def _versions(tools: Sequence[str]) -> dict[str, str]:
    """Versions of what made the graphs, of those that are installed under that name."""
    from importlib.metadata import PackageNotFoundError, version

    installed = {}
    for name in tools:
        with contextlib.suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed
