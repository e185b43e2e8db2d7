"""Scores and values as they are shown: how they are written, and which are left out."""

from __future__ import annotations


def score_text(score: float, task: str) -> str:
    """A score in a few characters: a percentage with one digit; of a regression the value with four."""
    return f"{score:.4g}" if task == "regression" else f"{score:.1%}"


def reaching(score: float, least: float) -> bool:
    """Whether a score reaches a bound; that of 0 leaves nothing out, not even a negative value."""
    return least <= 0.0 or score >= least
