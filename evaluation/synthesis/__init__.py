"""Sounds that the project makes itself: seeded drum one-shots in varied backgrounds, with the truth."""
