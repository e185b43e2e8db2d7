"""The learnt U of a run directory, put to work on a source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ....errors import RunError, SourceError
from ...graphs.heads import AXES, LearntRotation, Rotation
from ...source.source import Source, fingerprint
from .directory import Part, RunDirectory

# Of a run directory: the folder that U is kept in, and its name there.
FOLDER = "apex"
PART: Part = "apex"


def read_rotation(run: RunDirectory) -> Rotation:
    """The learnt U of each map. Raises RunError where it is missing, unfinished or damaged."""
    held = run.read_weights()
    found = [held[axis].numpy() for axis in AXES if axis in held and held[axis].dim() == 2]
    if len(found) != len(AXES) or any(u.shape != (len(found[0]),) * 2 for u in found):
        raise RunError(f"{run.weights_path}: damaged; learn U again")
    return Rotation(*found)


def with_apex(source: Source, folder: Path) -> Source:
    """The source with the U in `folder`. Raises SourceError where it was learnt over another classifier."""
    run = RunDirectory(folder, PART)
    rotation, config = read_rotation(run), run.read_config()
    if config.get("classifier_sha256") != fingerprint(source):
        raise SourceError(
            f"{run.weights_path}: was learnt over another classifier than {source.name}; run earmark train "
            "apex again"
        )
    if source.feature_map is None or len(rotation.square) != source.feature_map.channels:
        raise SourceError(
            f"{run.weights_path}: is no U of {source.name}'s channels; run earmark train apex again"
        )
    if "report" not in config:
        raise SourceError(
            f"{folder}: the training of U is not finished; go on with earmark train apex --resume"
        )
    return replace(source, apex=LearntRotation(rotation, config["report"]))
