"""Accuracy versus cost, with the Pareto front."""

import math
from collections.abc import Sequence

import altair as alt

from jnas.report import fronts
from jnas.report.charts import data

_NAMED = 8  # fronts of at most so many cells show the cells' names
_LONGEST = 24  # characters of such a name


def pareto(
    points: Sequence[fronts.Cell], *, x: str = "parameters", y: str = "test_accuracy"
) -> alt.LayerChart:
    """Draws cells as points, and their Pareto front as a line.

    Cells far below the worst decile of y are left out; the title gives their number.

    Args:
      points: as from ``report.cells``; those without x or y are left out.
      x: name of a cost; lower is better.
      y: name of an accuracy; higher is better.
    """
    shown = [p for p in points if x in p.figures and y in p.figures]
    best = fronts.front([(p.figures[x], p.figures[y]) for p in shown])
    rows = _rows(shown, set(best), x, y)
    low, num_below = _floor([row["y"] for row in rows])
    rows = [row for row in rows if row["y"] >= low]
    large = max((point.figures[x] for point in shown), default=0) >= 1000
    base = alt.Chart(data.values(rows)).encode(
        x=alt.X(
            "x:Q",
            title=data.words(x),
            scale=alt.Scale(zero=False, padding=30),
            axis=alt.Axis(format="~s" if large else "~g"),
        ),
        y=alt.Y("y:Q", title=data.words(y), scale=alt.Scale(zero=False, padding=18)),
    )
    several = len({point.source for point in shown}) > 1
    layers = [_line(base), _dots(base, several).encode(tooltip=_tips(x, y, large))]
    if len(best) <= _NAMED and all(len(shown[i].name) <= _LONGEST for i in best):
        layers.append(_names(base))
    return alt.layer(*layers).properties(
        title=f"{data.words(y).capitalize()} versus {data.words(x)}"
        + (f" ({num_below} low outliers not shown)" if num_below else ""),
        width=data.WIDTH,
        height=data.HEIGHT + 40,
    )


def _rows(shown, best: set[int], x: str, y: str) -> list[dict]:
    return [
        {
            "name": point.name,
            "source": point.source,
            "x": point.figures[x],
            "y": point.figures[y],
            "place": "on the front" if i in best else "dominated",
        }
        for i, point in enumerate(shown)
    ]


def _floor(values: Sequence[float]) -> tuple[float, int]:
    """Returns the lower limit of the axis, and the number of outliers below it."""
    ordered = sorted(values)
    few = len(ordered) // 10
    if not few:
        return -math.inf, 0
    height = ordered[-1] - ordered[few]
    low = ordered[few] - 2 * height if height else -math.inf
    return low, sum(value < low for value in ordered)


def _line(base: alt.Chart) -> alt.Chart:
    line = base.transform_filter("datum.place == 'on the front'")
    line = line.mark_line(interpolate="step-after", strokeDash=[4, 3], opacity=0.7)
    return line.encode(order="x:Q")


def _dots(base: alt.Chart, several: bool) -> alt.Chart:
    on_front = "datum.place == 'on the front'"
    legend = alt.Legend() if several else None
    return base.mark_point(filled=True, size=60).encode(
        color=alt.Color("source:N", title=None, sort=None, legend=legend),
        opacity=alt.condition(on_front, alt.value(1), alt.value(0.45)),
    )


def _tips(x: str, y: str, large: bool) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("name:N", title="cell"),
        alt.Tooltip("source:N", title="run"),
        data.tooltip("y", data.words(y)),
        alt.Tooltip("x:Q", title=data.words(x), format="," if large else ".4~g"),
        alt.Tooltip("place:N", title="Pareto front"),
    ]


def _names(base: alt.Chart) -> alt.Chart:
    """Returns the names of the cells on the front, below and right of their points."""
    return (
        base.transform_filter("datum.place == 'on the front'")
        .mark_text(align="left", dx=7, dy=9, fontSize=10, limit=130)
        .encode(text="name:N")
    )
