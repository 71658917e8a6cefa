"""Compares controllers: equal budgets, many runs, spread, random search as baseline.

All runs are one compiled program (``play``); their results are evaluated on the host,
as NumPy arrays over S runs, T evaluations and M metrics.
"""

import time
from typing import NamedTuple

import jax
import numpy as np

from jnas import types
from jnas.discrete import search
from jnas.training import devices, placement, timing


class Runs(NamedTuple):
    """The evaluations of S runs of a controller, in order.

    Attributes:
      encodings: i32[S, T, G], the evaluated encodings.
      scores: f32[S, T, M], their scores; -inf for NaN.
      compile_seconds: time to compile the program, in seconds.
      seconds: wall time of all runs, in seconds.
    """

    encodings: np.ndarray
    scores: np.ndarray
    compile_seconds: float
    seconds: float


class Outcome(NamedTuple):
    """Results of S runs of a controller within one budget.

    Attributes:
      final: f64[S, M], the metrics of the cell with the best signal, each -inf where
        it is unknown; NaN where no evaluation within the budget had a signal.
      evaluations: i64[S], number of evaluations within the budget.
      cost: f64[K], equally spaced costs up to the budget.
      trace: f64[S, K], the judged metric of the incumbent at each cost; NaN before the
        first evaluation with a signal.
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
      controller: the controller, which proposes P encodings per round.
      objective: pure function (key, encodings) -> scores f32[P, M].
      num_runs: number S of runs.
      num_evaluations: number T of evaluations of each run; surplus evaluations of the
        last round are dropped.
      seed: seed of all runs. Two controllers with one seed are not paired, except that
        they get equal keys.

    Returns:
      The evaluations of all runs.
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

    Runs are divided among as many devices as divide their number.

    Args:
      controller: the controller, which proposes P encodings per round.
      objective: pure function (key, encodings) -> scores f32[P, M].
      num_runs: number S of runs.
      num_evaluations: number T of evaluations of each run, rounded up to whole rounds.

    Returns:
      key -> search.History with encodings i32[R, S, P, G] and scores f32[R, S, P, M]
      over R rounds.
    """
    key = jax.random.key(0)
    state = jax.eval_shape(controller.init, key)
    num_proposals = jax.eval_shape(controller.ask, key, state).shape[0]
    num_rounds = -(-num_evaluations // num_proposals)

    def one(key):
        return search.discrete_search(
            key, controller, objective, num_rounds=num_rounds
        )[1]

    def many(key):
        keys = jax.random.split(key, num_runs)
        found = placement.divided(one, keys, form=devices.together)
        return jax.tree.map(lambda rows: rows.swapaxes(0, 1), found)

    return timing.compile_timed(placement.jit(many, count=num_runs), key)


def judge(
    scores: np.ndarray,
    costs: np.ndarray,
    budget: float,
    *,
    signal: int = 0,
    judged: int = 0,
    num_points: int = 100,
) -> Outcome:
    """Evaluates the results of runs within a budget.

    Costs are added up in order; the first evaluation that would exceed the budget and
    all later ones are ignored, as in NAS-Bench-201's own baselines. The result of a run
    is the cell with the best signal, the first of equals; a signal of -inf is none.

    Args:
      scores: f[S, T, M], as in ``Runs``.
      costs: f[S, T], cost of each evaluation, positive; ones count evaluations.
      budget: budget of each run, in the unit of costs.
      signal: number of the metric that selects the best cell.
      judged: number of the metric that is traced.
      num_points: number K of points of the trace.
    """
    paid = np.cumsum(costs, 1, dtype=np.float64)
    counts = (paid <= budget * (1 + 1e-12)).sum(1)
    signals = scores[:, :, signal]
    best, rows = _running_best(signals), np.arange(len(scores))
    last = best[rows, np.maximum(counts, 1) - 1]
    final = scores[rows, last].astype(np.float64)
    found = (counts > 0) & (signals[rows, last] > -np.inf)
    cost = np.linspace(0, budget, num_points + 1)[1:]
    done = np.stack([np.searchsorted(p, cost * (1 + 1e-12), "right") for p in paid])
    done = np.minimum(done, counts[:, None])
    rows = rows[:, None]
    places = best[rows, np.maximum(done, 1) - 1]
    has = (done > 0) & (signals[rows, places] > -np.inf)
    return Outcome(
        np.where(found[:, None], final, np.nan),
        counts,
        cost,
        np.where(has, scores[rows, places, judged], np.nan),
    )


def _running_best(signal: np.ndarray) -> np.ndarray:
    """Returns i64[S, T], the index of the best signal so far, the first of equals."""
    best = np.maximum.accumulate(signal, 1)
    before = np.concatenate([np.full((len(signal), 1), -np.inf), best[:, :-1]], 1)
    places = np.where(signal > before, np.arange(signal.shape[1]), 0)
    return np.maximum.accumulate(places, 1)


def p_value(values: np.ndarray, others: np.ndarray) -> float:
    """Returns the two-sided p-value of the Mann-Whitney U test.

    The null hypothesis is that both samples have the same distribution.

    Args:
      values: f[S].
      others: f[S'].

    Source: Mann and Whitney 1947; SciPy corrects for ties.
    """
    from scipy import stats  # imported late: as slow as importing JAX

    return float(stats.mannwhitneyu(values, others, alternative="two-sided").pvalue)
