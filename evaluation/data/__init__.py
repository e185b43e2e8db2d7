"""Labelled folders of sound: listing, labels, splits."""
