"""Scores that a benchmark measured, read from its table."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jnas import types
from jnas.discrete import tables


def table(benchmark: tables.Table, metrics: Sequence[str]) -> types.Objective:
    """Builds the objective that reads a benchmark.

    Args:
      benchmark: the table.
      metrics: names; the first is the signal that a controller climbs, any more are
        reported, or are further objectives. A metric that is to be minimised, as
        ``Table.metric`` says, is negated.

    Returns:
      (key, encodings i32[P, G]) -> scores f32[P, M]; NaN where the table does not know
      the cell. Pure, and cheap enough for thousands of runs under ``vmap``.

    Raises:
      ValueError: the table has no such metric.
    """
    read = [benchmark.metric(text) for text in metrics]
    columns = [metric.sign * benchmark.column(metric.name) for metric in read]
    unknown = np.full((1, len(columns)), np.nan)
    rows = jnp.asarray(np.concatenate([np.stack(columns, 1), unknown]), jnp.float32)

    def objective(key, encodings):
        del key  # a table does not draw
        return rows[benchmark.row(encodings)]

    objective.metrics = tuple(read)
    return objective
