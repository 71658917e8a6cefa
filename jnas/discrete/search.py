"""The loop of a discrete search: ask, score, tell."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnas import types


class History(NamedTuple):
    """The evaluations of a discrete search, by round.

    Attributes:
      encodings: i32[R, P, G], the evaluated encodings.
      scores: f32[R, P, M], their scores; what is not finite is replaced by -inf.
    """

    encodings: types.Array
    scores: types.Scores


def one_round(
    controller: types.Controller,
    evaluate: Callable[[Any, types.Array], tuple[types.Scores, Any]],
    ask_key: types.Key,
    score_key: Any,
    state: Any,
) -> tuple[Any, History, Any]:
    """Asks a controller for encodings, scores them and tells it the scores.

    Every discrete search of jnas takes its rounds from here. A score that is not finite
    counts as -inf: one that overflowed is no good one.

    Args:
      controller: proposes P encodings.
      evaluate: (score_key, encodings i32[P, G]) -> (scores f32[P, M], anything else).
      ask_key: PRNG key of the proposals.
      score_key: PRNG key or keys of the evaluation.
      state: state of the controller.

    Returns:
      (state of the controller, History of this round, what else evaluate returned).
    """
    encodings = controller.ask(ask_key, state)
    scores, more = evaluate(score_key, encodings)
    scores = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
    state = controller.tell(state, encodings, scores)
    return state, History(encodings, scores), more


def discrete_search(
    key: types.Key,
    controller: types.Controller,
    objective: types.Objective,
    *,
    num_rounds: int,
) -> tuple[Any, History]:
    """Searches with a controller for encodings of high score: ask, score, tell.

    Pure and jittable if the objective is; ``vmap`` over keys gives many runs.

    Args:
      key: PRNG key of the whole search.
      controller: proposes P encodings per round.
      objective: (key, encodings i32[P, G]) -> scores f32[P, M], higher is better.
      num_rounds: number R of rounds, at least 1.

    Returns:
      (the controller's last state, the History).
    """
    init_key, rounds_key = jax.random.split(key)

    def body(state, keys):
        return one_round(controller, scored(objective), *keys, state)[:2]

    keys = jax.random.split(rounds_key, (num_rounds, 2))
    return jax.lax.scan(body, controller.init(init_key), keys)


def scored(objective: types.Objective) -> Callable:
    """Returns an objective in the form that ``one_round`` takes.

    Args:
      objective: (key, encodings i32[P, G]) -> scores f32[P, M].
    """
    return lambda key, encodings: (objective(key, encodings), None)


def best(history: History, metric: int = 0) -> tuple[types.Encoding, types.Array]:
    """Returns the best encoding i32[G] of a history and its score f32[].

    Args:
      history: as from ``discrete_search``.
      metric: column of the scores.
    """
    scores = history.scores[..., metric].reshape(-1)
    encodings = history.encodings.reshape(len(scores), -1)
    winner = scores.argmax()
    return encodings[winner], scores[winner]
