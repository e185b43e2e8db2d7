"""Pictures as PNG, with Pillow: quick enough for thousands of detections, and in every install."""

from __future__ import annotations

from typing import Any, BinaryIO

from .charts import chart_image
from .sheets import sheet_image
from .shown import Chart, Picture


def image_of(picture: Picture) -> Any:
    """A Pillow image 1000 pixels wide."""
    return chart_image(picture) if isinstance(picture, Chart) else sheet_image(picture)


def write_png(file: BinaryIO, picture: Picture) -> None:
    """Write a picture as PNG, 1000 pixels wide."""
    image_of(picture).save(file, format="PNG", optimize=False)
