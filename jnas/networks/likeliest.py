"""The most probable architectures of mixing weights, in order."""

import heapq
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from jnas import spaces
from jnas.networks import costs as costs_lib
from jnas.networks import limits as limits_lib
from jnas.spaces import rows as rows_lib
from jnas.spaces.canonical import canonical, is_empty

_LEAST = 1e-30


def likeliest(
    space: spaces.Space,
    weights: np.ndarray,
    count: int,
    limits: Sequence[limits_lib.Limit] = (),
    *,
    most: int = 100_000,
) -> list[np.ndarray]:
    """Finds the cells with the largest products of weights; isomorphic ones count once.

    The first is the cell of ``CellSpace.strongest`` where it keeps the limits. A cell
    whose network would be empty (no path from an input to the output) is left out.

    Args:
      space: of the cells.
      weights: f[C, E, O], not negative; a weight below 1e-30 counts as 1e-30.
      count: how many cells.
      limits: that each keeps.
      most: number of encodings after which the search ends with what it has.

    Returns:
      i32[G] of each, the most probable first; fewer than ``count`` where there are not
      so many.
    """
    found, seen = [], set()
    for number, encoding in enumerate(_descending(space, weights)):
        if len(found) == count or number == most:
            break
        if not limits_lib.fits(space, encoding, limits) or is_empty(space, encoding):
            continue
        form = canonical(space, encoding)
        if form not in seen:
            seen.add(form)
            found.append(encoding)
    return found


def cheapest(space: spaces.Space, costs: costs_lib.Costs) -> float | None:
    """Returns the cost of the cheapest cell whose output depends on its input.

    Args:
      space: of the cells.
      costs: of its candidates.

    Returns:
      The cost; None where no such cell was found.
    """
    unit = max(float(np.abs(costs.table()).max()), _LEAST)
    scores = jax.tree.map(lambda cost: np.exp(-cost / unit), costs.options)
    found = likeliest(space, scores, 1)
    if not found:
        return None
    weights = limits_lib.one_of(space.weights(found[0]))
    return float(limits_lib.costs_of(costs, weights)[0])


def _descending(space, weights) -> Iterator[np.ndarray]:
    """Yields all encodings, the largest product of weights first.

    The choices of nodes are independent, so the options of each are sorted, and a heap
    holds the tuples of ranks that come next: each tuple is reached once, from the one
    in which its last rank above 0 is lower by one.
    """
    logs, tables = limits_lib.logs_of(space, weights), rows_lib.tables(space)
    steps = []
    for choice in range(len(tables.inputs)):
        one = limits_lib.options(tables, choice, logs, np.zeros((0, *logs.shape)))
        steps.append(one.take(np.argsort(-one.scores, kind="stable")))
    first = (0,) * len(steps)
    heap = [(-sum(step.scores[0] for step in steps), first)]
    while heap:
        cost, ranks = heapq.heappop(heap)
        chosen = [step.genes[rank] for step, rank in zip(steps, ranks, strict=True)]
        yield limits_lib.encoding_of(tables, chosen)
        last = max((i for i, rank in enumerate(ranks) if rank), default=0)
        for i in range(last, len(steps)):
            rank, scores = ranks[i] + 1, steps[i].scores
            if rank < len(scores):
                after = (*ranks[:i], rank, *ranks[i + 1 :])
                heapq.heappush(heap, (cost + scores[rank - 1] - scores[rank], after))
