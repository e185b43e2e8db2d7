"""Learning U, round by round: choose every channel's top clips with the current U, then raise their purity.

The loss of a round is EPIC's (arXiv 2505.12897): minus the mean over channels c of the mean purity over the
places p* of c's top n clips, with n falling from 100 to 5. An orthogonal U keeps lengths, so that with the
places held the loss is linear in U:

    L(U) = -(1 / C) sum_c U_c . M_c        M_c = mean over c's places of Z(p*) / ||Z(p*)||

Its minimum over all rotations is the polar factor of M (Procrustes), which is taken in one step; EPIC
descends it by Adam on U = expm(A - A^T), in some ten steps a round. Both stay in SO(C).

Rounds begin with a focus: places and clips are chosen by Zhat_c cos^focus instead of Zhat_c. Chosen by value
alone, a channel that is active in few clips is filled up with the loudest cells of others, and a planted
rotation with such channels is not found again (purity 0.13 below the oracle's; within 0.01 with the focus,
which falls to 0). Of the later rounds the U with the highest purity, chosen by value, is kept, or that of all
cells where it is purer, and polished: where some channels are far louder than others, rounds lead away even
from the planted rotation, and only smaller steps that are judged one by one do not.

At last, where the head is known, contributions are gathered: U is moved up the slope of

    purity - gather * rest(U)          (`evidence`)

so that the channels that are listed carry most of the logit, at the cost of little purity.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ....evaluation.prototypes.purity import (
    FeatureMaps,
    Strongest,
    purity,
    strongest,
    unit_vectors,
)
from ....runtime.values.arrays import Values
from .evidence import ApexEvidence
from .settings import ApexSettings

# Part of the rounds after which n has fallen, and after which the best U is looked for.
_ANNEALED, _JUDGED = 0.5, 0.6
# The view that U is learnt in; the others are turned by the same.
_VIEW: Literal["square"] = "square"
# Iterations over all cells, before the first round.
_ALL_CELLS = 15
# Rounds in which contributions are gathered, steps in each; a step's length a channel, at first and at least.
_GATHERING, _STEPS = 12, 10
_FIRST_STEP, _LAST_STEP = 0.15, 1e-4


@dataclass(frozen=True)
class State:
    """All that the next round depends on.

    done: rounds so far; u: the current U; best, best_purity: of the rounds that were judged
    step: how far the next polishing round goes, 0..1; rows: one record per round
    """

    u: Values
    best: Values
    done: int = 0
    best_purity: float = -2.0
    step: float = 1.0
    rows: tuple[dict[str, float], ...] = ()

    @classmethod
    def first(cls, channels: int) -> State:
        """Before the first round: U = I."""
        return cls(np.eye(channels), np.eye(channels))


OnRound = Callable[[State], None]


def rounds_of(settings: ApexSettings, evidence: ApexEvidence | None = None) -> int:
    """Rounds in all; contributions are gathered where they are known."""
    gathers = evidence is not None and settings.gather > 0.0
    return settings.rounds + settings.polish + (_GATHERING if gathers else 0)


def learn_rotation(
    maps: FeatureMaps,
    settings: ApexSettings,
    *,
    evidence: ApexEvidence | None = None,
    state: State | None = None,
    on_round: OnRound | None = None,
) -> Values:
    """Learn U that makes the channels pure in the view square, and gathers contributions in few of them.

    Args:
        maps: Feature maps of the clips to learn from.
        settings: Rounds, top clips per channel, focus, polish, gather.
        evidence: What channels contribute in the same clips; None: purity alone counts.
        state: To go on from; None: U = I.
        on_round: Called with the state after every round.

    Returns:
        U [C, C] float64, a rotation.

    """
    state = state or State.first(maps.channels)
    while state.done < rounds_of(settings, evidence):
        started = time.perf_counter()
        if state.done < settings.rounds:
            state, row = _choosing_round(maps, settings, state)
        elif evidence is None or state.done < settings.rounds + settings.polish:
            state, row = _polishing_round(maps, settings, state)
        else:
            state, row = _gathering_round(maps, evidence, settings, state)
        row = {"epoch": state.done, **row, "seconds": round(time.perf_counter() - started, 3)}
        state = replace(state, rows=(*state.rows, row))
        if on_round is not None:
            on_round(state)
    return state.best


def polar(matrix: Values) -> Values:
    """The rotation (determinant 1) nearest to `matrix`: the U that maximises sum(U * matrix)."""
    left, _, right = np.linalg.svd(matrix)
    if np.linalg.det(left) * np.linalg.det(right) < 0:
        left[:, -1] *= -1
    rotation: Values = left @ right
    return rotation


def _choosing_round(
    maps: FeatureMaps, settings: ApexSettings, state: State
) -> tuple[State, dict[str, float]]:
    """Choose, then move U towards the places chosen."""
    progress = state.done / max(1, settings.rounds - 1)
    count = _between(settings.n_first, settings.n_last, progress / _ANNEALED)
    focus = settings.focus * (1.0 - progress)
    top = _chosen(maps, state.u, count, focus)
    aim = _aim(maps, top)
    loss = -float((state.u * aim).sum()) / maps.channels
    u = polar(aim)
    row: dict[str, float] = {"n": count, "focus": round(focus, 4), "loss": round(loss, 6)}
    best, best_purity = state.best, state.best_purity
    if state.done == 0 and settings.polish:
        best = _of_all_cells(maps)
        best_purity = _judged(maps, best, settings.n_last)
    if progress >= _JUDGED or state.done == settings.rounds - 1:
        judged = _judged(maps, u, settings.n_last)
        row["purity"] = round(judged, 6)
        if judged > best_purity:
            best, best_purity = u, judged
    return replace(state, u=u, best=best, best_purity=best_purity, done=state.done + 1), row


def _of_all_cells(maps: FeatureMaps) -> Values:
    """The rotation with the largest sum of cos^4 over all cells of all clips (positive parts), or near it.

    M = sum of cos_c^3 Z / ||Z||, U = its polar factor, again and again (Zhai et al., arXiv 1906.02435).
    """
    cells, u = maps.cells[_VIEW], np.eye(maps.channels)
    for _ in range(_ALL_CELLS):
        aim = np.zeros_like(u)
        for clip in range(cells.clips):
            vectors = np.asarray(cells.of(clip), dtype=np.float32)
            lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
            unit = vectors / np.maximum(lengths, 1e-8)[:, None]
            aim += (np.maximum(unit @ u.T.astype(np.float32), 0.0) ** 3).T @ unit
        u = polar(aim)
    return u


def _polishing_round(
    maps: FeatureMaps, settings: ApexSettings, state: State
) -> tuple[State, dict[str, float]]:
    """From the best U a part of the way to the polar factor, kept if purer; the part doubles, else halves.

    The exact step is best for the places chosen, and chosen anew they may be worse.
    """
    step = state.step
    top = _chosen(maps, state.best, settings.n_last, 0.0)
    aim = _aim(maps, top)
    u = polar((1.0 - step) * state.best + step * polar(aim))
    judged = _judged(maps, u, settings.n_last)
    loss = -float((state.best * aim).sum()) / maps.channels
    row = {"n": settings.n_last, "focus": 0.0, "loss": round(loss, 6), "purity": round(judged, 6)}
    row["step"] = step
    best, best_purity, step = (
        (u, judged, min(1.0, 2.0 * step))
        if judged > state.best_purity
        else (state.best, state.best_purity, step / 2.0)
    )
    following = replace(state, u=u, best=best, best_purity=best_purity, done=state.done + 1, step=step)
    return following, row


def _gathering_round(
    maps: FeatureMaps, evidence: ApexEvidence, settings: ApexSettings, state: State
) -> tuple[State, dict[str, float]]:
    """With the places that are best by the current U, some steps up the slope of purity - gather * rest."""
    u = state.best
    aim = _aim(maps, _chosen(maps, u, settings.n_last, 0.0)) / maps.channels

    def worth(u: Values) -> tuple[float, Values]:
        rest, slope = evidence.rest(u)
        return float((u * aim).sum()) - settings.gather * rest, aim - settings.gather * slope

    value, slope = worth(u)
    step = _FIRST_STEP * maps.channels
    for _ in range(_STEPS):
        # Along the rotations.
        along = 0.5 * (slope - u @ slope.T @ u)
        tried = _turned(u + step * along)
        reached, following = worth(tried)
        while reached < value and step > _LAST_STEP:
            step *= 0.5
            tried = _turned(u + step * along)
            reached, following = worth(tried)
        if reached < value:
            break
        u, value, slope = tried, reached, following
        step *= 1.5
    (listed, rest), judged = evidence.listed(u), _judged(maps, u, settings.n_last)
    row = {"n": settings.n_last, "focus": 0.0, "loss": round(-value, 6), "purity": round(judged, 6)}
    row |= {"listed": round(listed, 6), "rest": round(rest, 6)}
    return replace(state, u=u, best=u, best_purity=judged, done=state.done + 1), row


def _turned(matrix: Values) -> Values:
    """The rotation at the end of a step along the tangent of one; QR costs less than the polar factor."""
    q, r = np.linalg.qr(matrix)
    rotation: Values = q * np.sign(np.diag(r))
    return rotation


def _between(first: int, last: int, progress: float) -> int:
    """From `first` down to `last`, by equal factors."""
    if first <= last:
        return last
    fallen: float = first * (last / first) ** min(1.0, max(0.0, progress))
    return round(fallen)


def _chosen(maps: FeatureMaps, u: Values, count: int, focus: float) -> Strongest:
    return strongest(maps, _VIEW, u.astype(np.float32), count, focus=focus)


def _judged(maps: FeatureMaps, u: Values, count: int) -> float:
    return purity(maps, _VIEW, u.astype(np.float32), count)


def _aim(maps: FeatureMaps, top: Strongest) -> Values:
    """M [C, C]: for each channel the mean of the unit vectors at its places."""
    (places,) = top.places
    aim = np.zeros((maps.channels, maps.channels))
    for some, vectors in unit_vectors(maps.cells[_VIEW], places):
        aim[some] = vectors.sum(axis=1) / np.maximum(1, (places[some] >= 0).sum(axis=1))[:, None]
    return aim
