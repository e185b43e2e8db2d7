"""Sanity checks of masks: what must change them, and what must not."""
