"""Pareto fronts of several objectives: dominance, ranks, crowding and hypervolume.

Source: Deb, Pratap, Agarwal and Meyarivan 2002, doi:10.1109/4235.996017; Zitzler and
Thiele 1999, doi:10.1109/4235.797969 (hypervolume).
"""

import jax
import jax.numpy as jnp
import numpy as np

from jnas import types


def dominates(scores: types.Array, margins: types.Array) -> types.Array:
    """Returns which row dominates which, under constraints.

    A feasible row dominates another feasible one if it is no worse in any objective and
    better in at least one. A feasible row dominates every infeasible row. Of two
    infeasible rows, the one with the smaller sum of violations dominates.

    Args:
      scores: f32[N, M], higher is better.
      margins: f32[N, K], constraint margins: at least 0 where the constraint holds; K
        may be 0.

    Returns:
      bool[N, N]; [i, j] is true where i dominates j.
    """
    at_least = (scores[:, None] >= scores).all(-1)
    better = at_least & (scores[:, None] > scores).any(-1)
    violation = jnp.maximum(-margins, 0).sum(-1)
    feasible = violation == 0
    both = feasible[:, None] & feasible
    return jnp.where(both, better, violation[:, None] < violation)


def ranks(
    scores: types.Array, margins: types.Array, *, out: types.Array | None = None
) -> types.Array:
    """Returns the rank of each row by non-dominated sorting.

    Rank 0 is the front of rows that no row dominates, rank 1 the front without those of
    rank 0, and so on.

    Args:
      scores: f32[N, M], higher is better.
      margins: f32[N, K], as for ``dominates``.
      out: bool[N], true for rows to ignore, which get rank N; None ignores none.

    Returns:
      i32[N].
    """
    count = len(scores)
    out = jnp.zeros(count, bool) if out is None else out
    dominated = dominates(scores, margins)

    def peel(state):
        rank, left, found = state
        front = left & ~(dominated & left[:, None]).any(0)
        return rank + 1, left & ~front, jnp.where(front, rank, found)

    start = jnp.int32(0), ~out, jnp.full(count, count, jnp.int32)
    return jax.lax.while_loop(lambda state: state[1].any(), peel, start)[2]


def crowding(scores: types.Array, ranks: types.Array) -> types.Array:
    """Returns the crowding distance of each row on its front.

    It is the sum over objectives of the gap between the row's two neighbours, as a
    fraction of the front's extent; the ends of a front have infinity.

    Args:
      scores: f32[N, M].
      ranks: i32[N].

    Returns:
      f32[N].
    """

    def gaps(values):
        order = jnp.lexsort((values, ranks))
        value, rank = values[order], ranks[order]
        first = jnp.append(True, rank[1:] != rank[:-1])
        last = jnp.append(rank[1:] != rank[:-1], True)
        low = jnp.full(len(rank), jnp.inf).at[rank].min(value, mode="drop")
        high = jnp.full(len(rank), -jnp.inf).at[rank].max(value, mode="drop")
        extent = high[rank] - low[rank]
        gap = (jnp.roll(value, -1) - jnp.roll(value, 1)) / extent
        gap = jnp.where(jnp.isfinite(gap) & (extent > 0), gap, 0)
        gap = jnp.where(first | last, jnp.inf, gap)
        return jnp.zeros_like(gap).at[order].set(gap)

    return jax.vmap(gaps, 1)(scores).sum(0)


def front(scores: np.ndarray) -> list[int]:
    """Returns the rows that no other row dominates, of equal rows the first; on host.

    Args:
      scores: f[T, M], higher is better; rows that are not finite are left out.

    Returns:
      Their numbers, the best of the first column first.

    Example:
      >>> front(np.array([[1.0, 5.0], [2.0, 1.0], [1.0, 4.0], [2.0, 1.0]]))
      [1, 0]
    """
    rows = [i for i, row in enumerate(scores) if np.isfinite(row).all()]
    rows.sort(key=lambda i: (*(-scores[i]), i))
    kept: list[int] = []
    for i in rows:  # whoever dominates i comes before it in this order
        if not kept or not (scores[kept] >= scores[i]).all(1).any():
            kept.append(i)
    return kept


def hypervolume(scores: np.ndarray, reference: np.ndarray) -> float:
    """Returns the hypervolume of two objectives: the dominated area; on the host.

    Args:
      scores: f[N, 2], higher is better.
      reference: f[2], the reference point; only rows better in both objectives count.

    Returns:
      The area that the rows dominate above the reference, in the product of both units.

    Example:
      >>> hypervolume(np.array([[2.0, 1.0], [1.0, 2.0]]), np.zeros(2))
      3.0
    """
    inside = scores[(scores > reference).all(-1)].astype(np.float64)
    area, height = 0.0, float(reference[1])
    for x, y in inside[np.lexsort((-inside[:, 1], -inside[:, 0]))]:
        if y > height:
            area += (x - float(reference[0])) * (y - height)
            height = y
    return float(area)
