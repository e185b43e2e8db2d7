"""One sound: classified once, then explained by every method for every target."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import msgspec

from ...errors import TargetError
from ..audio.sound import OpenSound
from ..engine import Engine
from ..inference.deadline import Deadline
from ..inference.window import Clock, Window
from ..methods.loading import all_methods, expectation_of, method_of
from ..methods.protocol import AsksAhead, Context, Explanation, Method, Sound
from ..methods.result import MethodResult
from ..observing import Observation, tell
from ..results.result import Result
from ..scores.labels import ranked
from .classification import KEPT_BYTES, Classification, classify
from .request import Request


def explain(
    engine: Engine,
    opened: OpenSound,
    clock: Clock,
    request: Request,
    deadline: Deadline,
    first: Window | None = None,
    *,
    alone: bool = True,
) -> list[Result]:
    """Explain a sound: one result for each target. Raises EarmarkError as `Explainer.explain`.

    first: the sound's only window, where it is classified already
    alone: no other thread computes meanwhile, so that graphs of several methods may run side by side
    """
    manifest = engine.manifest
    classified = classify(
        engine,
        opened,
        clock,
        request.windowing,
        deadline=deadline,
        keep_bytes=KEPT_BYTES if request.methods else 0,
        first=first,
    )
    order = ranked(classified.scores, manifest.task)
    targets = request.targets or (order[0],)
    explained = [_Explained() for _ in targets]
    windows = _explain(engine, classified, clock, request, deadline, targets, explained, alone)
    warnings = [
        *engine.sessions.warnings,
        *opened.warnings,
        *engine.pipeline.loudness_warnings(opened.peak, request.windowing),
        *classified.warnings,
        *_partial(deadline, classified, windows if request.methods else None),
    ]
    results = [
        Result(
            input=opened.name,
            predictions=tuple((manifest.labels[k], float(classified.scores[k])) for k in order),
            target=manifest.labels[target],
            logits=classified.logits,
            sample_rate=opened.input_rate,
            channel_count=opened.input_channels,
            duration_s=opened.input_samples / opened.input_rate,
            windows=classified.windows,
            device=engine.device,
            bundle=manifest.name,
            bundle_id=manifest.bundle_id,
            seed=request.seed,
            partial=bool(deadline.reason) or not opened.complete,
            settings=request.settings(manifest.labels),
            flat=opened.flat,
            timings=dict(clock.milliseconds),
            warnings=(
                *warnings,
                *one.warnings,
                *(line for part in one.parts.values() for line in part.warnings),
            ),
            parts=one.parts,
            sound=opened,
        )
        for target, one in zip(targets, explained, strict=True)
    ]
    observation = Observation(
        kind="result",
        input=opened.name,
        bundle=manifest.name,
        device=engine.device,
        duration_s=opened.input_samples / opened.input_rate,
        windows=len(classified.windows),
        answers=len(results),
        timings=dict(clock.milliseconds),
    )
    tell(observation)
    return results


class _Explained(msgspec.Struct):
    """What the methods give for one target, and which of them cannot."""

    parts: dict[str, MethodResult] = {}
    warnings: list[str] = []


# For whom what runs is, its method, and that.
_Running = tuple[_Explained, Method, Explanation | AsksAhead]


def _explain(
    engine: Engine,
    classified: Classification,
    clock: Clock,
    request: Request,
    deadline: Deadline,
    targets: Sequence[int],
    explained: Sequence[_Explained],
    alone: bool,
) -> int:
    """Ask every method for every target, and fill `explained`; how many windows the methods saw."""
    running: list[_Running] = []
    if not deadline.reason:
        running = _begin(engine, classified, clock, request, deadline, targets, explained)
    asking = [(method, one) for _, method, one in running if isinstance(one, AsksAhead)]
    # Other providers may not take two threads, and have one device.
    beside = alone and len(asking) > 1 and engine.device == "cpu" and engine.workers.count > 1
    seen = 0
    for window in classified.again(engine, clock) if running else ():
        if deadline.reached():
            break
        asks = [partial(_asked, clock, method, one, window) for method, one in asking]
        answers = iter(engine.workers.each(asks)) if beside else (ask() for ask in asks)
        for _, method, explanation in running:
            with _counted(clock, method):
                if isinstance(explanation, AsksAhead):
                    explanation.add(window, next(answers))
                else:
                    explanation.add(window)
        seen += 1
    for one, method, explanation in running if seen else ():
        with _counted(clock, method):
            one.parts[method.name] = explanation.finish()
    return seen


def _asked(clock: Clock, method: Method, explanation: AsksAhead, window: Window) -> Any:
    with _counted(clock, method):
        return explanation.ask(window)


def _begin(
    engine: Engine,
    classified: Classification,
    clock: Clock,
    request: Request,
    deadline: Deadline,
    targets: Sequence[int],
    explained: Sequence[_Explained],
) -> list[_Running]:
    """Begin every explanation. A method that nobody named is left out where it cannot answer for a target."""
    opened = classified.opened
    sound = Sound(
        samples=opened.samples,
        windows=classified.count,
        plan=classified.plan,
        predicted=ranked(classified.scores, engine.manifest.task)[0],
    )
    running: list[_Running] = []
    for name, options in request.methods.items():
        context = Context(
            bundle=engine.bundle,
            run=engine.pipeline.runner(clock),
            run_graph=engine.sessions.run_graph,
            cache=engine.cache,
            clock=clock,
            opened=opened,
            windows=lambda: classified.again(engine, clock),
            logits_of=engine.pipeline.logits_of,
            rescore=request.rescore,
            seed=request.seed,
            options=options,
            makes_sound=engine.pipeline.makes_sound,
            aggregate=engine.pipeline.aggregate(request.windowing),
            stopped=deadline.reached,
            expectation=lambda window, target: expectation_of(engine.graphs, window, target),
        )
        method = method_of(name)
        for one, target in zip(explained, targets, strict=True):
            try:
                running.append((one, method, method.begin(context, sound, target)))
            except TargetError as error:
                if request.named:
                    raise
                one.warnings.append(f"{name} is left out: {error}")
    if request.rescore:
        for one in explained:
            if not any(of is one and method.rescores for of, method, _ in running):
                able = " or ".join(method.name for method in all_methods() if method.rescores)
                one.warnings.append(f"nothing was rescored: that takes {able}, of which none runs here")
    return running


def _counted(clock: Clock, method: Method) -> AbstractContextManager[None]:
    """Counting the time spent inside, for methods that do not do so themselves."""
    return nullcontext() if method.own_clock else clock.stage(method.name)


def _partial(deadline: Deadline, classified: Classification, explained: int | None) -> list[str]:
    """A warning where the answer is partial; explained: windows the methods saw, None without methods."""
    if not deadline.reason:
        return []
    of = f"of {classified.count} windows"
    if not classified.complete:
        done = f"{len(classified.windows)} {of} were classified"
        rest = "" if explained is None else "; none was explained"
        return [f"partial: {deadline.reason} when {done}{rest}"]
    if not explained:
        return [f"partial: {deadline.reason} before anything was explained"]
    if explained < classified.count:
        return [f"partial: {deadline.reason} when {explained} {of} were explained"]
    return [f"partial: {deadline.reason} before the methods had asked all they wanted"]
