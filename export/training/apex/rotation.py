"""Learning U, round by round: choose every channel's top clips with the current U, then raise their purity.

The loss of a round is EPIC's (arXiv 2505.12897): minus the mean over channels c of the mean purity over the
places p* of c's top n clips, with n falling from 100 to 5. An orthogonal U keeps lengths, so that with the
places held the loss is linear in U:

    L(U) = -(1 / C) sum_c U_c . M_c        M_c = mean over c's places of Z(p*) / ||Z(p*)||

Its minimum over all rotations is the polar factor of M (Procrustes), which solver "exact" takes in one step;
solver "adam" descends it as EPIC does, U = expm(A - A^T), A = 0 at first, and needs some ten steps a round.
Both rotate within SO(C), which is what expm(A - A^T) reaches. A general U = expm(A) U0 keeps no lengths: it
is trained by Adam, from the orthogonal U0.

Rounds begin with a focus: places and clips are chosen by Zhat_c cos^focus instead of Zhat_c. Chosen by value
alone, a channel that is active in few clips is filled up with the loudest cells of others, and a planted
rotation with such channels is not found again (purity 0.13 below the oracle's; within 0.01 with the focus,
which falls to 0). Of the later rounds the U with the highest purity, chosen by value, is kept, or that of all
cells where it is purer, and polished: where some channels are far louder than others, rounds lead away even
from the planted rotation, and only smaller steps that are judged one by one do not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import RunError
from ....evaluation.prototypes.purity import (
    AXES,
    BLOCK,
    FeatureMaps,
    Strongest,
    purity,
    strongest,
    unit_vectors,
)
from ....prototypes_index.views import View
from .settings import ApexSettings

Matrix = npt.NDArray[np.float64]

# Part of the rounds after which n has fallen, and after which the best U is looked for.
_ANNEALED, _JUDGED = 0.5, 0.6
# Rounds of a general U, as a part of those of the orthogonal one, and its first n in units of the last.
_GENERAL, _GENERAL_FIRST = 1 / 3, 4
_VECTORS = 4096
# Iterations over all cells, before the first round.
_ALL_CELLS = 15


@dataclass(frozen=True)
class State:
    """All that the next round depends on.

    done: rounds so far; u: the current U; best, best_purity: of the rounds that were judged
    tensors: of Adam, by name; empty where it is not at work; rows: one record a round
    """

    u: Matrix
    best: Matrix
    done: int = 0
    best_purity: float = -2.0
    tensors: Mapping[str, Matrix] = field(default_factory=dict)
    rows: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def first(cls, channels: int) -> State:
        """Before the first round: U = I."""
        return cls(np.eye(channels), np.eye(channels))


OnRound = Callable[[State], None]


def rounds_of(settings: ApexSettings) -> int:
    """Rounds in all for one U."""
    general = max(1, round(settings.rounds * _GENERAL)) if settings.invertible else 0
    return _of_rotations(settings) + general


def _of_rotations(settings: ApexSettings) -> int:
    """Rounds before U becomes a general one."""
    return settings.rounds + (settings.polish if settings.solver == "exact" else 0)


def learn_rotation(
    maps: FeatureMaps,
    view: View,
    settings: ApexSettings,
    *,
    state: State | None = None,
    on_round: OnRound | None = None,
    block: int = BLOCK,
) -> Matrix:
    """U [C, C] float64 that makes the channels of one view pure.

    state: to go on from; on_round: called with the state after every round
    block: clips looked at together; U is the same whatever it is. Raises RunError where U leaves the numbers.
    """
    state = state or State.first(maps.channels)
    while state.done < rounds_of(settings):
        started = time.perf_counter()
        if state.done < settings.rounds:
            state, row = _orthogonal_round(maps, view, settings, state, block)
        elif state.done < _of_rotations(settings):
            state, row = _polishing_round(maps, view, settings, state, block)
        else:
            state, row = _general_round(maps, view, settings, state, block)
        if not np.isfinite(state.u).all():
            raise RunError(f"U is not finite after round {state.done}; lower --lr")
        row = {"epoch": state.done, **row, "seconds": round(time.perf_counter() - started, 3)}
        state = replace(state, rows=(*state.rows, row))
        if on_round is not None:
            on_round(state)
    return state.best


def polar(matrix: Matrix) -> Matrix:
    """The rotation (determinant 1) nearest to `matrix`: the U that maximises sum(U * matrix)."""
    left, _, right = np.linalg.svd(matrix)
    if np.linalg.det(left) * np.linalg.det(right) < 0:
        left[:, -1] *= -1
    found: Matrix = left @ right
    return found


def _orthogonal_round(
    maps: FeatureMaps, view: View, settings: ApexSettings, state: State, block: int
) -> tuple[State, dict[str, Any]]:
    """Choose, then move U towards the places chosen."""
    progress = state.done / max(1, settings.rounds - 1)
    count = _between(settings.n_first, settings.n_last, progress / _ANNEALED)
    focus = settings.focus * (1.0 - progress)
    top = _chosen(maps, view, state.u, count, focus, block)
    aim = _aim(maps, view, top)
    loss = -float((state.u * aim).sum()) / maps.channels
    if settings.solver == "exact":
        u, tensors = polar(aim), dict[str, Matrix]()
    else:
        u, tensors = _adam_steps(settings, state.tensors, len(aim), lambda _: aim, orthogonal=True)
    row: dict[str, Any] = {"n": count, "focus": round(focus, 4), "loss": round(loss, 6)}
    best, best_purity = state.best, state.best_purity
    if state.done == 0 and settings.polish and settings.solver == "exact":
        best = _of_all_cells(maps, view)
        best_purity = _judged(maps, view, best, settings.n_last, block, orthogonal=True)
    if progress >= _JUDGED or state.done == settings.rounds - 1:
        judged = _judged(maps, view, u, settings.n_last, block, orthogonal=True)
        row["purity"] = round(judged, 6)
        if judged > best_purity:
            best, best_purity = u, judged
    return replace(state, u=u, best=best, best_purity=best_purity, done=state.done + 1, tensors=tensors), row


def _of_all_cells(maps: FeatureMaps, view: View) -> Matrix:
    """The rotation with the largest sum of cos^4 over all cells of all clips (positive parts), or near it.

    M = sum of cos_c^3 Z / ||Z||, U = its polar factor, again and again (Zhai et al., arXiv 1906.02435).
    """
    (axis,) = AXES[view]
    cells, u = maps.cells[axis], np.eye(maps.channels)
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
    maps: FeatureMaps, view: View, settings: ApexSettings, state: State, block: int
) -> tuple[State, dict[str, Any]]:
    """From the best U a part of the way to the polar factor, kept if purer; the part doubles, else halves.

    The exact step is best for the places chosen, and chosen anew they may be worse.
    """
    step = float(state.tensors["step"][0]) if "step" in state.tensors else 1.0
    top = _chosen(maps, view, state.best, settings.n_last, 0.0, block)
    aim = _aim(maps, view, top)
    u = polar((1.0 - step) * state.best + step * polar(aim))
    judged = _judged(maps, view, u, settings.n_last, block, orthogonal=True)
    loss = -float((state.best * aim).sum()) / maps.channels
    row = {"n": settings.n_last, "focus": 0.0, "loss": round(loss, 6), "purity": round(judged, 6)}
    row["step"] = step
    best, best_purity, step = (
        (u, judged, min(1.0, 2.0 * step))
        if judged > state.best_purity
        else (state.best, state.best_purity, step / 2.0)
    )
    made = replace(state, u=u, best=best, best_purity=best_purity, done=state.done + 1)
    return replace(made, tensors={"step": np.array([step])}), row


def _general_round(
    maps: FeatureMaps, view: View, settings: ApexSettings, state: State, block: int
) -> tuple[State, dict[str, Any]]:
    """The same for U = expm(A) U0, U0 the best rotation."""
    later = state.done - _of_rotations(settings)
    tensors = dict(state.tensors) if later else {"start": state.best}
    start = tensors["start"]
    u = state.u if later else state.best
    total = max(2, rounds_of(settings) - _of_rotations(settings))
    count = _between(_GENERAL_FIRST * settings.n_last, settings.n_last, later / (total - 1))
    top = _chosen(maps, view, u, count, 0.0, block)
    losses: list[float] = []

    def aim_at(u: Matrix) -> Matrix:
        loss, slope = _general_loss(maps, view, top, u)
        losses.append(loss)
        return -maps.channels * slope

    u, moments = _adam_steps(settings, tensors, maps.channels, aim_at, orthogonal=False)
    judged = _judged(maps, view, u, settings.n_last, block, orthogonal=False)
    best, best_purity = state.best, state.best_purity
    if judged > best_purity:
        best, best_purity = u, judged
    row = {"n": count, "focus": 0.0, "loss": round(losses[0], 6), "purity": round(judged, 6)}
    made = replace(state, u=u, best=best, best_purity=best_purity, done=state.done + 1)
    return replace(made, tensors={**moments, "start": start}), row


def _between(first: int, last: int, progress: float) -> int:
    """From `first` down to `last`, by equal factors."""
    if first <= last:
        return last
    fallen: float = first * (last / first) ** min(1.0, max(0.0, progress))
    return round(fallen)


def _chosen(maps: FeatureMaps, view: View, u: Matrix, count: int, focus: float, block: int) -> Strongest:
    turned = dict.fromkeys(AXES[view], u.astype(np.float32))
    return strongest(maps, view, turned, count, focus=focus, block=block)


def _judged(maps: FeatureMaps, view: View, u: Matrix, count: int, block: int, *, orthogonal: bool) -> float:
    turned = dict.fromkeys(AXES[view], u.astype(np.float32))
    return purity(maps, view, turned, count, orthogonal=orthogonal, block=block)


def _aim(maps: FeatureMaps, view: View, top: Strongest) -> Matrix:
    """M [C, C]: for each channel the mean of the unit vectors at its places."""
    (axis,), (places,) = AXES[view], top.places
    aim = np.zeros((maps.channels, maps.channels))
    for some, vectors in unit_vectors(maps.cells[axis], places):
        aim[some] = vectors.sum(axis=1) / np.maximum(1, (places[some] >= 0).sum(axis=1))[:, None]
    return aim


def _general_loss(maps: FeatureMaps, view: View, top: Strongest, u: Matrix) -> tuple[float, Matrix]:
    """Minus the mean purity of a general U, and its gradient in U; each place's Zhat is computed once.

    P = Zhat_c / ||Zhat||, dP/dU = (e_c - P Zhat / ||Zhat||) Z^T / ||Zhat||.
    """
    (axis,), (places,) = AXES[view], top.places
    there = places >= 0
    channel = np.broadcast_to(np.arange(len(places))[:, None], places.shape)[there]
    distinct, of_pair = np.unique(places[there], return_inverse=True)
    share = 1.0 / (maps.channels * np.maximum(1, there.sum(axis=1)))[channel]
    total, slope = 0.0, np.zeros_like(u)
    order = np.argsort(of_pair, kind="stable")
    for first in range(0, len(distinct), _VECTORS):
        rows = distinct[first : first + _VECTORS]
        vectors = maps.cells[axis].vectors[rows].astype(np.float64)
        hat = vectors @ u.T
        length = np.maximum(np.linalg.norm(hat, axis=1), 1e-8)
        low, high = np.searchsorted(of_pair[order], (first, first + len(rows)))
        pairs = order[low:high]
        row, own = of_pair[pairs] - first, channel[pairs]
        pure = hat[row, own] / length[row]
        total -= float((share[pairs] * pure).sum())
        weight = share[pairs] / length[row]
        by_hat = np.zeros_like(hat)
        np.add.at(by_hat, (row, own), weight)
        by_hat -= hat * np.bincount(row, weight * pure / length[row], minlength=len(rows))[:, None]
        slope -= by_hat.T @ vectors
    return total, slope


def _adam_steps(
    settings: ApexSettings,
    tensors: Mapping[str, Matrix],
    channels: int,
    aim_of: Callable[[Matrix], Matrix],
    *,
    orthogonal: bool,
) -> tuple[Matrix, dict[str, Matrix]]:
    """A round of Adam on A; returns U and Adam's state.

    aim_of: U -> M, where -sum(U * M) / C has the gradient to descend
    """
    import torch

    start = torch.from_numpy(tensors["start"]) if "start" in tensors else None
    a = torch.zeros(channels, channels, dtype=torch.float64)
    if "a" in tensors:
        a = torch.from_numpy(tensors["a"].copy())
    a.requires_grad_()
    optimizer = torch.optim.Adam([a], lr=settings.lr, weight_decay=settings.weight_decay)
    if "a" in tensors:
        moments = {name: torch.from_numpy(tensors[name].copy()) for name in ("exp_avg", "exp_avg_sq")}
        whole = optimizer.state_dict()
        whole["state"] = {0: {**moments, "step": torch.tensor(float(tensors["step"][0]))}}
        optimizer.load_state_dict(whole)

    def turned() -> torch.Tensor:
        u = torch.matrix_exp(a - a.T if orthogonal else a)
        return u if start is None else u @ start

    for _ in range(settings.steps):
        optimizer.zero_grad()
        u = turned()
        aim = torch.from_numpy(aim_of(u.detach().numpy()))
        (-(u * aim).sum() / channels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        last: Matrix = turned().numpy()
    held = optimizer.state_dict()["state"][0]
    kept = {name: held[name].numpy().copy() for name in ("exp_avg", "exp_avg_sq")}
    return last, {**kept, "a": a.detach().numpy().copy(), "step": np.array([float(held["step"])])}
