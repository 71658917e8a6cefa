"""Loads the table that --objective names, and checks the metrics of other flags."""

from collections.abc import Sequence

from jnas import registry
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
      signal: metrics that the search maximises; a ``-`` in front negates.
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
            table.column(metric.removeprefix("-"))
