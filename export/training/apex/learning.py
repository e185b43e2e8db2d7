"""The training of U in a run directory: metrics, plot, and the state that an interrupted one goes on from."""

from __future__ import annotations

import msgspec
import numpy as np
import torch

from ....errors import RunError
from ....evaluation.prototypes.purity import FeatureMaps
from ....progress import Progress
from ....runtime.values.arrays import FloatArray
from ...sources.run.directory import RunDirectory
from .evidence import ApexEvidence
from .rotation import State, learn_rotation, rounds_of
from .settings import ApexSettings

_CURVES = {
    "loss": ["loss"],
    "purity of the top clips": ["purity"],
    "contributions of the five largest channels, of the others": ["listed", "rest"],
}
_SHOWN = ("loss", "purity", "listed", "rest")


class _RotationState(msgspec.Struct):
    """What a resumed training needs besides U: the other fields of `State`."""

    done: int
    best_purity: float
    step: float
    rows: tuple[dict[str, float], ...]


def learn(
    run: RunDirectory,
    maps: FeatureMaps,
    evidence: ApexEvidence | None,
    settings: ApexSettings,
    *,
    quiet: bool,
) -> FloatArray:
    """U [C, C]: from I, or from where an interrupted training stood; metrics and plot beside it.

    Raises RunError when interrupted, and where the state found does not fit.
    """
    state = _restored(run)
    rounds = rounds_of(settings, evidence)
    bar = Progress(rounds, "learning U", quiet=quiet)
    bar.forward(state.done if state else 0)

    def keep(now: State) -> None:
        # Copies: the file may not hold one tensor twice.
        held = {"u": torch.tensor(now.u), "best": torch.tensor(now.best)}
        run.write_state(held, _RotationState(now.done, now.best_purity, now.step, now.rows))
        run.write_metrics(now.rows)
        last = now.rows[-1]
        bar.step(", ".join(f"{name} {last[name]:.3f}" for name in _SHOWN if name in last))

    try:
        u = learn_rotation(maps, settings, evidence=evidence, state=state, on_round=keep)
    except KeyboardInterrupt as error:
        raise RunError(
            f"{run.path}: interrupted after {len(run.read_metrics())} of {rounds} rounds; the "
            "same command with --resume goes on from there"
        ) from error
    finally:
        bar.close()
    run.plot(run.read_metrics(), _CURVES)
    return u.astype(np.float32)


def _restored(run: RunDirectory) -> State | None:
    """The state of an interrupted training, None before one. Raises RunError where it does not fit."""
    saved = run.read_state(_RotationState)
    if saved is None:
        return None
    tensors, record = saved
    try:
        u, best = tensors["u"].numpy(), tensors["best"].numpy()
        return State(u, best, **msgspec.structs.asdict(record))
    except KeyError as error:
        raise RunError(f"{run.resume_path}: does not fit this training; start it again") from error
