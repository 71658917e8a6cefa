"""Limits of a network's cost, and the best cell within them by its weights.

A limit is a cost that is a sum over edges, and its largest value. The search for cells
within limits is a knapsack with one choice a node, solved by dynamic programming over
the Pareto front of (weights, costs): exactly, as long as the front stays small.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import spaces, types
from jnas.networks import costs as costs_lib
from jnas.spaces import lookups
from jnas.spaces import rows as rows_lib

MOST = 1_000  # states of the dynamic program with several limits
_LEAST = 1e-30


class Limit(NamedTuple):
    """A cost and its largest value.

    Attributes:
      name: of the cost, such as "parameters".
      bound: the largest cost that is allowed.
      costs: what each candidate costs.
      span: dearest minus cheapest cell of the space, at least 1e-30: the unit in which
        violations are given.
    """

    name: str
    bound: float
    costs: costs_lib.Costs
    span: float

    def violation(self, weights: types.Weights) -> types.Array:
        """Returns f32[]: (cost - bound) / span of one-hot weights, above 0 if unfit."""
        return (self.costs.of(weights) - self.bound) / self.span

    def expected(self, weights: types.Weights) -> types.Array:
        """Returns f32[]: (expected cost - bound) / span of mixing weights."""
        return (self.costs.expected(weights) - self.bound) / self.span


def limit(
    name: str,
    bound: float,
    costs: costs_lib.Costs,
    *,
    size_flags: str = "--cost_features and --cost_layers",
) -> Limit:
    """Builds a limit, and refuses one that no cell keeps.

    Args:
      name: of the cost.
      bound: the largest cost that is allowed.
      costs: of a space's candidates.
      size_flags: flags that make the network smaller, for the error.

    Raises:
      ValueError: a bound below the cheapest cell.
    """
    least, most = extent(costs)
    if not least <= bound:
        raise ValueError(
            f"max_{name} must be at least {shown(least)}, which the cheapest cell of "
            f"space {costs.space.name} costs, got {shown(bound)}. Raise it, or make "
            f"the network smaller by {size_flags}."
        )
    return Limit(name, float(bound), costs, max(most - least, _LEAST))


def check_all(
    space: spaces.Space, limits: Sequence[Limit], *, max_skips: int | None = None
) -> None:
    """Refuses limits that no cell keeps all at once.

    Args:
      space: of the cells.
      limits: each of which some cell keeps.
      max_skips: as for ``best_within``.

    Raises:
      ValueError: no cell was found.
    """
    ones = jax.tree.map(np.asarray, rows_lib.full(space, 1.0))
    if limits and best_within(space, ones, limits, max_skips=max_skips) is None:
        raise ValueError(unmet(limits, max_skips))


def unmet(limits: Sequence[Limit], max_skips: int | None = None) -> str:
    """Returns the error of limits that no cell keeps together.

    Args:
      limits: of the cells.
      max_skips: as for ``best_within``.
    """
    got = [f"max_{one.name}={flag(one.bound)}" for one in limits]
    got += [] if max_skips is None else [f"max_skips={max_skips}"]
    return (
        f"limits must be kept by one cell at least, got {', '.join(got)}, which no "
        "cell of the space keeps together. Raise one of them."
    )


def shown(value: float) -> str:
    """Returns a cost for people: whole numbers in full, others to three digits.

    Args:
      value: the cost.
    """
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.3g}"


def flag(value: float) -> str:
    """Returns a bound as a flag's value, without separators.

    Args:
      value: the bound.
    """
    return shown(value).replace(",", "")


def extent(costs: costs_lib.Costs) -> tuple[float, float]:
    """Returns the cost of the cheapest and of the dearest cell of a space.

    Args:
      costs: of the space's candidates.
    """
    ends = []
    with jax.ensure_compile_time_eval():  # also while a loss is traced
        for sign in (-1, 1):
            # costs are no weights: strongest only compares them
            scores = jax.tree.map(
                lambda cost, sign=sign: sign * jnp.asarray(cost, jnp.float32),
                costs.options,
            )
            one_hot = costs.space.weights(costs.space.strongest(scores))
            table = rows_lib.flat(costs.space, jax.tree.map(np.asarray, one_hot))
            ends.append(costs.base + float((table * costs.table()).sum()))
    return ends[0], ends[1]


def fits(
    space: spaces.Space, encoding: types.Encoding, limits: Sequence[Limit]
) -> bool:
    """Returns whether a cell keeps all limits, computed in float64 on the host.

    Args:
      space: of the cell.
      encoding: i32[G].
      limits: of its costs.
    """
    return bool(all_fit(one_of(space.weights(encoding)), limits)[0])


def one_of(weights: types.Weights) -> types.Weights:
    """Returns weights as NumPy arrays with a leading axis of one architecture.

    Args:
      weights: of one architecture.
    """
    return jax.tree.map(lambda leaf: np.asarray(leaf)[None], weights)


def costs_of(costs: costs_lib.Costs, weights: np.ndarray) -> np.ndarray:
    """Returns f64[N], the costs of cells, on the host.

    Args:
      costs: of a space's options.
      weights: one-hot rows, with a leading axis of N architectures.
    """

    def of_leaf(weights, costs):
        products = np.asarray(weights, np.float64) * costs
        return products.sum(tuple(range(1, products.ndim)))

    first, *others = jax.tree.leaves(jax.tree.map(of_leaf, weights, costs.options))
    return costs.base + sum(others, first)


def all_fit(weights: np.ndarray, limits: Sequence[Limit]) -> np.ndarray:
    """Returns bool[N]: whether cells keep all limits, computed in float64 on the host.

    Args:
      weights: one-hot rows, with a leading axis of N architectures.
      limits: of their costs.
    """
    kept = np.ones(len(jax.tree.leaves(weights)[0]), bool)
    for one in limits:
        kept &= costs_of(one.costs, weights) <= one.bound * (1 + 1e-12)
    return kept


def dearest_within(
    space: spaces.Space, costs: costs_lib.Costs, limits: Sequence[Limit]
) -> np.ndarray | None:
    """Finds the cell of the largest cost that keeps all limits.

    A cost is a sum over edges, so it is the logarithm of a product of weights.

    Args:
      space: of the cells.
      costs: that is maximised.
      limits: that the cell keeps.

    Returns:
      i32[G]; None where no cell was found.
    """
    unit = max(float(np.abs(costs.table()).max()), _LEAST)
    scores = jax.tree.map(lambda cost: np.exp(cost / unit), costs.options)
    return best_within(space, scores, limits)


def best_within(
    space: spaces.Space,
    weights: np.ndarray,
    limits: Sequence[Limit],
    *,
    max_skips: int | None = None,
) -> np.ndarray | None:
    """Finds the cell with the largest product of weights that keeps all limits.

    Without limits it is the cell of ``CellSpace.strongest``. With one limit, max_skips
    included, the result is exact; with several it is exact while the front of partial
    cells has at most MOST members. A longer one is thinned, evenly in its weights, and
    keeps the members that are nearest to the limits.

    Args:
      space: of the cells.
      weights: f[C, E, O], not negative; a weight below 1e-30 counts as 1e-30.
      limits: that the cell keeps.
      max_skips: largest number of skip connections in the first kind of cell; None
        for no limit.

    Returns:
      i32[G]; None where no cell was found.
    """
    rows, rooms = _flat(space, limits, max_skips)
    logs, tables = logs_of(space, weights), rows_lib.tables(space)
    steps = [options(tables, t, logs, rows) for t in range(len(tables.inputs))]
    # the least that all later nodes add, in each cost by itself
    rest = np.cumsum([step.costs.min(0) for step in steps][::-1], 0)[::-1]
    rest = np.concatenate([rest[1:], np.zeros((1, len(rooms)))])
    state = Options(np.zeros(1), np.zeros((1, len(rooms))), np.zeros((1, 0), int))
    for step, later in zip(steps, rest, strict=True):
        state = _joined(state, step)
        inside = (state.costs + later <= rooms * (1 + 1e-12)).all(1)
        state = _front(state.take(np.flatnonzero(inside)), rooms - later)
        if not len(state.scores):
            return None
    best = state.genes[state.scores.argmax()]
    return encoding_of(tables, [steps[t].genes[i] for t, i in enumerate(best)])


def logs_of(space: spaces.Space, weights: types.Weights) -> np.ndarray:
    """Returns f64[R, O], the logarithms of weights; below 1e-30 that of 1e-30.

    Args:
      space: of the weights.
      weights: not negative.
    """
    host = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), weights)
    return np.log(np.maximum(rows_lib.flat(space, host), _LEAST))


class Options(NamedTuple):
    """Partial cells: f64[N] logarithms of weights, f64[N, L] costs, i[N, ...] genes."""

    scores: np.ndarray
    costs: np.ndarray
    genes: np.ndarray

    def take(self, rows: np.ndarray) -> "Options":
        """Returns some of them, in the order of rows i[N]."""
        return Options(*(array[rows] for array in self))


def _flat(space, limits, max_skips) -> tuple[np.ndarray, np.ndarray]:
    """Returns costs f64[L, R, O], and the room f64[L] that rows may take."""
    rows = [one.costs.table() for one in limits]
    rooms = [one.bound - one.costs.base for one in limits]
    if max_skips is not None:
        skips = rows_lib.flat(space, space.where(spaces.SKIP)) * 1.0
        skips[len(space.edges) :] = 0  # those of the first kind of cell count
        rows, rooms = [*rows, skips], [*rooms, max_skips]
    table = rows_lib.tables(space).values.shape[0], costs_lib.width(space)
    return np.array(rows).reshape(-1, *table), np.array(rooms, np.float64)


def options(
    tables: lookups.Tables, choice: int, logs: np.ndarray, rows: np.ndarray
) -> Options:
    """Lists the options of one choice: the kept rows, and an option of each.

    Args:
      tables: of the space.
      choice: its number, from 0.
      logs: f64[R, O], logarithms of weights.
      rows: f64[L, R, O], costs.

    Returns:
      Its genes are (number of the subset, value of each kept row's option).
    """
    found = []
    for number, subset in enumerate(tables.subsets[choice]):
        if subset[0] < 0:  # padding
            continue
        for values in itertools.product(
            range(tables.values.shape[1]), repeat=len(subset)
        ):
            ops = tables.values[subset, values]
            if (ops < 0).any():  # of a row with fewer options
                continue
            score, cost = logs[subset, ops].sum(), rows[:, subset, ops].sum(-1)
            found.append((score, cost, (number, *values)))
    scores, costs, genes = zip(*found, strict=True)
    return Options(np.array(scores), np.array(costs), np.array(genes))


def _joined(state: Options, step: Options) -> Options:
    """Appends each option of a step to each partial cell."""
    step = step._replace(genes=np.arange(len(step.scores))[:, None])
    step = _front(step, None)
    n, m = len(state.scores), len(step.scores)
    first, second = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
    genes = np.concatenate([state.genes[first], step.genes[second]], 1)
    scores = state.scores[first] + step.scores[second]
    return Options(scores, state.costs[first] + step.costs[second], genes)


def _front(state: Options, rooms: np.ndarray | None) -> Options:
    """Leaves out what another surpasses: as much weight at no higher cost.

    Args:
      state: partial cells.
      rooms: f64[L] of the costs so far; None never thins.
    """
    order = np.lexsort((*state.costs.T, -state.scores))
    costs = state.costs[order]
    if costs.shape[1] == 0:
        return state.take(order[:1])
    if costs.shape[1] == 1:
        before = np.minimum.accumulate(costs[:, 0])
        new = np.append(True, costs[1:, 0] < before[:-1])
        return state.take(order[new])
    kept = np.zeros((0, costs.shape[1]))
    rows: list[int] = []
    for row, cost in zip(order, costs, strict=True):
        if not (kept <= cost).all(1).any():
            rows.append(row)
            kept = np.concatenate([kept, cost[None]])
    front = state.take(np.array(rows, int))
    return front if rooms is None else _thinned(front, rooms)


def _thinned(front: Options, rooms: np.ndarray) -> Options:
    """Keeps about MOST partial cells, those with the most room among them."""
    if len(front.scores) <= MOST:
        return front
    tight = (front.costs / np.maximum(rooms, _LEAST)).max(1)
    rows = np.linspace(0, len(front.scores) - 1, MOST).astype(int)
    rows = np.union1d(rows, np.argsort(tight, kind="stable")[: MOST // 10])
    return front.take(rows)


def encoding_of(tables: lookups.Tables, genes: Sequence) -> np.ndarray:
    """Returns i32[G] of an option of each choice.

    Args:
      tables: of the space.
      genes: (number of the subset, values of the rows' options) of each choice.
    """
    found = np.zeros(len(tables.sizes) + 1, np.int32)
    for choice, (subset, *values) in enumerate(genes):
        found[tables.inputs[choice]] = subset  # -1, where there is one subset, is cut
        found[tables.operations[choice]] = values
    return found[:-1]
