"""Small line charts as SVG that follow the colours of the page they stand in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import ArrayLike

from implicit_geometry._validate import Floats, InputError

MOST_POINTS = 200
"""Points of a line that are drawn; of a longer one every so-manieth, the last included."""

_WIDTH, _HEIGHT = 360, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 38


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: in the legend.
        x: abscissas, shape (n,).
        y: ordinates, shape (n,); NaN leaves a gap.
        color: any of CSS.
        dash: of SVG's ``stroke-dasharray``; solid if empty.
        value: the last ordinate as the legend shows it, or nothing.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    color: str
    dash: str = ""
    value: str = ""


@dataclass(frozen=True)
class _Scale:
    """One axis: data to pixels, with the values that get a tick."""

    low: float
    high: float
    start: float
    stop: float
    ticks: tuple[float, ...]
    log: bool

    def place(self, values: ArrayLike) -> Floats:
        low, high, at = self.low, self.high, np.asarray(values, dtype=np.float64)
        if self.log:
            low, high, at = np.log10(low), np.log10(high), np.log10(at)
        return np.asarray(self.start + (at - low) / (high - low) * (self.stop - self.start))


def line_chart(title: str, lines: Sequence[Line], *, x_label: str = "epoch", log: bool = False, form: str = "g") -> str:
    """A chart with its legend, as an HTML fragment.

    Args:
        title: heading, and the text for a reader who cannot see the chart.
        lines: at least one with a finite point; on a logarithmic axis points that are not positive are left out.
        x_label: name of the horizontal axis.
        log: logarithmic vertical axis.
        form: format specification of the numbers on the vertical axis.

    Raises:
        InputError: no line has a point to draw.

    Example:
        >>> chart = line_chart("Loss", [Line("train", [1, 2, 3], [4.0, 2.0, 1.0], "#0072B2")])
        >>> chart.count("<polyline"), "Loss" in chart
        (1, True)
    """
    drawn = [(line, *_points(line, log)) for line in lines]
    finite = [np.column_stack([x, y])[np.isfinite(y)] for _, x, y in drawn]
    points = np.concatenate(finite) if finite else np.empty((0, 2))
    if not len(points):
        raise InputError(f"lines of chart {title!r}", "must have a point that can be drawn", "none")
    across = _scale(points[:, 0], _LEFT, _WIDTH - _RIGHT, log=False)
    up = _scale(points[:, 1], _HEIGHT - _BOTTOM, _TOP, log=log)
    shapes = "".join(_polylines(line, across.place(x), up.place(y)) for line, x, y in drawn)
    axes = _horizontal_axis(across, x_label) + _vertical_axis(up, form)
    picture = (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)} by {escape(x_label)}">'
        f"{axes}{shapes}</svg>"
    )
    legend = "".join(_legend_entry(line) for line in lines)
    return f'<div class="chart"><h4>{escape(title)}</h4>{picture}<ul class="legend">{legend}</ul></div>'


def _points(line: Line, log: bool) -> tuple[Floats, Floats]:
    x, y = (np.asarray(values, dtype=np.float64) for values in (line.x, line.y))
    kept = np.unique(np.linspace(0, max(x.size - 1, 0), min(x.size, MOST_POINTS)).round().astype(int))
    drawable = (y > 0) & np.isfinite(y) if log else np.isfinite(y)
    return x[kept], np.where(drawable, y, np.nan)[kept]


def _scale(values: Floats, start: float, stop: float, *, log: bool) -> _Scale:
    low, high = float(values.min()), float(values.max())
    if log:
        spare = max((high / low) ** 0.05, 1.2 if high / low < 1.05 else 1.0)
        low, high = low / spare, high * spare
        subs = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
        ticks = LogLocator(subs=subs, numticks=7).tick_values(low, high)
    else:
        spare = 0.05 * (high - low) or 0.5
        low, high = (low, high) if stop > start else (low - spare, high + spare)
        low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
        ticks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    inside = tuple(float(tick) for tick in ticks if low <= tick <= high)
    return _Scale(low, high, start, stop, inside, log)


def _polylines(line: Line, x: Floats, y: Floats) -> str:
    """The line in pieces without gaps; a point alone as a short dash."""
    there = np.isfinite(y)
    breaks = np.flatnonzero(np.diff(there.astype(int))) + 1
    pieces = []
    for part in np.split(np.arange(y.size), breaks):
        if part.size and there[part[0]]:
            dot = part.size == 1
            ends = x[part] if not dot else x[part] + np.array([-3.0, 3.0])
            heights = y[part] if not dot else y[part].repeat(2)
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(ends, heights, strict=True))
            pieces.append(f'<polyline points="{path}" {_look(line)}><title>{escape(line.name)}</title></polyline>')
    return "".join(pieces)


def _horizontal_axis(scale: _Scale, label: str) -> str:
    floor = _HEIGHT - _BOTTOM
    ticks = "".join(
        f'<text x="{at:.1f}" y="{floor + 15}" class="mid">{tick:g}</text>'
        for tick, at in zip(scale.ticks, scale.place(scale.ticks), strict=True)
    )
    middle = (scale.start + scale.stop) / 2
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{floor}" y2="{floor}" class="axis"/>{ticks}'
        f'<text x="{middle:g}" y="{_HEIGHT - 4}" class="mid">{escape(label)}</text>'
    )


def _vertical_axis(scale: _Scale, form: str) -> str:
    return "".join(
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>'
        f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" class="end">{format(tick, form)}</text>'
        for tick, at in zip(scale.ticks, scale.place(scale.ticks), strict=True)
    )


def _legend_entry(line: Line) -> str:
    stroke = f'<line x1="1" x2="25" y1="4" y2="4" {_look(line)}/>'
    sample = f'<svg viewBox="0 0 26 8" aria-hidden="true">{stroke}</svg>'
    value = f" <b>{escape(line.value)}</b>" if line.value else ""
    return f"<li>{sample}{escape(line.name)}{value}</li>"


def _look(line: Line) -> str:
    return f'stroke="{line.color}"' + (f' stroke-dasharray="{line.dash}"' if line.dash else "")
