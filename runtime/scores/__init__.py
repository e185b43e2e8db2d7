"""Scores of labels: of every window of a sound, looked up, bounded, written as text."""
