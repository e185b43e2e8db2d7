"""Pictures on matplotlib axes, for papers and notebooks; matplotlib is imported when somebody plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import MissingDependencyError
from ..values.mel import hz_of_mel, mel_of
from .colours import (
    AGAINST,
    FAINT,
    FOR,
    INK,
    KEPT,
    PALE,
    PAPER,
    RANGE_DB,
    Colour,
    colours_of,
    loudness_of,
    mixed,
    ramp,
)
from .lettering import lettered
from .outline import smoothed
from .scales import (
    FrequencyScale,
    clock,
    columns_of,
    frequencies_of,
    frequency_marks,
    lowest_hz,
    on_scale,
    time_marks,
    time_unit,
)
from .shown import Bars, Box, Chart, Curve, Join, Scores, Sheet, Spectrogram, Tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Inches.
_WIDTH, _MAIN, _BARS, _CURVE, _TILE, _ROW = 9.0, 4.0, 1.1, 0.4, 2.0, 1.35


@dataclass(frozen=True)
class Sizes:
    """Of a figure that is made: inches wide and high, and dots per inch; None: as fits."""

    size: tuple[float, float] | None = None
    dpi: float | None = None


def plot_chart(chart: Chart, ax: Axes | None, frequency: FrequencyScale, sizes: Sizes) -> Axes:
    """The chart on axes, or on those of a new figure; strips and colour bars take their room from them.

    Raises MissingDependencyError.
    """
    heights = [_BARS if isinstance(strip, Bars) else _CURVE for strip in chart.strips]
    ax = _axes(ax, sizes, _MAIN + sum(heights))
    from mpl_toolkits.axes_grid1 import make_axes_locatable

    divider = make_axes_locatable(ax)
    _titles(ax, chart.title, chart.caption)
    strips = list(zip(chart.strips, heights, strict=True))
    below = [ax]
    if chart.spectrogram is None and chart.tiles is None and strips:
        _strip(ax, strips.pop(0)[0], chart.seconds)
    else:
        _main(ax, divider, chart, frequency)
    for strip, height in strips:
        share = f"{100.0 * height / _MAIN:.0f}%"
        below.append(
            divider.append_axes("bottom", size=share, pad=0.1 if len(below) > 1 else 0.15, sharex=ax)
        )
        _strip(below[-1], strip, chart.seconds)
    for one in below[:-1]:
        one.tick_params(labelbottom=False)
    _time_axis(below[-1], chart.seconds)
    return ax


def plot_sheet(sheet: Sheet, figure: Figure | None, frequency: FrequencyScale, sizes: Sizes) -> Figure:
    """The sheet on a figure, or on a new one. Raises MissingDependencyError."""
    count = max((len(row.cells) for row in sheet.rows), default=1)
    rows = max(1, len(sheet.rows))
    if figure is None:
        size = sizes.size or (1.4 + _TILE * count, 0.9 + _ROW * rows)
        figure = _pyplot().figure(figsize=size, dpi=sizes.dpi, layout="constrained")
    title = _text("t", *filter(None, (sheet.title, sheet.subtitle)))
    figure.suptitle(fontsize="medium", x=0.01, ha="left", **title)
    figure.supxlabel(fontsize="small", color=_hex(FAINT), x=0.01, ha="left", **_text("t", sheet.caption))
    grid = figure.subplots(rows, count, squeeze=False)
    for line, axes in enumerate(grid):
        cells = sheet.rows[line].cells if sheet.rows else ()
        for column, ax in enumerate(axes):
            ax.set_xticks([])
            ax.set_yticks([])
            if column >= len(cells):
                ax.set_axis_off()
                continue
            cell = cells[column]
            ax.set_xlabel(fontsize="x-small", color=_hex(FAINT), **_text("xlabel", *cell.lines))
            if cell.spectrogram is not None:
                _image(ax, cell.spectrogram, frequency)
                _box(ax, cell.place)
            if line == 0 and column < len(sheet.heads):
                ax.set_title(sheet.heads[column], loc="left", fontsize="small")
        if sheet.rows:
            axes[0].set_ylabel("\n".join(sheet.rows[line].words), fontsize="small")
    return figure


def plot_scores(scores: Scores, ax: Axes | None, sizes: Sizes) -> Axes:
    """Scores of labels over time, and boxes around what was detected. Raises MissingDependencyError."""
    count = max(1, len(scores.labels))
    ax = _axes(ax, sizes, 1.7 + 0.4 * count)
    from mpl_toolkits.axes_grid1 import make_axes_locatable

    _titles(ax, scores.title, scores.caption)
    colours = _colour_map(ramp())
    for row in range(len(scores.labels)):
        edges = np.concatenate([scores.start_s[:1], scores.end_s])
        ax.pcolormesh(
            edges,
            [row - 0.4, row + 0.4],
            scores.values[None, :, row],
            cmap=colours,
            vmin=0.0,
            vmax=1.0,
            rasterized=True,
        )
    for start, end, row in scores.detected:
        _box(ax, (start, end, row - 0.42, row + 0.42))
    ax.set_yticks(range(len(scores.labels)))
    names = [_text("label", label) for label in scores.labels]
    ax.set_yticklabels([str(one["label"]) for one in names])
    for tick, one in zip(ax.get_yticklabels(), names, strict=True):
        tick.set(parse_math=False, fontfamily=one["fontfamily"])
    ax.set_ylim(count - 0.5, -0.5)
    _time_axis(ax, scores.seconds)
    side = make_axes_locatable(ax).append_axes("right", size="2%", pad=0.15)
    _bar(ax, side, colours, (0.0, 1.0), "score")
    return ax


def _pyplot() -> Any:
    """matplotlib.pyplot. Raises MissingDependencyError."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise MissingDependencyError("plotting needs matplotlib: pip install 'earmark[plot]'") from error
    return pyplot


