"""Curves over the steps of searches and trainings, with bands over seeds."""

from collections.abc import Sequence

import altair as alt

from jnas.report import directed, series
from jnas.report import runs as runs_lib
from jnas.report.charts import data

_FEW = 40  # lines with at most so many points mark each point


def curves(
    runs: runs_lib.RunFiles | Sequence[runs_lib.RunFiles],
    metrics: Sequence[str] = ("train_accuracy", "valid_accuracy"),
    *,
    phases: Sequence[str] | None = None,
    title: str | None = None,
) -> alt.LayerChart:
    """Draws metrics over the steps of their phases.

    Runs that differ only in their seed are one line: their mean, with a band of one
    sample standard deviation; the legend gives the number n of runs.

    Args:
      runs: one or more runs.
      metrics: names of metrics in metrics.jsonl; each has its own dash pattern.
      phases: names of the phases to show; None shows all.
      title: title of the chart; None means the names of the metrics.
    """
    points = series.curves(_many(runs), metrics, only=phases)
    words = " and ".join(data.words(metric) for metric in metrics)
    title = title or words[:1].upper() + words[1:]
    what = metrics[0] if len(metrics) == 1 else _shared(metrics)
    what = data.words(directed.label(what, directed.of(_many(runs))))
    return _lines(points, _several(runs), title, "step of the phase", what)


def incumbents(
    runs: runs_lib.RunFiles | Sequence[runs_lib.RunFiles],
) -> alt.LayerChart:
    """Draws the best score so far over a discrete search's evaluations.

    The best is the lowest where the first objective is minimised.

    Args:
      runs: runs with evaluations.jsonl; seeds are averaged as in ``curves``.
    """
    points = series.incumbents(_many(runs))
    names = list(dict.fromkeys(point.metric for point in points))
    what = names[0] if len(names) == 1 else "score"
    title = f"Best {data.words(what)} so far"
    y = data.words(directed.label(what, directed.of(_many(runs))))
    return _lines(points, _several(runs), title, "evaluations", y, "step-after")


def eigenvalue(
    runs: runs_lib.RunFiles | Sequence[runs_lib.RunFiles],
) -> alt.LayerChart:
    """Draws the largest eigenvalue of the validation loss's Hessian in the logits.

    Args:
      runs: gradient searches; seeds are averaged as in ``curves``.
    """
    return curves(
        runs,
        ("eigenvalue",),
        title="Largest eigenvalue of the validation loss's Hessian in the logits",
    )


def entropy(
    runs: runs_lib.RunFiles | Sequence[runs_lib.RunFiles],
) -> alt.LayerChart:
    """Draws the entropy of the mixing weights, as a fraction of the maximum.

    Each edge's weights are divided by their sum; the mean over the edges of a cell is
    shown: 1 where all candidates have equal weights, 0 where each edge has one.

    Args:
      runs: runs with weights.jsonl.
    """
    points = series.entropies(_many(runs))
    title, what = "Entropy of the mixing weights", "fraction of the maximum"
    return _lines(points, _several(runs), title, "step of the phase", what)


def _many(runs) -> list[runs_lib.RunFiles]:
    return [runs] if isinstance(runs, runs_lib.RunFiles) else list(runs)


def _several(runs) -> bool:
    """Returns whether a line needs a label even where it is the only one."""
    return len(_many(runs)) > 1


def _shared(metrics: Sequence[str]) -> str:
    """Returns the last word that all metrics share, such as "loss"; else "value"."""
    last = {metric.rpartition("_")[2] for metric in metrics}
    return last.pop() if len(last) == 1 else "value"


def _lines(
    points: Sequence[series.Point],
    several: bool,
    title: str,
    x: str,
    y: str,
    interpolate: str = "linear",
) -> alt.LayerChart:
    rows = [p._asdict() | {"metric": data.words(p.metric)} for p in points]
    names = {point.series for point in points}
    metrics = {point.metric for point in points}
    stroke = alt.Legend(symbolType="stroke", symbolStrokeWidth=2.5, symbolSize=180)
    plain = len(names) < 2 and not several and all(p.n == 1 for p in points)
    few = len(points) <= _FEW * max(1, len(names) * len(metrics))
    base = alt.Chart(data.values(rows)).encode(
        x=alt.X("step:Q", title=x, axis=alt.Axis(tickMinStep=1, format="~s")),
        color=alt.Color(
            "series:N", title=None, sort=None, legend=None if plain else stroke
        ),
        detail="metric:N",
    )
    band = base.mark_area(opacity=0.18, interpolate=interpolate).encode(
        y=alt.Y("low:Q", title=y), y2="high:Q"
    )
    dots = alt.OverlayMarkDef(size=22 if few else 60, opacity=1 if few else 0)
    line = base.mark_line(interpolate=interpolate, point=dots).encode(
        y=alt.Y("value:Q", title=y, scale=alt.Scale(zero=False)), tooltip=_tips(x)
    )
    if len(metrics) > 1:
        line = line.encode(
            strokeDash=alt.StrokeDash("metric:N", title=None, sort=None, legend=stroke)
        )
    layers = [line] if all(point.low is None for point in points) else [band, line]
    return alt.layer(*layers).properties(
        title=title, width=data.WIDTH, height=data.HEIGHT
    )


def _tips(x: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("series:N", title="run"),
        alt.Tooltip("metric:N", title="metric"),
        alt.Tooltip("step:Q", title=x),
        data.tooltip("value", "value"),
        data.tooltip("low", "mean - sd"),
        data.tooltip("high", "mean + sd"),
    ]
