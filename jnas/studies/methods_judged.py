"""How methods are judged by a table: cells, rankings, and random search beside them."""

import math
import time
from typing import Any

import jax
import numpy as np

from jnas import types
from jnas.data import batches
from jnas.discrete import comparison, controllers, objectives
from jnas.discrete.tables import choice
from jnas.spaces import rows
from jnas.studies import cells, compared, keys, search_gradient
from jnas.studies.methods_plan import Plan

SAMPLE = 1000  # cells that a method's ranking is judged on
RANDOM, RANDOM_RUNS = "random_search", 500


def sample(plan: Plan, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws the cells that rankings are judged on, the same for all methods.

    Of a table with gaps they are drawn among the cells that it holds, under limits
    among those that keep them.

    Args:
      plan: the comparison.
      seed: of the draw.

    Returns:
      (cells i32[N, G], their truth f[N], all finite).
    """
    known = np.flatnonzero(np.isfinite(plan.truth))
    if len(known) == math.prod(plan.table.sizes):
        key = jax.random.fold_in(jax.random.key(seed), keys.CELLS)
        draw = controllers.random_search(plan.table.sizes, num_proposals=SAMPLE)
        drawn = np.unique(np.asarray(draw.ask(key, draw.init(key))), axis=0)
        return drawn, plan.truth[np.asarray(plan.table.row(drawn))]
    rows = np.sort(np.random.default_rng(seed).permutation(known)[:SAMPLE])
    return plan.table.cells(rows), plan.truth[rows]


def judge(
    plan: Plan, found: search_gradient.Found, sample: np.ndarray, truth: np.ndarray
) -> dict[str, Any]:
    """Compares the cells and the ranking of each seed with the table.

    Args:
      plan: the comparison.
      found: result of a method's searches.
      sample: i32[N, G], cells that rankings are judged on.
      truth: f[N], their judged metric.
    """
    scores = np.append(plan.truth, np.nan)[np.asarray(plan.table.row(found.encodings))]
    one_hot = jax.tree.map(np.asarray, jax.vmap(plan.space.weights)(sample))
    ranks = [_ranks(weights, one_hot) for weights in rows.apart(found.weights)]
    taus = [kendall(one, truth) for one in ranks]
    skips = [cells.num_skips(plan.space.genotype(e)) for e in found.encodings]
    return figures_of(plan, scores) | {
        "tau": compared.spread(np.array(taus)),
        "skip_connects": compared.spread(np.array(skips, np.float64)),
        "evaluations": 0,
        "wall_seconds": found.result["seconds"],
    }


def kendall(ranks: np.ndarray, truth: np.ndarray) -> float:
    """Returns Kendall's tau of two rankings; NaN where all of one are equal.

    Args:
      ranks: f[N], higher is better.
      truth: f[N].
    """
    from scipy import stats  # late: it costs as much as importing JAX

    if len(truth) < 2 or not (np.ptp(truth) > 0 and np.ptp(ranks) > 0):
        return float("nan")
    return float(stats.kendalltau(ranks, truth).statistic)


def figures_of(plan: Plan, scores: np.ndarray) -> dict[str, Any]:
    """Returns the judged metric of cells, the best, and their percentiles.

    Args:
      plan: the comparison.
      scores: f[S], higher is better; what is not finite is unknown.
    """
    known = scores[np.isfinite(scores)]
    best = float(plan.judged.sign * known.max()) if len(known) else None
    values = plan.judged.sign * known.astype(np.float64)
    each = {"values": [float(one) for one in values]}
    return {
        plan.judged.name: compared.spread(values) | each,
        "best": best,
        "percentile": compared.spread(percentile(plan.truth, known)),
        "unknown": len(scores) - len(known),
    }


def _ranks(weights: types.Weights, one_hot: types.Weights) -> np.ndarray:
    """f64[N]: the logarithm of the product of a cell's weights."""

    def of_leaf(weights, one_hot):
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log(weights), -1e6)
        chosen = logs[None] * (one_hot > 0)
        return chosen.sum(tuple(range(1, chosen.ndim)))

    return sum(jax.tree.leaves(jax.tree.map(of_leaf, weights, one_hot)))


def percentile(truth: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the share, in percent, of a table's cells that are worse.

    Args:
      truth: f[N] of all cells; NaN for unknown ones.
      values: f[S].

    Returns:
      f64[S]; of equal cells half count as worse.
    """
    known = np.sort(truth[np.isfinite(truth)])
    below = np.searchsorted(known, values.astype(known.dtype), "left")
    upto = np.searchsorted(known, values.astype(known.dtype), "right")
    return 50.0 * (below + upto) / len(known)


def _random_scores(plan: Plan, seed: int, evaluations: int) -> np.ndarray:
    """Returns f[S, T, 2], signal and judged metric of cells that random search draws.

    Under limits it draws among the table's cells that keep them.
    """
    names = [plan.settings.signal[0], plan.settings.report[-1]]
    if plan.held is not None:
        rows = np.flatnonzero(plan.held)
        drawn = np.random.default_rng(seed).choice(rows, (RANDOM_RUNS, evaluations))
        columns = [
            one.sign * plan.table.column(one.name).astype(np.float64)[drawn]
            for one in (plan.signal, plan.judged)
        ]
        scores = np.stack(columns, 2)
        return np.where(np.isfinite(scores), scores, -np.inf)
    return comparison.play(
        controllers.random_search(plan.table.sizes),
        objectives.table(plan.table, names),
        num_runs=RANDOM_RUNS,
        num_evaluations=evaluations,
        seed=seed,
    ).scores


def random(plan: Plan, seed: int) -> dict[str, Any]:
    """Returns the figures of random search with as many images as a gradient search.

    Args:
      plan: the comparison.
      seed: of the runs.

    Raises:
      ValueError: fewer than two runs have a judged metric.
    """
    settings = plan.settings
    train = round(batches.count(plan.dataset.y_train) * 0.5) // settings.batch_size
    images = 2 * settings.epochs * train * settings.batch_size
    evaluations = max(1, images // settings.images_per_cell)
    began = time.perf_counter()
    drawn = _random_scores(plan, seed, evaluations)
    outcome = comparison.judge(drawn, np.ones(drawn.shape[:2]), evaluations, judged=1)
    scores = outcome.final[:, 1]
    count = int(np.isfinite(scores).sum())
    if count < 2:
        gaps = choice.all_gaps(plan.table, [plan.signal], [plan.judged])
        held = "".join(f"The {line.partition(';')[0]}. " for line in gaps)
        raise ValueError(
            f"table must hold {plan.judged.name} of the cells of at least two of "
            f"{RANDOM_RUNS} runs of {RANDOM}, {evaluations} evaluations each, got "
            f"{count}. {held}Use a fuller table or another metric."
        )
    return figures_of(plan, scores) | {
        "evaluations": evaluations,
        "wall_seconds": round(time.perf_counter() - began, 2),
    }