def _axes(ax: Axes | None, sizes: Sizes, height: float) -> Axes:
    """The axes, or those of a new figure."""
    pyplot = _pyplot()
    if ax is not None:
        return ax
    figure = pyplot.figure(figsize=sizes.size or (_WIDTH, height), dpi=sizes.dpi, layout="tight")
    made: Axes = figure.add_subplot()
    return made


def _titles(ax: Axes, title: str, caption: str) -> None:
    """The title, and below it in small letters the sound and the bundle."""
    ax.set_title(loc="left", pad=20, **_text("label", title))
    ax.annotate(
        xy=(0.0, 1.0),
        xycoords="axes fraction",
        xytext=(0, 5),
        textcoords="offset points",
        fontsize="small",
        color=_hex(FAINT),
        **_text("text", caption),
    )


def _main(ax: Axes, divider: Any, chart: Chart, frequency: FrequencyScale) -> None:
    shown, tiles = chart.spectrogram, chart.tiles
    if shown is not None:
        _image(ax, shown, frequency, pale=tiles is not None)
        side = divider.append_axes("right", size="2%", pad=0.12)
        _bar(ax, side, _colour_map(ramp()), (-RANGE_DB, 0.0), "Level (dB re loudest cell)")
        if shown.mask is not None:
            side = divider.append_axes("right", size="2%", pad=0.75)
            levels = np.linspace(0.0, 1.0, 256, dtype=np.float32)
            bar = _bar(
                ax,
                side,
                _colour_map(colours_of(np.full_like(levels, 0.85), levels)),
                (0.0, 1.0),
                "mask (line: 0.4)",
            )
            bar.ax.axhline(KEPT, color=_hex(FOR))
    if tiles is not None:
        _tiles(ax, tiles)
        most = float(np.abs(tiles.values).max(initial=0.0)) or 1.0
        levels = np.linspace(-1.0, 1.0, 255, dtype=np.float32)[:, None]
        against, favour = mixed(PAPER, AGAINST, np.abs(levels)), mixed(PAPER, FOR, np.abs(levels))
        side = divider.append_axes("right", size="2%", pad=0.75 if shown is not None else 0.12)
        _bar(
            ax,
            side,
            _colour_map(np.where(levels < 0, against, favour)),
            (-most, most),
            f"{tiles.unit} (striped: against)",
        )
    _frequency_axis(ax, chart.max_hz, frequency)


