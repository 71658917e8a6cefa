"""What a comparison of methods prints beside them: counting parameters, and chance."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jnas import networks
from jnas.discrete import comparison
from jnas.studies import compared, methods_judged, setup
from jnas.studies.methods_plan import Plan

MOST = "most_parameters"
_ROWS = 4096  # of a table, whose weights are made at once


def parameters(plan: Plan) -> np.ndarray | None:
    """Counts the parameters of every row of the table, in the network of the searches.

    Args:
      plan: the comparison.

    Returns:
      f64[N]; None where a space's parameters are no sum over its rows.
    """
    size = setup.network_size(plan.settings, plan.dataset)
    try:
        found = networks.option_costs(plan.space, size, plan.dataset.image_shape)
    except ValueError:
        return None
    weights_of = jax.jit(jax.vmap(plan.space.weights))
    each = [
        networks.costs_of(
            found["parameters"],
            jax.tree.map(np.asarray, weights_of(plan.table.cells(rows))),
        )
        for rows in np.split(
            np.arange(plan.table.num_rows), range(_ROWS, plan.table.num_rows, _ROWS)
        )
    ]
    return np.concatenate(each)


def most_parameters(
    plan: Plan, sample: np.ndarray, truth: np.ndarray
) -> dict[str, Any] | None:
    """Judges the cell of most parameters, and the ranking by parameters alone.

    In NAS-Bench-201 this cell has a 3x3 convolution on every edge. A method whose tau
    is not above this ranking's has not beaten counting.

    Args:
      plan: the comparison.
      sample: i32[M, G], cells that rankings are judged on.
      truth: f[M], their judged metric.

    Returns:
      Figures like a method's; of several cells with as many parameters, their mean.
      None where parameters cannot be counted.
    """
    counted = parameters(plan)
    if counted is None:
        return None
    known = np.isfinite(plan.truth)
    largest = known & (counted >= np.where(known, counted, -np.inf).max())
    ranks = counted[np.asarray(plan.table.row(sample))]
    found = methods_judged.figures_of(plan, plan.truth[largest])
    tau = methods_judged.kendall(ranks, truth)
    return found | {
        "tau": compared.spread(np.array([tau])),
        "evaluations": 0,
        "wall_seconds": 0.0,
    }


def significance(
    result: Mapping[str, Mapping[str, Any]], methods: Sequence[str], name: str
) -> dict[str, float | None]:
    """Compares each method's seeds with the runs of random search.

    Args:
      result: method -> its figures, with the ``values`` of the judged metric.
      methods: those that are tested.
      name: of the judged metric.

    Returns:
      method -> p of the two-sided Mann-Whitney test after Holm's correction for all of
      them; None of fewer than two known cells.
    """
    chance = result[methods_judged.RANDOM][name]["values"]
    found: dict[str, float | None] = dict.fromkeys(methods)
    tested = [one for one in methods if len(result[one][name]["values"]) > 1]
    each = [
        comparison.p_value(np.array(result[one][name]["values"]), np.array(chance))
        for one in tested
    ]
    return found | dict(zip(tested, holm(each), strict=True))


def holm(values: Sequence[float]) -> list[float]:
    """Corrects p-values of several tests.

    The smallest is multiplied by their number, the next by one less, and so on; none
    becomes smaller than one before it, nor larger than 1.

    Args:
      values: p of each test.

    Example:
      >>> holm([0.01, 0.04, 0.03])
      [0.03, 0.06, 0.06]

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    count, found, least = len(values), [0.0] * len(values), 0.0
    for rank, place in enumerate(np.argsort(values, kind="stable")):
        least = max(least, min(1.0, (count - rank) * float(values[place])))
        found[place] = least
    return found
