"""The table that a flag names, and the metrics that are asked of it."""

from collections.abc import Sequence

from jnas import registry
from jnas.discrete import tables


def load_table(objective: str) -> tables.Table:
    """Loads the table that --objective=table:... names.

    Raises:
      ValueError: another kind of objective, or no such file.
      KeyError: no such name.
    """
    kind, _, spec = objective.partition(":")
    if kind != "table" or not spec:
        raise ValueError(
            f"objective must be table: and a name or a file, got {objective!r}. "
            f"Names: {', '.join(registry.TABLES)}."
        )
    return tables.load(spec)


def check_metrics(
    table: tables.Table, signal: Sequence[str], report: Sequence[str]
) -> None:
    """Refuses names that a table does not have, and none at all.

    Args:
      table: the benchmark.
      signal: metrics that are searched on; ``-`` in front negates.
      report: metrics that are told.

    Raises:
      ValueError: an unknown metric, or none.
    """
    for name, metrics_named in (("signal", signal), ("report", report)):
        if not metrics_named:
            raise ValueError(
                f"{name} must name at least one metric, got none. Use some of "
                f"{', '.join(table.metrics)}."
            )
        for metric in metrics_named:
            table.column(metric.removeprefix("-"))
