"""Stretches of a recording in which a label scores above a threshold, each explained for its own label."""
