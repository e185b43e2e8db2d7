"""What pictures of prototypes show: a row for each place of the input, beside the places that match it."""

from __future__ import annotations

from ...audio.amplitude import amplitude_of
from ...drawing.shown import Sheet, SheetRow, Spectrogram, Thumbnail
from ..result import About
from .prototype import Place, Prototype, WindowSound, place_text
from .result import PrototypesResult

# Prototypes a row.
SHOWN = 3


def nearest_sheet(part: PrototypesResult, about: About) -> Sheet:
    """Of every view the nearest prototypes, beside what they match.

    Raises PrototypeIndexError where the sound of one is gone or damaged.
    """
    rows = []
    for view, matches in part.prototypes.items():
        # Several places are looked up in a view: each has a row with its own matches.
        matched: dict[Place, list[Prototype]] = {}
        for one in matches[:SHOWN]:
            matched.setdefault(one.place, []).append(one)
        rows += [
            _row(part, (view.replace("_", " + "), "is nearest to"), place, mine[0].window, mine)
            for place, mine in matched.items()
        ]
    heads = ("in the input", "in training clips")
    return Sheet(about.title, "", about.caption, heads, tuple(rows))


def channels_sheet(part: PrototypesResult, about: About) -> Sheet:
    """Of every channel its place and the clips in which it is strongest. Raises as `nearest_sheet`."""
    rows = tuple(
        _row(
            part,
            (
                f"channel {one.channel}",
                f"value {one.score:.2f}" if one.contribution is None else f"adds {one.contribution:+.2f}",
            ),
            one.place,
            part.channels.window,
            one.prototypes[:SHOWN],
        )
        for one in part.channels
    )
    heads = ("where it peaks in the input", "training clips in which it is strongest")
    return Sheet(about.title, part.channels.sum, about.caption, heads, rows)


def _row(
    part: PrototypesResult,
    words: tuple[str, ...],
    place: Place,
    window: WindowSound | None,
    matches: list[Prototype] | tuple[Prototype, ...],
) -> SheetRow:
    seconds = part.channels.end_s - part.channels.start_s
    mine = None
    if window is not None:
        mine = Spectrogram(window.amplitude, window.seconds, window.max_hz, start_s=window.start_s)
    return SheetRow(
        words,
        (Thumbnail(mine, _box(place), (place_text(place),)), *(_match(one, seconds) for one in matches)),
    )


def _match(one: Prototype, seconds: float) -> Thumbnail:
    """As much of the training clip around the place as the window is long."""
    shown = None
    if one.sound is not None:
        wave, rate, start = one.around(seconds)
        shown = Spectrogram(amplitude_of(wave, rate), len(wave) / rate, rate / 2, start_s=start)
    text = f"{' + '.join(one.labels)}  {one.similarity:.2f}  {one.clip}"
    return Thumbnail(shown, _box(one), (text, place_text(one)))


def _box(place: Place | Prototype) -> tuple[float, float, float, float]:
    return place.start_s, place.end_s, place.fmin_hz, place.fmax_hz
