"""Methods side by side: what their runs came to, and how fast."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from jnas.report import numbers, spreads
from jnas.report.charts import data

_ROW = 38  # pixels of a method
_MOST = 300  # points of a method's trace


def comparison(rows: Sequence[spreads.Spread], *, metric: str) -> alt.LayerChart:
    """Draws each method's mean in a bar of one sample deviation, with n.

    Single runs are shown as small ticks where they are known. A dashed line marks the
    mean of random search.

    Args:
      rows: one a method, as ``report.compare(runs)[metric]`` holds them.
      metric: what is compared.
    """
    title = f"{data.words(metric)}, mean ± sd"
    scale = alt.Scale(zero=False, padding=16)
    layers = [*_random(rows), *_means(rows), *_singles(rows)]
    placed = [
        layer.encode(x=alt.X(f"{name}:Q", title=title, scale=scale))
        for name, layer in layers
    ]
    return alt.layer(*placed).properties(
        title=f"{data.words(metric).capitalize()}: mean, one sample deviation, and n",
        width=data.WIDTH,
        height=max(90, _ROW * len(rows)),
    )


def _means(rows: Sequence[spreads.Spread]) -> list[tuple[str, alt.Chart]]:
    """Bars, points and numbers of runs, each with the name of its x."""
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
    """A tick for each run that is known, of methods with several."""
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
    """A rule at the mean of random search, where there is one such method."""
    means = [row.mean for row in rows if "random" in row.name]
    rule = alt.Chart(data.values([{"mean": mean} for mean in means]))
    rule = rule.mark_rule(strokeDash=[4, 4], opacity=0.6)
    return [("mean", rule)] if len(means) == 1 else []


def traces(traces: Mapping[str, Any]) -> alt.LayerChart:
    """Draws incumbents over a budget: medians in bands of quartiles.

    Args:
      traces: the content of traces.json; a method without points is left out.

    Raises:
      ValueError: no method has a point.
    """
    named = traces.get("traces")
    bands = _bands(named if isinstance(named, dict) else {})
    if not bands:
        raise ValueError("traces must hold a point, got none. Raise the budget.")
    names = ("name", "cost", "lower", "median", "upper")
    rows = [
        dict(zip(names, (name, *point), strict=True))
        for name, band in bands.items()
        for point in numbers.thinned(np.asarray(band).T.tolist(), _MOST)
    ]
    x_label, y_label = (data.words(traces.get(f"{axis}_label", axis)) for axis in "xy")
    scale = alt.Scale(domain=_domain(bands.values()), nice=False)
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
        title=f"Incumbent's {y_label}: median and quartiles of runs",
        width=data.WIDTH,
        height=data.HEIGHT + 40,
    )


def _domain(bands: Collection[np.ndarray]) -> list[float]:
    """An axis that begins at a typical early median: the first are far below."""
    low = min(float(np.quantile(band[2], 0.05)) for band in bands)
    high = max(float(band[3].max()) for band in bands)
    margin = 0.04 * (high - low) or 0.5
    return [low - margin, high + margin]


def _bands(named: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns name with n -> f[4, K]: cost and the three quartiles."""
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
