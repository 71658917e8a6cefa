"""Two metrics of cells, such as accuracy and cost, with the Pareto front."""

import math
from collections.abc import Sequence

import altair as alt

from jnas import directions
from jnas.report import fronts, numbers
from jnas.report.charts import data

_NAMED = 8  # fronts of at most so many cells show the cells' names
_LONGEST = 24  # characters of such a name
_END = {1: "low", -1: "high"}  # the worse end of an axis, by the metric's sign
_MOST = 600  # dominated points of one source; longer lists are thinned evenly


def pareto(
    points: Sequence[fronts.Cell], *, x: str = "parameters", y: str = "test_accuracy"
) -> alt.LayerChart:
    """Draws cells as points, and their Pareto front as a line.

    Which end of an axis is better is what the cells' runs recorded, else what the name
    of the metric says; an arrow in the axis' title points to it. Cells with a y far
    worse than the worst decile are left out; the title gives their number.

    Args:
      points: as from ``report.cells``; those without x or y are left out.
      x: name of a metric, such as a cost.
      y: name of a metric, such as an accuracy.
    """
    shown = [p for p in points if x in p.figures and y in p.figures]
    across, up = fronts.metric(points, x), fronts.metric(points, y)
    pairs = [(p.figures[x], p.figures[y]) for p in shown]
    best = fronts.front(pairs, (across.sign, up.sign))
    rows = _thinned(_rows(shown, set(best), x, y))
    low = _floor([up.sign * row["y"] for row in rows])
    left_out = [row["place"] for row in rows if up.sign * row["y"] < low]
    rows = [row for row in rows if up.sign * row["y"] >= low]
    large = max((abs(point.figures[x]) for point in shown), default=0) >= 1000
    base = alt.Chart(data.values(rows)).encode(
        x=alt.X(
            "x:Q",
            title=data.words(across.label),
            scale=alt.Scale(zero=False, padding=30),
            axis=alt.Axis(format="~s" if large else "~g"),
        ),
        y=alt.Y(
            "y:Q", title=data.words(up.label), scale=alt.Scale(zero=False, padding=18)
        ),
    )
    several = len({point.source for point in shown}) > 1
    line = _line(base, across)
    layers = [line, _dots(base, several).encode(tooltip=_tips(across, up, large))]
    if len(best) <= _NAMED and all(len(shown[i].name) <= _LONGEST for i in best):
        layers.append(_names(base))
    return alt.layer(*layers).properties(
        title=f"{data.words(y).capitalize()} versus {data.words(x)}"
        + _left_out(left_out, _END[up.sign]),
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


def _thinned(rows: list[dict]) -> list[dict]:
    """Returns all rows on the front, and of each source evenly picked others."""
    sources: dict[str, list[dict]] = {}
    for row in rows:
        sources.setdefault(row["source"], []).append(row)
    kept = []
    for one in sources.values():
        front = [row for row in one if row["place"] == "on the front"]
        others = [row for row in one if row["place"] != "on the front"]
        kept += [*numbers.thinned(others, _MOST), *front]
    return kept


def _floor(values: Sequence[float]) -> float:
    """Returns the score below which a cell is an outlier."""
    ordered = sorted(values)
    few = len(ordered) // 10
    height = ordered[-1] - ordered[few] if few else 0.0
    return ordered[few] - 2 * height if height else -math.inf


def _left_out(places: Sequence[str], end: str) -> str:
    """Returns the part of the title that says how many cells are not shown."""
    if not places:
        return ""
    known = places.count("on the front")
    front = f", {known} on the front," if known else ""
    return f" ({len(places)} {end} outliers{front} not shown)"


def _line(base: alt.Chart, across: directions.Metric) -> alt.Chart:
    """Returns the edge of what the front dominates: a step to the worse x first."""
    step = "step-after" if across.sign < 0 else "step-before"
    line = base.transform_filter("datum.place == 'on the front'")
    line = line.mark_line(interpolate=step, strokeDash=[4, 3], opacity=0.7)
    return line.encode(order="x:Q")


def _dots(base: alt.Chart, several: bool) -> alt.Chart:
    on_front = "datum.place == 'on the front'"
    legend = alt.Legend() if several else None
    return base.mark_point(filled=True, size=60).encode(
        color=alt.Color("source:N", title=None, sort=None, legend=legend),
        opacity=alt.condition(on_front, alt.value(1), alt.value(0.45)),
    )


def _tips(
    across: directions.Metric, up: directions.Metric, large: bool
) -> list[alt.Tooltip]:
    x = data.words(across.label)
    return [
        alt.Tooltip("name:N", title="cell"),
        alt.Tooltip("source:N", title="run"),
        data.tooltip("y", data.words(up.label)),
        alt.Tooltip("x:Q", title=x, format="," if large else ".4~g"),
        alt.Tooltip("place:N", title="front of these two"),
    ]


def _names(base: alt.Chart) -> alt.Chart:
    """Returns the names of the cells on the front, below and right of their points."""
    return (
        base.transform_filter("datum.place == 'on the front'")
        .mark_text(align="left", dx=7, dy=9, fontSize=10, limit=130)
        .encode(text="name:N")
    )
