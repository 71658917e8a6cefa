"""Objectives made of objectives, and the names and directions of their columns.

Scores are higher for what is better: a column that is to be minimised holds the negated
metric. The attribute ``metrics`` of an objective declares its columns, ``jittable``
whether it can be compiled; without them it has one column ``score`` and can.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jnas import directions, registry, types

SCORE = directions.Metric("score")


def columns(objective: types.Objective) -> tuple[directions.Metric, ...]:
    """Returns the name and the direction of each column of an objective.

    Args:
      objective: any objective.
    """
    return tuple(getattr(objective, "metrics", (SCORE,)))


def jittable(objective: types.Objective) -> bool:
    """Returns whether an objective can be compiled."""
    return getattr(objective, "jittable", True)


def _described(function: Callable, metrics: Sequence, *sources: types.Objective):
    """Declares columns; what is made of sources can be compiled if all of them can."""
    function.metrics = tuple(metrics)
    function.jittable = all(map(jittable, sources))
    function.num_workers = max(map(num_workers, sources), default=0)
    return function


def num_workers(objective: types.Objective) -> int:
    """Returns how many members an objective scores at a time by workers; 0 without.

    Args:
      objective: any objective.
    """
    return getattr(objective, "num_workers", 0)


def _scores(objective: types.Objective, key: types.Key, encodings: types.Array):
    """Scores encodings; refuses another number of columns than was declared."""
    scores, named = objective(key, encodings), columns(objective)
    if scores.ndim != 2 or scores.shape[1] != len(named):
        raise ValueError(
            "objective must give scores f32[P, M] with a column for each metric, "
            f"{', '.join(metric.name for metric in named)}, got shape {scores.shape}. "
            "Declare its columns by objectives.declared."
        )
    return scores


def declared(
    objective: types.Objective, *metrics: directions.Metric
) -> types.Objective:
    """Builds the same objective with other names and directions of its columns.

    Args:
      objective: any objective.
      *metrics: of each column.
    """

    def named(key, encodings):
        return objective(key, encodings)

    if hasattr(objective, "member"):
        named.member = objective.member
    return _described(named, metrics, objective)


def chosen(
    objective: types.Objective, metrics: Sequence[directions.Metric]
) -> types.Objective:
    """Builds the objective of some of another's columns, in any order and direction.

    Args:
      objective: it has columns of these names.
      metrics: name and direction of each column.

    Raises:
      ValueError: it has no column of such a name.
    """
    known = {metric.name: (i, metric) for i, metric in enumerate(columns(objective))}
    for metric in metrics:
        if metric.name not in known:
            raise ValueError(
                f"signal must be one of {', '.join(known)}, got {metric.name!r}. "
                f"{registry.nearest(metric.name, known)}".rstrip()
            )
    places = jnp.array([known[metric.name][0] for metric in metrics])
    signs = jnp.array([m.sign * known[m.name][1].sign for m in metrics], jnp.float32)

    def of_columns(key, encodings):
        return _scores(objective, key, encodings)[:, places] * signs

    return _described(of_columns, metrics, objective)


def beside(*objectives: types.Objective) -> types.Objective:
    """Builds the objective that scores by each, columns side by side.

    Args:
      *objectives: each gets a key of its own.
    """

    def side_by_side(key, encodings):
        keys = jax.random.split(key, len(objectives))
        pairs = zip(objectives, keys, strict=True)
        return jnp.concatenate([_scores(one, k, encodings) for one, k in pairs], 1)

    metrics = [metric for one in objectives for metric in columns(one)]
    return _described(side_by_side, metrics, *objectives)


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

    return _described(penalised_objective, columns(objective), objective, cost)


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

    return _described(constrained_objective, columns(objective), objective, cost)


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

    return _described(mean, columns(objective), objective)
