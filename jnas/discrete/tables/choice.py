"""The table that --objective names: its metrics, and what it does not hold."""

import math
from collections.abc import Sequence

import numpy as np

from jnas import directions, registry
from jnas.discrete import tables


def load_table(objective: str) -> tables.Table:
    """Loads the table that --objective=table:... names.

    Raises:
      ValueError: the objective is no table, or the file does not exist.
      KeyError: no table of that name is registered.
    """
    kind, _, spec = objective.partition(":")
    if kind != "table" or not spec:
        raise ValueError(
            f"objective must be table:NAME or table:FILE, got {objective!r}. "
            f"Names: {', '.join(registry.TABLES)}."
        )
    return tables.load(spec)


def check_metrics(
    table: tables.Table, signal: Sequence[str], report: Sequence[str]
) -> None:
    """Checks that flags name metrics of a table, and at least one each.

    Args:
      table: the benchmark.
      signal: metrics that the search climbs, as ``Table.metric`` reads them.
      report: metrics that are reported.

    Raises:
      ValueError: a metric is unknown, or no metric is named.
    """
    for name, metrics_named in (("signal", signal), ("report", report)):
        if not metrics_named:
            raise ValueError(
                f"{name} must name at least one metric, got none. Use some of "
                f"{', '.join(table.metrics)}."
            )
        for metric in metrics_named:
            table.metric(metric)
    check_once([table.metric(text) for text in signal])
    check_directions([table.metric(text) for text in (*signal, *report)])


def check_once(metrics: Sequence[directions.Metric]) -> None:
    """Refuses a metric that is named twice among those that are searched on.

    Args:
      metrics: of the flag --signal.

    Raises:
      ValueError: one is named twice.
    """
    names = [metric.name for metric in metrics]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(
            f"signal must name each metric once, got {twice[0]!r} twice. Leave one out."
        )


def check_directions(metrics: Sequence[directions.Metric]) -> None:
    """Refuses a metric that is both minimised and maximised.

    Args:
      metrics: of several flags.

    Raises:
      ValueError: one has both directions.
    """
    wanted: dict[str, str] = {}
    for metric in metrics:
        if wanted.setdefault(metric.name, metric.direction) != metric.direction:
            raise ValueError(
                f"metric must be minimised or maximised, got both of {metric.name!r} "
                "in --signal and --report. Write one direction."
            )


def default_signal(table: tables.Table) -> str:
    """Returns the metric that is searched on where none is named.

    Args:
      table: the benchmark.
    """
    usual = "valid_12"
    return usual if usual in table.metrics else next(iter(table.metrics))


def check_known(
    table: tables.Table,
    signals: Sequence[directions.Metric],
    reports: Sequence[directions.Metric],
    *,
    within: np.ndarray | None = None,
) -> None:
    """Refuses metrics that are known of no cell which a search could choose.

    Args:
      table: the benchmark.
      signals: that are searched on; the first chooses the cell.
      reports: that are reported of the chosen cells.
      within: bool[N], which rows keep the limits; None without limits.

    Raises:
      ValueError: a signal is known of no cell, or a reported metric of none of those
        whose first signal is known.
    """
    every, first = np.ones(table.num_rows, bool), signals[0].name
    kept = "cells"
    if within is not None:
        every, kept = within, "cells that keep the limits"
    chosen = every & np.isfinite(table.column(first))
    for name, metrics, where, cells in (
        ("signal", signals, every, kept),
        ("report", reports, chosen, f"{kept} whose {first} is known"),
    ):
        for metric in metrics:
            if not (where & np.isfinite(table.column(metric.name))).any():
                raise ValueError(
                    f"{name} must name metrics that table {table.name} holds, got "
                    f"{metric.name}, which it holds of none of {where.sum():,} {cells}."
                    " Use a fuller table, or another metric."
                )


def prices(table: tables.Table, name: str) -> tuple[float, float]:
    """Returns the smallest and the largest cost that a table holds.

    Args:
      table: the benchmark.
      name: metric that is paid for, such as seconds.

    Raises:
      ValueError: the table has no such metric, holds no value of it, or one that is
        not above 0.
    """
    known = table.column(name)
    known = known[np.isfinite(known)]
    if not len(known) or known.min() <= 0:
        got = f"{known.min():g}" if len(known) else "none"
        raise ValueError(
            f"table {table.name} must hold {name} above 0 to pay with, got {got}. "
            "Correct its file, or use --budget_evaluations."
        )
    return float(known.min()), float(known.max())


def all_gaps(
    table: tables.Table,
    signals: Sequence[directions.Metric],
    reports: Sequence[directions.Metric],
    costs: Sequence[str] = (),
) -> list[str]:
    """Returns a line for each metric with gaps: how much is held, and what follows.

    Args:
      table: the benchmark.
      signals: that are searched on.
      reports: that are reported of the chosen cells.
      costs: names of metrics that are paid for; an unknown cost is the largest known.
    """
    lines = [gaps(table, metric) for metric in signals]
    then = "a run whose cell lacks it has none, and the mean is of the others"
    lines += [gaps(table, metric, then) for metric in reports if metric not in signals]
    for name in costs:
        most = prices(table, name)[1]
        then = f"an evaluation without it is charged the largest, {most:.4g}"
        lines.append(gaps(table, directions.Metric(name), then))
    return list(filter(None, lines))


def gaps(
    table: tables.Table,
    metric: directions.Metric,
    then: str = "a proposal outside it counts as the worst",
) -> str:
    """Returns how much of its space a table holds, or "" if it holds all of it.

    Args:
      table: the benchmark.
      metric: whose values are counted.
      then: what happens to the cells that it does not hold.
    """
    total = math.prod(table.sizes)
    held = int(np.isfinite(table.column(metric.name)).sum())
    if held == total:
        return ""
    return (
        f"table {table.name} holds {metric.name} of {held:,} of {total:,} cells "
        f"({100 * held / total:.3g} %); {then}"
    )
