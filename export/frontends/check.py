"""A front end against the features that the user's own pipeline makes of a clip. Never torch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import msgspec
import numpy as np

from ...errors import AudioError, SourceError
from ...runtime.audio.level import level_of
from ...runtime.audio.sound import read_mono
from ...runtime.values.arrays import Array, FloatArray
from .description import PARTS, Description, described
from .frontend import Described, Frontend
from .matrices import read_array
from .reference import features_of, steps_of

# Of the largest value of the user's features.
LIMIT = 1e-3

# Values that pipelines have besides a field's choices.
_USUAL: dict[str, tuple[object, ...]] = {
    "scale": (1.0, 32768.0),
    "stft.preemphasis": (0.0, 0.97),
    "mel.low_hz": (0.0, 20.0, 50.0, 125.0),
    "mel.high_hz": (None, 7500.0, 7600.0, 8000.0, 14000.0),
    "log.floor": (1e-12, 1e-10, 1e-8, 1.1920928955078125e-07, 1e-6, 1e-5, 1e-3),
    "log.reference": (1.0, "max"),
    "log.range": (None, 80.0, 8.0),
    "normalise.over": ("given", "bin", "clip"),
}


def check_features(frontend: Frontend, clip: Path, features: Path, sample_rate: int | None = None) -> str:
    """Compare `frontend` with the features in the .npy file `features` of the sound in `clip`.

    Returns a line with the largest difference. Raises SourceError above 1e-3 of the features' largest value,
    saying at which step they part, as far as it can be told.
    """
    theirs = read_array(str(features))
    rate = frontend.sample_rate or sample_rate
    if rate is None:
        raise SourceError(f"{clip}: the front end does not say its sample rate; give --sample-rate")
    try:
        sound = read_mono(clip, rate)
    except AudioError as error:
        raise SourceError(str(error)) from error
    sound = np.asarray(sound / level_of(sound, frontend.level or "none"), np.float32)
    ours = np.asarray(frontend.rows(sound), np.float64)
    same = _alike(theirs, ours)
    if same is not None and (apart := _apart(ours, same)) <= LIMIT:
        return f"{features}: the front end's features differ by at most {apart:.1e} of the largest"
    told = (
        f"are {list(theirs.shape)}, the front end's {list(ours.shape)}"
        if same is None
        else f"differ from the front end's by {_apart(ours, same):.2g} of the largest"
    )
    cause = _cause(frontend.description, sound, theirs) if isinstance(frontend, Described) else ""
    raise SourceError(f"{features}: your features of {clip.name} {told}{cause}; nothing was written")


def _alike(theirs: Array, ours: Array) -> Array | None:
    """The user's features with axes of 1 as ours has them; None where they are of another shape."""
    if [size for size in theirs.shape if size != 1] != [size for size in ours.shape if size != 1]:
        return None
    return theirs.reshape(ours.shape)


def _apart(ours: Array, theirs: Array) -> float:
    """The largest difference, of the largest value."""
    most = float(np.abs(theirs).max(initial=0.0))
    return float(np.abs(ours - theirs).max(initial=0.0)) / (most or 1.0)


def _cause(description: Description, sound: FloatArray, theirs: Array) -> str:
    """Where the two part, in words; empty where nothing tells."""
    for changed, name, value in _changed(description):
        try:
            possible = described(msgspec.to_builtins(changed), name)
            same = _alike(theirs, ours := np.asarray(features_of(possible, sound), np.float64))
        except (SourceError, ValueError):
            # A value that does not go with the others.
            continue
        if same is not None and _apart(ours, same) <= LIMIT:
            step = name.partition(".")[0] if "." in name else "waveform"
            return f"; they part at the step {step}: with {name} = {value!r} they agree"
    steps = {
        name: np.abs(built).astype(np.float64) if np.iscomplexobj(built) else built
        for name, built in steps_of(description, sound).items()
    }
    names = list(steps)
    for name, after in reversed(list(pairwise(names))):
        for ours in (steps[name], steps[name].T):
            same = _alike(theirs, ours)
            if same is not None and _apart(ours, same) <= LIMIT:
                return f"; they part at the step {after}: yours are the front end's after the step {name}"
    return _by_shape(steps, theirs) or _by_difference(description, steps, theirs)


def _changed(description: Description) -> Iterator[tuple[Description, str, object]]:
    """The description with the value of one field changed, step by step."""
    for part, form in PARTS:
        held = getattr(description, part) if part else description
        if held is None:
            continue
        for field, hint in get_type_hints(form).items():
            name, now = f"{part}.{field}" if part else field, getattr(held, field)
            if name == "level":
                # The sound has it already.
                continue
            for value in _choices(name, hint, now):
                changed = msgspec.structs.replace(held, **{field: value})
                yield (
                    msgspec.structs.replace(description, **{part: changed}) if part else changed,
                    name,
                    value,
                )


def _choices(name: str, hint: object, now: object) -> list[object]:
    """What else a field could be, where there are few such things."""
    if hint is bool:
        return [not now]
    usual = get_args(hint) if get_origin(hint) is Literal else _USUAL.get(name, ())
    return [value for value in usual if value != now]


def _by_shape(steps: dict[str, Array], theirs: Array) -> str:
    """Which axis has another length."""
    last = [name for name in steps if name != "output"][-1]
    ours = steps["output"].shape
    strange = [size for size in theirs.shape if size != 1]
    if sorted(strange) == sorted(size for size in ours if size != 1):
        return ""
    rows = steps[last]
    if rows.ndim >= 2 and rows.shape[-1] not in strange:
        return "; they part in the number of bins, at the step mel (or stft)"
    return "; they part in the number of frames, at the step stft (hop, centring, frame) or frames"


def _by_difference(description: Description, steps: dict[str, Array], theirs: Array) -> str:
    """What the difference of values depends on: nothing, the bin, the frame's place, or all of them."""
    ours, same = steps["output"].astype(np.float64), _alike(theirs, steps["output"])
    if same is None or description.patches is not None or description.stft is None:
        return ""
    axes = description.output.layout
    turned = "F" in axes and axes.index("F") < axes.index("T")
    cells = [one.reshape(-1) for one in (ours, same)]
    slope, offset = np.polyfit(cells[0], cells[1], 1)
    if _apart(slope * cells[0] + offset, cells[1]) <= LIMIT:
        step = "normalise" if description.normalise is not None else "log" if description.log else "waveform"
        return (
            f"; they part at the step {step}: yours are {slope:.4g} times the front end's, plus {offset:.4g}"
        )
    difference = np.squeeze(same - ours)
    if difference.ndim != 2:
        return ""
    if turned:
        difference = difference.T
    spread = np.abs(difference).max()
    if description.log is not None and np.ptp(difference, axis=0).max() <= 0.02 * spread:
        return "; they part at the step mel: the difference depends on the bin alone"
    edge = max(1, len(difference) // 10)
    if np.abs(difference[edge:-edge]).max(initial=0.0) <= 0.01 * spread:
        return "; they part at the step stft: only the first and last frames differ (centring)"
    return "; they part at the step stft or before it: no other value of a single field makes them agree"
