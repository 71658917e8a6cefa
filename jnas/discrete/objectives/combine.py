"""Objectives made of objectives."""

import jax
import jax.numpy as jnp

from jnas import types


def beside(*objectives: types.Objective) -> types.Objective:
    """Builds the objective that scores by each, columns side by side.

    Args:
      *objectives: each gets a key of its own.
    """

    def objective(key, encodings):
        keys = jax.random.split(key, len(objectives))
        scores = [one(k, encodings) for one, k in zip(objectives, keys, strict=True)]
        return jnp.concatenate(scores, 1)

    return objective


def penalised(
    objective: types.Objective, cost: types.Objective, *, weight: float
) -> types.Objective:
    """Builds the objective whose first column is score + weight * cost score.

    Args:
      objective: its first column is changed, the others stay.
      cost: its first column is higher for what is cheaper, such as ``-parameters``.
      weight: units of the score for one unit of the cost.
    """

    def penalised_objective(key, encodings):
        score_key, cost_key = jax.random.split(key)
        scores = objective(score_key, encodings)
        return scores.at[:, 0].add(weight * cost(cost_key, encodings)[:, 0])

    return penalised_objective


def constrained(
    objective: types.Objective, cost: types.Objective, *, least: float
) -> types.Objective:
    """Builds the objective whose first column is -inf where a cost score is too low.

    For a controller of one signal; for NSGA-II make the cost a column by ``beside``.

    Args:
      objective: its first column is changed, the others stay.
      cost: its first column is higher for what is cheaper.
      least: the lowest cost score that is allowed; -1e6 for a million parameters.
    """

    def constrained_objective(key, encodings):
        score_key, cost_key = jax.random.split(key)
        scores = objective(score_key, encodings)
        allowed = cost(cost_key, encodings)[:, 0] >= least
        return scores.at[:, 0].set(jnp.where(allowed, scores[:, 0], -jnp.inf))

    return constrained_objective


def averaged(objective: types.Objective, *, num_seeds: int) -> types.Objective:
    """Builds the objective that is the mean over keys; NaN where one is NaN.

    Args:
      objective: scored num_seeds times.
      num_seeds: at least 1.

    Raises:
      ValueError: num_seeds below 1.
    """
    if num_seeds < 1:
        raise ValueError(f"num_seeds must be at least 1, got {num_seeds}. Raise it.")

    def mean(key, encodings):
        keys = jax.random.split(key, num_seeds)
        return sum(objective(k, encodings) for k in keys) / num_seeds

    return mean
