"""The result of a comparison: its files, the text it prints, and its JSON line.

result.json holds one entry a method, name -> metric -> mean, sd and n, and beside them
what concerns all methods: the directions of the metrics, warnings, a verdict, and the
printed table. The JSON line has the methods alone.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from jnas import directions, report
from jnas.run import files, workdir
from jnas.studies import closing

APART = ("directions", "warnings", "verdict", "table")  # entries that are no method


def check_names(
    methods: Collection[str],
    metrics: Sequence[directions.Metric],
    figures: Collection[str],
) -> None:
    """Refuses names under which a result has something else.

    Args:
      methods: names of what is compared.
      metrics: that are reported.
      figures: names of the figures of a method beside its metrics.

    Raises:
      ValueError: a name is taken.
    """
    for name in methods:
        if name in APART:
            raise ValueError(
                f"methods must not be named {', '.join(APART)}, got {name!r}. "
                "Register it under another name."
            )
    for metric in metrics:
        if metric.name in figures:
            raise ValueError(
                f"report must name metrics other than the figures of a comparison "
                f"({', '.join(figures)}), got {metric.name!r}. Rename it in the table."
            )


def spread(values: np.ndarray) -> dict[str, Any]:
    """Returns mean, sample standard deviation and n of the values that are known.

    Args:
      values: f[S]; NaN and infinity count as unknown.

    Returns:
      ``mean``, None without a value; ``sd``, None with fewer than two; ``n``.
    """
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    return {
        "mean": float(known.mean()) if len(known) else None,
        "sd": float(known.std(ddof=1)) if len(known) > 1 else None,
        "n": len(known),
    }


def digits_of(values: np.ndarray) -> int:
    """Returns the digits after the point: 2 of percent and costs, 4 of shares.

    Args:
      values: of a metric, f[N], or NaN.
    """
    return 4 if np.nanmax(np.abs(values)) <= 1 else 2


def shown(one: Mapping[str, Any], digits: int = 2) -> str:
    """Writes a spread for the printed table.

    Args:
      one: as from ``spread``.
      digits: after the decimal point.

    Example:
      >>> [shown(spread(np.array(values))) for values in ([1.0, 2.0], [3.0], [])]
      ['1.50 ± 0.71', '3.00', '-']
    """
    if one["mean"] is None:
        return "-"
    deviation = "" if one["sd"] is None else f" ± {one['sd']:.{digits}f}"
    return f"{one['mean']:.{digits}f}{deviation}"


def close(
    run: workdir.Run,
    methods: Mapping[str, Mapping[str, Any]],
    *,
    title: str,
    table: report.Table,
    metrics: Sequence[directions.Metric],
    warnings: Sequence[str] = (),
    verdict: str = "",
) -> tuple[dict[str, Any], str]:
    """Writes report.html and result.json, and ends the run.

    Args:
      run: the open run.
      methods: method -> its figures.
      title: title of the table.
      table: that is printed.
      metrics: those that the figures are of, with their directions.
      warnings: what speaks against the result, a sentence each without a full stop.
      verdict: what the methods learned, in a sentence; "" leaves it out.

    Returns:
      (the methods, for the JSON line; the printed text).
    """
    known: dict[str, str] = {}
    for metric in metrics:
        known.setdefault(metric.name, metric.direction)
    result = {**methods, "directions": known, "warnings": list(warnings)}
    if verdict:
        result["verdict"] = verdict
    result["table"] = {"title": title, **table._asdict()}
    closing.finish(run, result, tables={title: table})
    result = files.plain(result)
    return figures(result), text(result)


def figures(result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the methods of a result, which are the JSON line.

    Args:
      result: content of result.json.
    """
    return {name: one for name, one in result.items() if name not in APART}


def text(result: Mapping[str, Any]) -> str:
    """Returns what a comparison prints above its JSON line.

    Args:
      result: content of result.json; one of an earlier release has no table.
    """
    lines = []
    table = result.get("table")
    if table:
        lines.append(report.markdown(report.Table(table["header"], table["rows"])))
    lines += filter(None, [result.get("verdict")])
    lines += [f"warning: {one}." for one in result.get("warnings") or ()]
    return "\n".join(lines)
