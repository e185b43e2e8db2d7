"""The training of U in a run directory: metrics, plot, and the state that an interrupted one goes on from."""

from __future__ import annotations

import numpy as np
import torch

from ....errors import RunError
from ....evaluation.prototypes.purity import Axis, FeatureMaps
from ...graphs.heads import AXES, Rotation
from ...sources.run.directory import RunDirectory
from ..loop import Progress
from .rotation import Matrix, State, learn_rotation, rounds_of
from .settings import ApexSettings

_CURVES = {"loss": ["loss"], "purity of the top clips": ["purity"]}


def learn(run: RunDirectory, maps: FeatureMaps, settings: ApexSettings, *, quiet: bool) -> Rotation:
    """U of every map: from I, or from where an interrupted training stood; metrics and plot beside it.

    Raises RunError when interrupted, and where the state found does not fit.
    """
    # With one row of frequency, time is square, and nothing localises frequency.
    axes = AXES if settings.per_view and maps.rows > 1 else AXES[:1]
    found, state = _restored(run)
    total = rounds_of(settings)
    bar = Progress(total * len(axes), "learning U", "round", quiet)
    bar.jump(len(found) * total + (state.done if state else 0))
    before = run.read_metrics()[: len(found) * total]

    def keep(now: State) -> None:
        tensors = {f"found/{name}": u for name, u in found.items()}
        tensors |= {f"adam/{name}": np.asarray(tensor) for name, tensor in now.tensors.items()}
        tensors |= {"u": now.u, "best": now.best}
        rows = [*before, *({"map": AXES[len(found)], **row} for row in now.rows)]
        record = {"done": now.done, "best_purity": now.best_purity, "rows": list(now.rows)}
        # Copies: the file may not hold one tensor twice.
        held = {name: torch.tensor(tensor) for name, tensor in tensors.items()}
        run.write_state(held, {"state": record, "found": list(found)})
        run.write_metrics([dict(row, epoch=index + 1) for index, row in enumerate(rows)])
        last = now.rows[-1]
        bar.step(**{name: float(last[name]) for name in ("loss", "purity") if name in last})

    try:
        for axis in axes[len(found) :]:
            found[axis] = learn_rotation(maps, axis, settings, state=state, on_round=keep)
            before, state = run.read_metrics(), None
    except KeyboardInterrupt as error:
        raise RunError(
            f"{run.path}: interrupted after {len(run.read_metrics())} of {total * len(axes)} rounds; the "
            "same command with --resume goes on from there"
        ) from error
    finally:
        bar.close()
    run.plot(run.read_metrics(), _CURVES)
    return Rotation(*(found.get(axis, found["square"]).astype(np.float32) for axis in AXES))


def _restored(run: RunDirectory) -> tuple[dict[Axis, Matrix], State | None]:
    """The U of maps that are done, and the state of the one at work. Raises RunError where it is not its."""
    saved = run.read_state()
    if saved is None:
        return {}, None
    tensors, record = saved
    try:
        found = {name: tensors[f"found/{name}"].numpy() for name in record["found"]}
        one = record["state"]
        adam = {k.partition("/")[2]: v.numpy() for k, v in tensors.items() if k.startswith("adam/")}
        return found, State(
            u=tensors["u"].numpy(),
            best=tensors["best"].numpy(),
            done=int(one["done"]),
            best_purity=float(one["best_purity"]),
            tensors=adam,
            rows=tuple(one["rows"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{run.resume_path}: does not fit this training; start it again") from error
