"""Spectrograms and text as PNG."""
