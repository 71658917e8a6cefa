"""Scores at two levels: all cells cheaply, and the best of them in full."""

import jax
import jax.numpy as jnp

from jnas import types
from jnas.discrete.objectives import combine


def rescored(
    screening: types.Objective, objective: types.Objective, *, count: int
) -> types.Objective:
    """Builds the objective that scores the best cells of a round alone.

    A round's cells are screened; the ``count`` best of them, the first of equals, are
    scored, and the others have no score, -inf: a cheap score is not compared with a
    full one.

    Args:
      screening: its first column chooses, such as a score on few images; NaN is worst.
      objective: whose scores the result has.
      count: K, number of cells that are scored.

    Returns:
      (key, encodings i32[P, G]) -> scores f32[P, M] of the objective's columns.

    Raises:
      ValueError: count below 1; later, fewer than K proposals in a round.

    Source: Li and Talwalkar 2019, arXiv:1902.07638, its released code: rounds of 1,000
    random cells, screened on 10 batches of 64, the best 10 in full. Differs: there each
    cell reads the next 10 batches, so that a lucky one is among them; here
    ``one_shot_accuracy`` draws the same images for all cells of a round.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}. Raise it.")

    def at_two_levels(key, encodings):
        check_proposals(count, len(encodings))
        screen_key, score_key = jax.random.split(key)
        first = screening(screen_key, encodings)[:, 0]
        best = jax.lax.top_k(jnp.where(jnp.isnan(first), -jnp.inf, first), count)[1]
        scores = objective(score_key, encodings[best])
        nothing = jnp.full((len(encodings), scores.shape[1]), -jnp.inf, scores.dtype)
        return nothing.at[best].set(scores)

    at_two_levels.metrics = combine.columns(objective)
    at_two_levels.jittable = all(map(combine.jittable, (screening, objective)))
    return at_two_levels


def check_proposals(count: int, num_proposals: int) -> None:
    """Refuses rounds of fewer cells than are scored.

    Args:
      count: number of cells of a round that are scored.
      num_proposals: P of one round.

    Raises:
      ValueError: P is below count.
    """
    if num_proposals < count:
        raise ValueError(
            f"rescore must be at most the {num_proposals} cells of a round, got "
            f"{count}. Lower --rescore or raise --num_proposals."
        )
