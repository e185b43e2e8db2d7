"""Sounds that the project makes itself: seeded drum one-shots in varied backgrounds, with the truth."""

from .clips import Clip, Event, background_of, clip_of, make_clip, write_backgrounds, write_folder
from .one_shots import RECIPES

__all__ = [
    "RECIPES",
    "Clip",
    "Event",
    "background_of",
    "clip_of",
    "make_clip",
    "write_backgrounds",
    "write_folder",
]
