"""The feature map that a user names, asked for on synthesised sound. Never torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from ....runtime.bundle.manifest import Task
from ....runtime.values.arrays import FloatArray
from ...bundle.sounds import synthesise
from ..impulses import SoundCell
from .dependence import unread
from .feature_map import GraphMap, MapRequest, find_map, with_output
from .graph import Scores
from .original import Original
from .outputs import logits_tensor
from .waves import Waves


def shown_map(
    original: Original,
    model: onnx.ModelProto,
    request: MapRequest,
    samples: int,
    rate: int,
    scores: Scores,
    task: Task,
) -> GraphMap:
    """The feature map that was asked for, with what the graph answers beside it."""
    path, output = original.path, original.output
    before = None if scores == "logits" else logits_tensor(model, output, several=task == "multi_label")
    logits_name = output.name if scores == "logits" else before
    widened = with_output(model, request.tensor, path)
    if logits_name is not None:
        widened = with_output(widened, logits_name, path)
    original.rest()
    wider = Original(path, widened, original.entry, original.sides, original.context)
    wider.output = output
    entry, copies = original.entry, original.entry.copies

    def answers(length: int, cell: SoundCell | None) -> tuple[FloatArray, FloatArray]:
        sound = synthesise(1, length, rate, 4)[0]
        names = [request.tensor, *([] if logits_name is None else [logits_name])]
        if cell is not None and isinstance(entry.front, Waves):
            sound = cell.added(sound, 0, None)
        fed = entry.front.rows(sound)
        if cell is not None and not isinstance(entry.front, Waves) and fed.dtype.kind == "f":
            fed = cell.added(fed, entry.front.time_axis, _band_axis(fed, entry.front.time_axis))
        answers = wider.run_fed(fed, length, names)
        tensor = np.asarray(answers[request.tensor])
        tensor = tensor[:1] if copies > 1 and tensor.shape[:1] == (copies,) else tensor
        # Without logits there is no linear head to be compared with: the head then is "other".
        logits = np.array([np.nan]) if logits_name is None else output.of(np.asarray(answers[logits_name]))
        return tensor, logits.astype(np.float32)

    fixed = entry.front.samples is not None
    padded = not isinstance(entry.front, Waves)
    # What is fed may be samples behind a front end, too.
    example = entry.front.rows(synthesise(1, samples, rate, 4)[0])
    banded = padded and _band_axis(example, entry.front.time_axis) is not None
    found = find_map(request, model, path, answers, samples, rate, fixed=fixed, padded=padded, banded=banded)
    if not unread(wider, widened, request.tensor, synthesise(1, samples, rate, 4)[0], found.shown.skipped):
        return found
    beyond = f" but the first {found.shown.skipped} tokens" if found.shown.skipped else ""
    return replace(
        found,
        doubt=f"the scores do not depend on its feature map {request.tensor!r}{beyond}: prototypes tell "
        "nothing of them; name a tensor before it",
    )


def _band_axis(fed: np.ndarray, time: int) -> int | None:
    """The axis of features [1, ...] that frequency runs along."""
    axes = [axis for axis, size in enumerate(fed.shape) if axis not in (0, time) and size > 1]
    return axes[-1] if axes else None