def _image(ax: Axes, shown: Spectrogram, frequency: FrequencyScale, *, pale: bool = False) -> None:
    """The spectrogram, with a line around what its mask keeps."""
    low, right = lowest_hz(shown.max_hz, frequency), shown.start_s + shown.seconds
    loudness = on_scale(loudness_of(columns_of(shown.amplitude)), shown.max_hz, frequency)
    mask = None if shown.mask is None else on_scale(columns_of(shown.mask), shown.max_hz, frequency)
    colours = colours_of(loudness, mask)
    if pale:
        colours = mixed(PAPER, colours, PALE)
    _scale(ax, shown.max_hz, frequency)
    rows = loudness.shape[1]
    if frequency == "linear":
        extent = (shown.start_s, right, low, shown.max_hz)
        ax.imshow(colours.transpose(1, 0, 2), origin="lower", aspect="auto", extent=extent)
    else:
        # An image would be stretched evenly in Hz, or not, depending on matplotlib's version.
        edges = frequencies_of(np.linspace(0.0, 1.0, rows + 1), shown.max_hz, frequency)
        times = np.linspace(shown.start_s, right, len(loudness) + 1)
        ax.pcolormesh(times, edges, colours.transpose(1, 0, 2), rasterized=True)
    if mask is not None:
        kept = smoothed(mask)
        if kept.min(initial=1.0) < KEPT <= kept.max(initial=0.0):
            times = shown.start_s + (np.arange(len(kept)) + 0.5) * shown.seconds / len(kept)
            heights = frequencies_of((np.arange(rows) + 0.5) / rows, shown.max_hz, frequency)
            ax.contour(times, heights, kept.T, levels=[KEPT], colors=[_hex(FOR)], linewidths=1.2)
    ax.set_xlim(shown.start_s, right)
    ax.set_ylim(low, shown.max_hz)


def _tiles(ax: Axes, tiles: Tiles) -> None:
    from matplotlib.patches import Rectangle

    most = float(np.abs(tiles.values).max(initial=0.0)) or 1.0
    for (start, end, low, high), value in zip(tiles.boxes, tiles.values, strict=True):
        share = 0.85 * abs(float(value)) / most
        colour = _unit(FOR if value >= 0 else AGAINST)
        place, size = (start, low), (end - start, high - low)
        face = (*colour, share if value >= 0 else 0.25 * share)
        ax.add_patch(Rectangle(place, *size, facecolor=face, linewidth=0))
        if value < 0:
            edge = (*colour, share)
            ax.add_patch(Rectangle(place, *size, fill=False, hatch="////", edgecolor=edge, linewidth=0))


def _strip(ax: Axes, strip: Bars | Curve, seconds: float) -> None:
    if isinstance(strip, Bars):
        favour = strip.values >= 0
        for chosen, colour, hatch in ((favour, FOR, ""), (~favour, AGAINST, "////")):
            ax.bar(
                strip.start_s[chosen],
                strip.values[chosen],
                (strip.end_s - strip.start_s)[chosen] * 0.96,
                align="edge",
                color=_hex(colour) if not hatch else "none",
                edgecolor=_hex(colour),
                hatch=hatch,
                linewidth=0.6,
            )
        known = np.isfinite(strip.spread)
        middle = 0.5 * (strip.start_s + strip.end_s)
        ax.errorbar(
            middle[known],
            strip.values[known],
            strip.spread[known],
            fmt="none",
            ecolor=_hex(INK),
            elinewidth=0.8,
        )
        ax.axhline(0.0, color=_hex(INK), linewidth=0.8)
        ax.set_ylabel(strip.unit)
        _joins(ax, strip.joins)
    else:
        shade = _hex(FOR if strip.strong else FAINT)
        frames = columns_of(np.asarray(strip.values, np.float32)[:, None])[:, 0]
        times = (np.arange(len(frames)) + 0.5) * seconds / len(frames)
        ax.fill_between(times, frames, color=shade, linewidth=0)
        ax.set_yticks([])
        ax.set_ylim(0.0, float(frames.max(initial=0.0)) * 1.9 or 1.0)
        at: dict[str, Any] = {"xycoords": "axes fraction", "fontsize": "x-small"}
        ax.annotate(xy=(0.005, 0.95), va="top", **at, **_text("text", strip.name))
        ax.annotate(f"{strip.number:+.2f}", (1.01, 0.5), va="center", color=shade, **at)
    ax.set_xlim(0.0, seconds)


