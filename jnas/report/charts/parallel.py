"""Parallel coordinates of a tuning: a line a trial, coloured by its score."""

import math
from collections.abc import Sequence

import altair as alt

from jnas.report import numbers, trials
from jnas.report import runs as runs_lib
from jnas.report.charts import data

_STEP = 120  # pixels between two axes
_TICKS = 5
_MOST = 400  # trials; more are thinned evenly


def parallel(run: runs_lib.RunFiles) -> alt.LayerChart:
    """Draws each trial as a line over an axis per tuned number, and its score.

    Axes of numbers that were drawn by their logarithm are logarithmic. Trials that
    diverged are left out.

    Args:
      run: a tuning.

    Raises:
      ValueError: no trial with a score.
    """
    known = trials.known(run)
    if not known:
        raise ValueError(
            "trials must hold at least one with a score, got none. Tune again."
        )
    known, score = numbers.thinned(known, _MOST), f"valid_{run.signal}"
    log, most = trials.logarithmic(run), max(one.epochs for one in known)
    axes = {
        name: _Axis(name, [one.values[name] for one in known], name in log)
        for name in known[0].values
    }
    rows = [
        {
            "trial": one.name,
            "axis": axis.title,
            "place": axis.place(one.values[name]),
            "value": _text(one.values[name]),
            "score": one.values[score],
            "epochs": one.epochs,
            "width": 2.2 if one.epochs == most else 0.9,
        }
        for one in known
        for name, axis in axes.items()
    ]
    ticks = [
        {"axis": axis.title, "place": axis.place(value), "label": _text(value)}
        for axis in axes.values()
        for value in axis.ticks()
    ]
    titles = [axis.title for axis in axes.values()]
    return _drawn(rows, ticks, titles, data.words(score))


def _text(value: float) -> str:
    """Returns a value with three digits."""
    return f"{value:.3g}"


class _Axis:
    """An axis, which maps values to places from 0 to 1."""

    def __init__(self, name: str, values: Sequence[float], log: bool):
        """Fits the axis to its values."""
        low, high = min(values), max(values)
        self.log = log and low > 0
        self.title = data.words(name) + (" (log)" if self.log else "")
        self._move = math.log10 if self.log else float
        self._low, self._high = self._move(low), self._move(high)

    def place(self, value: float) -> float:
        """Returns the place of a value."""
        span = self._high - self._low
        return (self._move(value) - self._low) / span if span else 0.5

    def ticks(self) -> list[float]:
        """Returns values at even places."""
        span = self._high - self._low
        places = [self._low + span * i / (_TICKS - 1) for i in range(_TICKS)]
        return [10**one if self.log else one for one in places] if span else [places[0]]


def _drawn(rows, ticks, names, score) -> alt.LayerChart:
    x = alt.X(
        "axis:N",
        sort=names,
        title=None,
        scale=alt.Scale(type="point", padding=0.3),
        axis=alt.Axis(orient="top", labelAngle=0, domain=False, ticks=False, grid=True),
    )
    y = alt.Y("place:Q", axis=None, scale=alt.Scale(domain=[-0.03, 1.03], nice=False))
    lines = (
        alt.Chart(data.values(rows))
        .mark_line(opacity=0.75)
        .encode(
            x=x,
            y=y,
            detail="trial:N",
            order=alt.Order("score:Q"),
            strokeWidth=alt.StrokeWidth("width:Q", scale=None, legend=None),
            color=alt.Color("score:Q", title=score, scale=alt.Scale(scheme="viridis")),
            tooltip=[
                alt.Tooltip("trial:N", title="trial"),
                data.tooltip("score", score),
                alt.Tooltip("epochs:Q", title="epochs"),
                alt.Tooltip("axis:N", title="number"),
                alt.Tooltip("value:N", title="value"),
            ],
        )
    )
    labels = alt.Chart(data.values(ticks)).mark_text(
        align="right", dx=-5, fontSize=9, opacity=0.8
    )
    labels = labels.encode(x=x, y=y, text="label:N")
    return alt.layer(lines, labels).properties(
        title="Trials: a line each; thick ones were trained to the end",
        width=max(data.WIDTH, _STEP * len(names)),
        height=data.HEIGHT + 40,
    )
