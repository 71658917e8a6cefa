"""Incumbents over a budget, as a drawing: a line of medians in a band of quartiles."""

import math
from collections.abc import Mapping
from typing import NamedTuple
from xml.sax import saxutils

import numpy as np

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 34, 46
# Okabe and Ito's colours, which stay apart for colour-blind readers
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666")


class Trace(NamedTuple):
    """Runs of one method.

    Attributes:
      cost: f[K], rising.
      quartiles: f[3, K]: lower, median, upper; where every run has an incumbent.
      count: of runs.
    """

    cost: np.ndarray
    quartiles: np.ndarray
    count: int


def draw(traces: Mapping[str, Trace], *, title: str, x_label: str, y_label: str) -> str:
    """Draws the median and the quartiles of each method's runs.

    Args:
      traces: name -> its runs, in the order of the legend.
      title: above the drawing.
      x_label: what cost is.
      y_label: what the values are.

    Returns:
      One SVG document without style attributes or requests.

    Raises:
      ValueError: nothing to draw.
    """
    bands = {n: np.vstack(t[:2]) for n, t in traces.items() if len(t.cost)}
    if not bands:
        raise ValueError("traces must hold a point, got none. Raise the budget.")
    x_high = max(float(band[0, -1]) for band in bands.values())
    # the first evaluations are far below: the axis begins at a typical early value
    low = min(float(np.quantile(band[1], 0.05)) for band in bands.values())
    high = max(float(band[3].max()) for band in bands.values())
    margin = 0.04 * (high - low) or 0.5
    x_ticks, y_ticks = ticks(0, x_high), ticks(low - margin, high + margin)
    frame = _Frame(x_high, low - margin, high + margin)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<clipPath id="frame"><rect x="{LEFT}" y="{TOP}" '
        f'width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}"/></clipPath>',
        _label(LEFT, 20, title, size=14),
        *_axes(frame, x_ticks, y_ticks, x_label, y_label),
    ]
    for number, (name, band) in enumerate(bands.items()):
        colour = COLOURS[number % len(COLOURS)]
        count = traces[name].count
        lines += _band(frame, band, colour)
        y = TOP + 14 + 34 * number
        x = WIDTH - RIGHT + 14
        lines.append(
            f'<rect x="{x}" y="{y - 9}" width="16" height="10" fill="{colour}"/>'
        )
        lines.append(_label(x + 22, y, name))
        lines.append(_label(x + 22, y + 14, f"n = {count}", colour="#5d6879"))
    return "\n".join([*lines, "</svg>"]) + "\n"


def ticks(low: float, high: float) -> list[float]:
    """Returns two to six round numbers inside [low, high].

    Args:
      low: the axis' begin.
      high: its end, above low.

    Example:
      >>> ticks(0, 100), ticks(0.13, 0.36)
      ([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], [0.15, 0.2, 0.25, 0.3, 0.35])
    """
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough * 0.999)
    digits = max(0, 2 - math.floor(math.log10(step)))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, digits) for i in range(first, last + 1)]


class _Frame(NamedTuple):
    """Where numbers stand in the drawing."""

    x_high: float
    low: float
    high: float

    def x(self, cost: float) -> float:
        return LEFT + cost / self.x_high * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        part = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)


def _axes(frame, x_ticks, y_ticks, x_label, y_label) -> list[str]:
    lines, bottom = [], HEIGHT - BOTTOM
    for tick in y_ticks:
        y = frame.y(tick)
        lines.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="#dde2ea"/>'
        )
        lines.append(_label(LEFT - 8, y + 4, f"{tick:g}", anchor="end"))
    for tick in x_ticks:
        lines.append(_label(frame.x(tick), bottom + 18, f"{tick:,g}", anchor="middle"))
    lines.append(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}" '
        'stroke="#5d6879"/>'
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    lines.append(_label(middle, HEIGHT - 10, x_label, anchor="middle"))
    y = (TOP + bottom) / 2
    turned = f'transform="rotate(-90 16 {y:.1f})"'
    lines.append(_label(16, y, y_label, anchor="middle", more=turned))
    return lines


def _band(frame: _Frame, band: np.ndarray, colour: str) -> list[str]:
    cost, lower, median, upper = band

    def points(values, where=cost):
        pairs = zip(where, values, strict=True)
        return " ".join(f"{frame.x(c):.1f},{frame.y(v):.1f}" for c, v in pairs)

    area = f"{points(upper)} {points(lower[::-1], cost[::-1])}"
    clip = 'clip-path="url(#frame)"'
    return [
        f'<polygon points="{area}" fill="{colour}" fill-opacity="0.18" {clip}/>',
        f'<polyline points="{points(median)}" fill="none" stroke="{colour}" '
        f'stroke-width="2" {clip}/>',
    ]


def _label(x, y, text, *, anchor="start", size=12, colour="#1c2330", more="") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{colour}" {more}>{saxutils.escape(str(text))}</text>'
    )
