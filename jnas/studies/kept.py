"""Limits of a discrete search: of cells whose costs are sums, or are in a table."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import networks, spaces
from jnas.discrete import limits as limits_of_cells
from jnas.discrete import tables
from jnas.networks import limits as limits_lib
from jnas.run import workdir
from jnas.studies import limits

_ROWS = 20_000  # of a table at once


class Kept(NamedTuple):
    """The limits of a discrete search.

    Attributes:
      margins: encodings i32[P, G] -> f32[P, L], at least 0 where a limit holds.
      fits: encodings i32[N, G] -> bool[N], on the host, without rounding.
      bounds: cost -> bound.
    """

    margins: limits_of_cells.Margins
    fits: Callable[[np.ndarray], np.ndarray]
    bounds: Mapping[str, float]

    def rows(self, table: tables.Table) -> np.ndarray:
        """Returns bool[N]: which rows of a table keep the limits.

        Args:
          table: the benchmark.
        """
        return self.fits(table.cells(np.arange(table.num_rows)))

    def flags(self) -> str:
        """Returns the limits as flags."""
        return flags(self.bounds)


def of_cells(space: spaces.Space, made: Sequence[networks.Limit]) -> Kept | None:
    """Returns the limits of cells whose costs are sums over edges; None without any.

    Args:
      space: of the cells.
      made: the limits.
    """
    if not made:
        return None

    def fits(encodings):
        return np.array([networks.fits(space, one, made) for one in encodings], bool)

    margins = limits_of_cells.margins(space, made)
    return Kept(margins, fits, {one.name: one.bound for one in made})


def of_table(
    run: workdir.Run, table: tables.Table, settings: limits.BoundSettings
) -> Kept | None:
    """Returns the limits of cells whose costs a table holds; None without any.

    Args:
      run: the open run.
      table: the benchmark.
      settings: of the search.

    Raises:
      ValueError: a cost that the table does not hold, the size of a network, or limits
        that no cell of the table keeps.
    """
    kept = in_table(table, settings)
    for line in described(table, settings) if kept else ():
        run.say_once(line)
    return kept


def described(table: tables.Table, settings: limits.BoundSettings) -> list[str]:
    """Returns the limits in words, with the range of the table's cells.

    Args:
      table: the benchmark, which holds the costs.
      settings: of the search.
    """
    lines = []
    for name, bound in limits.bounds(settings).items():
        costs = table.column(name).astype(np.float64)
        ends = float(np.nanmin(costs)), float(np.nanmax(costs))
        lines.append(_described(table, name, bound, *ends))
    return lines


def in_table(table: tables.Table, settings: limits.BoundSettings) -> Kept | None:
    """Returns the limits of cells whose costs a table holds; None without any.

    Args:
      table: the benchmark.
      settings: of the search.

    Raises:
      ValueError: as ``of_table``.
    """
    wanted, columns = check_table(table, settings)
    if not wanted:
        return None
    bound = np.array(list(wanted.values()))
    least, most = np.nanmin(columns, 0), np.nanmax(columns, 0)
    # in units of the table's own range; the last row is of unknown cells
    room = (bound - columns) / np.maximum(most - least, 1e-30)
    rooms = jnp.asarray(np.concatenate([room, room[:1] * np.nan]), jnp.float32)
    held = np.append((columns <= bound).all(1), False)
    return Kept(
        lambda encodings: rooms[table.row(encodings)],
        lambda encodings: held[np.asarray(table.row(encodings))],
        wanted,
    )


def rows_within(
    table: tables.Table, space: spaces.Space, made: Sequence[networks.Limit]
) -> np.ndarray:
    """Returns bool[N]: which rows of a table are cells that keep limits of a network.

    Args:
      table: of the space's cells.
      space: of the cells.
      made: the limits.
    """
    weights_of = jax.jit(jax.vmap(space.weights))
    found = [
        networks.all_fit(jax.tree.map(np.asarray, weights_of(table.cells(rows))), made)
        for rows in np.split(
            np.arange(table.num_rows), range(_ROWS, table.num_rows, _ROWS)
        )
    ]
    return np.concatenate(found)


def check_table(
    table: tables.Table, settings: limits.BoundSettings
) -> tuple[dict[str, float], np.ndarray]:
    """Refuses limits that a table cannot tell, or that none of its cells keeps.

    Args:
      table: the benchmark.
      settings: of the search.

    Returns:
      (cost -> bound of the L limits, f64[N, L] costs of the table's cells).

    Raises:
      ValueError: as ``of_table``.
    """
    wanted = _known(table, settings)
    columns = [table.column(name).astype(np.float64) for name in wanted]
    costs = np.stack(columns, 1) if columns else np.zeros((table.num_rows, 0))
    if not (costs <= list(wanted.values())).all(1).any():
        cheapest = ", ".join(
            f"{name} {limits_lib.shown(float(least))}"
            for name, least in zip(wanted, np.nanmin(costs, 0), strict=True)
        )
        raise ValueError(
            f"limits must be kept by one cell of table {table.name} at least, got "
            f"{flags(wanted)}, where the cheapest cells have {cheapest}. Raise one of "
            "them."
        )
    return wanted, costs


def _known(table, settings) -> dict[str, float]:
    """Returns cost -> bound of what a table's cells can be limited by."""
    for name in ("cost_features", "cost_layers"):
        if getattr(settings, name, None) is not None:
            raise ValueError(
                f"{name} must be left out with a table, whose costs are its own, got "
                f"{getattr(settings, name)}. Leave it out, or search on images."
            )
    wanted = limits.bounds(settings)
    for name in wanted:
        if name not in table.metrics:
            held = [one for one in limits.COSTS if one in table.metrics]
            raise ValueError(
                f"max_{name} must be left out with table {table.name}, which holds no "
                f"{name}, got {limits_lib.shown(wanted[name])}. Limit one of "
                f"{', '.join(held) or 'no cost'}."
            )
    return wanted


def flags(bounds: Mapping[str, float]) -> str:
    """Returns limits as flags.

    Args:
      bounds: cost -> bound.
    """
    named = (f"--max_{n}={limits_lib.flag(v)}" for n, v in bounds.items())
    return ", ".join(named)


def _described(table, name, bound, least, most) -> str:
    """Returns a limit in words: its bound, and the range of the table's cells."""
    low, high, given = map(limits_lib.shown, (least, most, bound))
    text = (
        f"limit: max_{name}={given}, where cells of table {table.name} have {low} to "
        f"{high}"
    )
    more = "; no cell exceeds it: it is without effect" if bound >= most else ""
    return text + more
