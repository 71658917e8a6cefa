"""Compares methods: the spread of their results, and their best scores over cost."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from jnas import directions
from jnas.report import directed, numbers, spreads
from jnas.report.charts import data

_ROW = 38  # pixels of a method
_MOST = 300  # points of a method's trace


def comparison(
    rows: Sequence[spreads.Spread], *, metric: str, direction: str | None = None
) -> alt.LayerChart:
    """Draws each method's mean, with a bar of one sample standard deviation and n.

    Single runs are small ticks where they are known. A dashed line marks the mean of
    random search.

    Args:
      rows: one per method, as from ``report.compare(runs)[metric]``.
      metric: name of the metric that is compared.
      direction: "maximize" or "minimize"; None means what the name says. An arrow in
        the axis' title shows it.
    """
    known = {} if direction is None else {metric: direction}
    title = f"{data.words(directed.label(metric, known))}, mean ± sd"
    scale = alt.Scale(zero=False, padding=16)
    layers = [*_random(rows), *_means(rows), *_singles(rows)]
    placed = [
        layer.encode(x=alt.X(f"{name}:Q", title=title, scale=scale))
        for name, layer in layers
    ]
    return alt.layer(*placed).properties(
        title=f"{data.words(metric).capitalize()}: mean ± sd over n runs",
        width=data.WIDTH,
        height=max(90, _ROW * len(rows)),
    )


def _means(rows: Sequence[spreads.Spread]) -> list[tuple[str, alt.Chart]]:
    """Returns bars, points and labels of n, each with the name of its x field."""
    shown = [
        {
            "name": row.name,
            "count": f"n = {row.n}",
            "mean": row.mean,
            "low": row.mean - (row.sd or 0.0),
            "high": row.mean + (row.sd or 0.0),
            "sd": row.sd,
        }
        for row in rows
    ]
    base = alt.Chart(data.values(shown)).encode(
        y=alt.Y("name:N", sort=None, title=None),
        tooltip=[
            alt.Tooltip("name:N", title="method"),
            data.tooltip("mean", "mean"),
            data.tooltip("sd", "sd"),
            alt.Tooltip("count:N", title="runs"),
        ],
    )
    return [
        ("low", base.mark_rule(strokeWidth=3, opacity=0.5).encode(x2="high:Q")),
        ("mean", base.mark_point(filled=True, size=90, opacity=1)),
        ("mean", base.mark_text(dy=-12, fontSize=10).encode(text="count:N")),
    ]


def _singles(rows: Sequence[spreads.Spread]) -> list[tuple[str, alt.Chart]]:
    """Returns a tick for each run of a method with several runs."""
    shown = [
        {"name": row.name, "value": value}
        for row in rows
        for value in row.values
        if row.n > 1
    ]
    ticks = alt.Chart(data.values(shown)).mark_tick(thickness=1.5, size=12)
    ticks = ticks.encode(
        y=alt.Y("name:N", sort=None, title=None),
        tooltip=[data.tooltip("value", "one run")],
    )
    return [("value", ticks)] if shown else []


def _random(rows: Sequence[spreads.Spread]) -> list[tuple[str, alt.Chart]]:
    """Returns a rule at the mean of random search, if there is one such method."""
    means = [row.mean for row in rows if "random" in row.name]
    rule = alt.Chart(data.values([{"mean": mean} for mean in means]))
    rule = rule.mark_rule(strokeDash=[4, 4], opacity=0.6)
    return [("mean", rule)] if len(means) == 1 else []


def traces(traces: Mapping[str, Any]) -> alt.LayerChart:
    """Draws the best score so far over the budget: medians with bands of quartiles.

    Args:
      traces: the content of traces.json; a method without points is left out.

    Raises:
      ValueError: no method has a point.
    """
    named = traces.get("traces")
    bands = _bands(named if isinstance(named, dict) else {})
    if not bands:
        raise ValueError(
            "traces must hold at least one point, got none. Raise the budget."
        )
    names = ("name", "cost", "lower", "median", "upper")
    rows = [
        dict(zip(names, (name, *point), strict=True))
        for name, band in bands.items()
        for point in numbers.thinned(np.asarray(band).T.tolist(), _MOST)
    ]
    x_label = data.words(str(traces.get("x_label", "x")))
    y_name, known = _traced(traces)
    y_label = data.words(directed.label(y_name, known))
    falling = directed.metric(y_name, known).sign < 0
    scale = alt.Scale(domain=_domain(bands.values(), falling), nice=False)
    base = alt.Chart(data.values(rows)).encode(
        x=alt.X("cost:Q", title=x_label),
        color=alt.Color("name:N", title=None, sort=None),
    )
    band = base.mark_area(opacity=0.18, clip=True).encode(
        y=alt.Y("lower:Q", title=y_label, scale=scale), y2="upper:Q"
    )
    tips = [data.tooltip(name, name) for name in names[2:]]
    line = base.mark_line(clip=True).encode(
        y=alt.Y("median:Q", title=y_label, scale=scale),
        tooltip=["name:N", data.tooltip("cost", x_label), *tips],
    )
    return alt.layer(band, line).properties(
        title=f"Best {data.words(y_name)} so far: median and quartiles over n runs",
        width=data.WIDTH,
        height=data.HEIGHT + 40,
    )


def _traced(traces: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Returns the metric of traces, and its direction where the file has one.

    Files that were written for a while have it as an arrow after the name.
    """
    label, given = str(traces.get("y_label", "y")), traces.get("directions")
    for direction in (directions.MAXIMIZE, directions.MINIMIZE):
        arrow = directions.Metric("", direction).label
        if label.endswith(arrow):
            return label.removesuffix(arrow), {label.removesuffix(arrow): direction}
    return label, dict(given) if isinstance(given, Mapping) else {}


def _domain(bands: Collection[np.ndarray], falling: bool) -> list[float]:
    """Returns axis limits that begin at an early median, since the first are bad."""
    ends = [(band[1].min(), band[3].max()) for band in bands]
    worst = 0.95 if falling else 0.05
    early = [float(np.quantile(band[2], worst)) for band in bands]
    low = float(min(end[0] for end in ends)) if falling else min(early)
    high = max(early) if falling else float(max(end[1] for end in ends))
    margin = 0.04 * (high - low) or 0.5
    return [low - margin, high + margin]


def _bands(named: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns name with n -> f[4, K]: the cost and the three quartiles."""
    found = {}
    for name, one in named.items():
        try:
            band = np.array([one["cost"], *one["quartiles"]], float)
        except (KeyError, TypeError, ValueError):
            continue
        band = band[:, np.isfinite(band).all(0)] if band.ndim == 2 else band[:0]
        if len(band) == 4 and band.shape[1]:
            found[f"{name} (n = {one.get('n', '?')})"] = band
    return found