def _joins(ax: Axes, joins: tuple[Join, ...]) -> None:
    """A row each above the bars: a line over both stretches, and the word on what joins them."""
    low, high = ax.get_ylim()
    step = 0.16 * (high - low)
    for number, join in enumerate(joins):
        row = high + (len(joins) - number - 0.5) * step
        for start, end in (join.first, join.second):
            ax.plot([start, end], [row, row], color=_hex(INK), linewidth=3.0, solid_capstyle="butt")
        between = (join.first[1], join.second[0])
        ax.plot(between, [row, row], color=_hex(FAINT), linewidth=0.8)
        ax.annotate(join.word, (0.5 * sum(between), row), ha="center", va="center", fontsize="x-small")
    ax.set_ylim(low, high + len(joins) * step)


def _box(ax: Axes, place: Box) -> None:
    from matplotlib.patches import Rectangle

    start, end, low, high = place
    ax.add_patch(
        Rectangle((start, low), end - start, high - low, fill=False, edgecolor=_hex(FOR), linewidth=1.6)
    )


def _scale(ax: Axes, max_hz: float, frequency: FrequencyScale) -> None:
    if frequency == "mel":
        ax.set_yscale("function", functions=(lambda hz: mel_of(np.maximum(hz, 0.0)), hz_of_mel))
    elif frequency == "log":
        ax.set_yscale("log")
        ax.set_ylim(lowest_hz(max_hz, frequency), max_hz)


def _frequency_axis(ax: Axes, max_hz: float, frequency: FrequencyScale) -> None:
    _scale(ax, max_hz, frequency)
    from matplotlib.ticker import NullLocator

    unit, by = ("kHz", 1000.0) if max_hz >= 2000.0 else ("Hz", 1.0)
    marks = frequency_marks(max_hz, frequency)
    ax.set_yticks(marks, labels=[f"{hz / by:g}" for hz in marks])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylim(lowest_hz(max_hz, frequency), max_hz)
    ax.set_ylabel(f"Frequency ({unit}{'' if frequency == 'linear' else f', {frequency} scale'})")


def _time_axis(ax: Axes, seconds: float) -> None:
    marks = time_marks(seconds)
    step = marks[1] if len(marks) > 1 else seconds
    ax.set_xticks(marks, labels=[clock(at, step, seconds) for at in marks])
    ax.set_xlim(0.0, seconds)
    unit = time_unit(seconds)
    ax.set_xlabel(f"Time ({'s' if unit == 'seconds' else unit})")


def _bar(ax: Axes, side: Axes, colours: Any, limits: tuple[float, float], label: str) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = ax.figure.colorbar(ScalarMappable(Normalize(*limits), colours), cax=side)
    bar.set_label(label)
    return bar


def _colour_map(colours: Any) -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap(np.asarray(colours, np.float64) / 255.0)


def _text(name: str, *lines: str) -> dict[str, Any]:
    """Arguments for lines of any script, which are never taken for mathematics; `name` that of the text."""
    shown, families = lettered(lines)
    return {name: shown, "parse_math": False, "fontfamily": families}


def _unit(colour: Colour) -> Sequence[float]:
    return [part / 255.0 for part in colour]


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
