"""Comparing controllers honestly: equal budgets, many runs, spread, random search.

Runs are one compiled program (``play``); what they found is then looked at on the host,
as plain arrays: S runs, T evaluations, M metrics.
"""

import time
from typing import NamedTuple

import jax
import numpy as np

from jnas import types
from jnas.discrete import search
from jnas.training import timing


class Runs(NamedTuple):
    """What S runs of a controller saw, in order of evaluation.

    Attributes:
      encodings: i32[S, T, G].
      scores: f32[S, T, M]; -inf for NaN.
      compile_seconds: spent once.
      seconds: of wall time for all runs.
    """

    encodings: np.ndarray
    scores: np.ndarray
    compile_seconds: float
    seconds: float


class Outcome(NamedTuple):
    """What S runs of a controller came to within one budget.

    Attributes:
      final: f64[S, M], the metrics of the cell with the best signal; NaN where a run
        could not afford one evaluation.
      evaluations: i64[S], that fit into the budget.
      cost: f64[K], points between 0 and the budget.
      trace: f64[S, K], the judged metric of the incumbent at each point; NaN before the
        first evaluation.
    """

    final: np.ndarray
    evaluations: np.ndarray
    cost: np.ndarray
    trace: np.ndarray


def play(
    controller: types.Controller,
    objective: types.Objective,
    *,
    num_runs: int,
    num_evaluations: int,
    seed: int,
) -> Runs:
    """Runs a controller many times, as one program.

    Args:
      controller: asked P at a time.
      objective: pure; scores f32[P, M].
      num_runs: S.
      num_evaluations: T; the last round's surplus is dropped.
      seed: of all runs; the same for two controllers gives them no common luck beyond
        that of equal keys.

    Returns:
      The runs.
    """
    compiled = runner(
        controller, objective, num_runs=num_runs, num_evaluations=num_evaluations
    )
    began = time.perf_counter()
    history = jax.block_until_ready(compiled.call(jax.random.key(seed)))
    seconds = time.perf_counter() - began

    def flat(rows):
        rows = np.asarray(rows).swapaxes(0, 1)
        return rows.reshape(num_runs, -1, rows.shape[-1])[:, :num_evaluations]

    compile_seconds = compiled.trace_seconds + compiled.compile_seconds
    return Runs(*map(flat, history), compile_seconds, seconds)


def runner(
    controller: types.Controller,
    objective: types.Objective,
    *,
    num_runs: int,
    num_evaluations: int,
) -> timing.Compiled:
    """Compiles many runs of a controller as one program.

    Runs are divided among the process' devices, where these divide their number.

    Args:
      controller: asked P at a time.
      objective: pure; scores f32[P, M].
      num_runs: S.
      num_evaluations: T, in whole rounds of P.

    Returns:
      key -> search.History of encodings i32[R, S, P, G] and scores f32[R, S, P, M], as
      they come: in the order of rounds.
    """
    key = jax.random.key(0)
    state = jax.eval_shape(controller.init, key)
    num_proposals = jax.eval_shape(controller.ask, key, state).shape[0]
    num_rounds = -(-num_evaluations // num_proposals)
    devices = jax.local_devices()
    apart = None
    if len(devices) > 1 and num_runs % len(devices) == 0:
        kind = (jax.sharding.AxisType.Auto,)
        mesh = jax.make_mesh((len(devices),), ("runs",), kind, devices=devices)
        spec = jax.sharding.PartitionSpec("runs")
        apart = jax.sharding.NamedSharding(mesh, spec)

    def one(key):
        return search.discrete_search(
            key, controller, objective, num_rounds=num_rounds
        )[1]

    def many(key):
        keys = jax.random.split(key, num_runs)
        if apart:
            keys = jax.lax.with_sharding_constraint(keys, apart)
        return jax.vmap(one, out_axes=1)(keys)

    return timing.compile_timed(many, key)


def judge(
    scores: np.ndarray,
    costs: np.ndarray,
    budget: float,
    *,
    signal: int = 0,
    judged: int = 0,
    num_points: int = 100,
) -> Outcome:
    """Looks at what runs came to within a budget.

    Evaluations are paid for in order; the first that would go over the budget and all
    after it do not count, as in NAS-Bench-201's own baselines. A run's answer is the
    cell with the best signal, the first of equals.

    Args:
      scores: f[S, T, M].
      costs: f[S, T], of each evaluation, positive; ones count evaluations.
      budget: in units of costs.
      signal: the metric that chooses.
      judged: the metric that is traced.
      num_points: K.
    """
    paid = np.cumsum(costs, 1, dtype=np.float64)
    counts = (paid <= budget * (1 + 1e-12)).sum(1)
    best = _running_best(scores[:, :, signal])
    rows = np.arange(len(scores))
    final = scores[rows, best[rows, np.maximum(counts, 1) - 1]].astype(np.float64)
    cost = np.linspace(0, budget, num_points + 1)[1:]
    done = np.stack([np.searchsorted(p, cost * (1 + 1e-12), "right") for p in paid])
    done = np.minimum(done, counts[:, None])
    values = scores[rows[:, None], best[rows[:, None], np.maximum(done, 1) - 1], judged]
    return Outcome(
        np.where(counts[:, None] > 0, final, np.nan),
        counts,
        cost,
        np.where(done > 0, values, np.nan),
    )


def _running_best(signal: np.ndarray) -> np.ndarray:
    """i64[S, T]: the place of the best signal so far, the first of equals."""
    best = np.maximum.accumulate(signal, 1)
    before = np.concatenate([np.full((len(signal), 1), -np.inf), best[:, :-1]], 1)
    places = np.where(signal > before, np.arange(signal.shape[1]), 0)
    return np.maximum.accumulate(places, 1)


def p_value(values: np.ndarray, others: np.ndarray) -> float:
    """Returns the two-sided p of the Mann-Whitney test that both are drawn alike.

    Args:
      values: f[S].
      others: f[S'].

    Source: Mann and Whitney 1947; ties are corrected for, by SciPy.
    """
    from scipy import stats  # late: it costs as much as importing JAX

    return float(stats.mannwhitneyu(values, others, alternative="two-sided").pvalue)
