"""Sounds explained in batches: what is asked of a whole batch, and by how many threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ..audio.sound import OpenSound, open_sound
from ..engine import Engine
from ..inference.window import Clock, Window
from ..methods.loading import method_of
from ..methods.protocol import Graphs
from .batch import Failure, explained, open_any
from .explanation import explain
from .request import Request

if TYPE_CHECKING:
    from ..results.result import Result


def explain_many(
    engine: Engine, request: Request, sounds: Iterable[Any], sample_rate: int | None, batch_size: int
) -> Iterator[Result | Failure]:
    """The answers for sounds in order, as `Explainer.explain_many` gives them.

    sample_rate: of bare waveforms; batch_size: sounds that are classified together
    """
    rate = engine.manifest.sample_rate
    # Of an iterator no more is drawn than is answered: it may wait for what comes.
    several = isinstance(sounds, Sequence) and len(sounds) > batch_size and bool(request.methods)
    aside = engine.aside if several else None
    # On the CPU two threads share the work, by smaller batches, so that no more sounds are open.
    shared = aside is not None and engine.device == "cpu"

    def opened(sound: Any) -> OpenSound:
        return open_any(partial(open_sound, sound, sample_rate, rate, request.deadline()), sound)

    def together(items: Sequence[object], clocks: Sequence[Clock]) -> list[Window | None]:
        windows = (aside or engine.pipeline).together(items, clocks, request.windowing)
        if shared and not request.targets:
            _ask_batches(engine, request, windows, clocks)
        return windows

    def answers(sound: OpenSound, clock: Clock, window: Window | None) -> list[Result]:
        # A sound of several windows was not classified with others: nothing may be left to do beside it.
        alone = not shared or window is None
        return explain(engine, sound, clock, request, request.deadline(), window, alone=alone)

    return explained(
        iter(sounds),
        -(-batch_size // 2) if shared else batch_size,
        opened,
        together,
        answers,
        lambda: request.origin(engine),
        ahead=3 if shared else int(aside is not None),
    )


def _ask_batches(
    engine: Engine, request: Request, windows: Sequence[Window | None], clocks: Sequence[Clock]
) -> None:
    """Run what the methods ask of whole batches in this thread: what each window is asked is there then.

    windows: of sounds of one window, classified together, with the clocks of the sounds
    """
    known = [(one, clock) for one, clock in zip(windows, clocks, strict=True) if one is not None]
    for batch in {id(one.batch): one.batch for one, _ in known}.values():
        members = [(one, clock) for one, clock in known if one.batch is batch]
        if len(members) == 1:
            continue
        clock = Clock()
        run = engine.pipeline.runner(clock)
        graphs = Graphs(engine.bundle, run, engine.sessions.run_graph, engine.cache)
        for name in request.methods:
            with suppress(Exception):
                method_of(name).ask_batch(graphs, members[0][0])
        clock.share([of_sound for _, of_sound in members])
