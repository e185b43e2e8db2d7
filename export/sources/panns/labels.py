"""The labels beside a PANNs checkpoint, in a file of their own."""

from __future__ import annotations

import csv
from pathlib import Path

from ....errors import SourceError
from ....printable import first_line
from ..onnx.given import read_labels

LABELS = ("labels.txt", "class_labels_indices.csv")


def labels_beside(path: Path, classes: int) -> list[str]:
    """The labels beside the checkpoint. Raises SourceError where there are none, or not as many."""
    found = next((path.parent / name for name in LABELS if (path.parent / name).is_file()), None)
    if found is None:
        raise SourceError(
            f"{path}: says no labels; put {LABELS[0]} beside it, one a line in the order of the {classes} "
            f"scores, or AudioSet's {LABELS[1]}"
        )
    if found.suffix == ".txt":
        labels = read_labels(str(found))
    else:
        try:
            with found.open(encoding="utf-8-sig", newline="") as stream:
                rows = list(csv.DictReader(stream))
            labels = [row["display_name"] for row in sorted(rows, key=lambda row: int(row["index"]))]
        except (OSError, KeyError, ValueError, csv.Error) as error:
            raise SourceError(
                f"{found}: has no columns index and display_name ({first_line(error)}); take AudioSet's file"
            ) from error
    if len(labels) != classes:
        raise SourceError(f"{found}: {len(labels)} labels for {classes} scores of {path.name}")
    return labels
