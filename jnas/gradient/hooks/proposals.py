"""Paths of a supernet: proposed by a controller, and the best of them.

A path is one architecture of the space, computed with the parameters that all share.
Any registered controller proposes paths.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnas import pieces, registry, types
from jnas.gradient.hooks import hook as hook_lib


class Best(NamedTuple):
    """The path that a hook chose.

    Attributes:
      done: bool[], whether one is chosen.
      encoding: i32[G].
      score: f32[], higher is better; -inf before.
    """

    done: types.Array
    encoding: types.Encoding
    score: types.Array


class Proposals(NamedTuple):
    """Paths of one search and their scores.

    Attributes:
      encodings: i32[N, G].
      scores: f32[N]; -inf where a path is not allowed or its score is not finite.
    """

    encodings: types.Array
    scores: types.Array

    def top(self, count: int) -> types.Array:
        """Returns the encodings i32[K, G] of the best, K at most N."""
        return self.encodings[jax.lax.top_k(self.scores, count)[1]]


def no_path(search: hook_lib.Search) -> Best:
    """Returns the carry before a path is chosen.

    Args:
      search: whose space has the paths.
    """
    genes = jnp.zeros(len(search.space.sizes), jnp.int32)
    return Best(jnp.zeros((), bool), genes, jnp.float32(-jnp.inf))


def found(carry: Best) -> tuple[types.Array, types.Encoding]:
    """Returns what ``Hook.found`` returns of a carry.

    Args:
      carry: of a hook that chooses a path.
    """
    return carry.done, carry.encoding


def best_of(proposals: Proposals) -> Best:
    """Returns the best of some paths; none is chosen where all have -inf.

    Args:
      proposals: at least one.
    """
    place = proposals.scores.argmax()
    score = proposals.scores[place]
    encoding = proposals.encodings[place].astype(jnp.int32)
    return Best(jnp.isfinite(score), encoding, score)


def mean_of(proposals: Proposals) -> types.Array:
    """Returns the mean score f32[] of the paths that are allowed; NaN without any.

    Args:
      proposals: at least one.
    """
    return jnp.mean(proposals.scores, where=jnp.isfinite(proposals.scores))


def controller_of(
    search: hook_lib.Search, controller: pieces.Piece, **numbers: float | int | None
) -> types.Controller:
    """Builds a registered controller of one objective for a search's space.

    Args:
      search: whose space has the genes.
      controller: registered name, or a function of sizes.
      **numbers: of the controller; None leaves its own.

    Raises:
      KeyError: a controller that is not registered; the nearest is guessed.
      ValueError: a number that the controller does not have.
    """
    build = pieces.resolve(registry.CONTROLLERS, controller)
    known = pieces.options(build)
    given = {name: v for name, v in numbers.items() if v is not None}
    for name, value in given.items():
        if name not in known:
            called = pieces.name_of(registry.CONTROLLERS, controller)
            raise ValueError(
                f"{name} must be left out with controller {called}, which has no such "
                f"option, got {value}. Its options: {', '.join(known) or 'none'}."
            )
    if "num_objectives" in known:
        given["num_objectives"] = 1
    return build(search.space.sizes, **given)


def propose(
    key: types.Key,
    controller: types.Controller,
    score: Callable[[types.Encoding], types.Array],
    num_evaluations: int,
) -> Proposals:
    """Lets a controller search: it proposes, and receives the scores.

    Args:
      key: consumed.
      controller: proposes P paths a round.
      score: encoding i32[G] -> f32[]; called for one path at a time, so that a supernet
        may skip options of weight zero.
      num_evaluations: N; rounded up to whole rounds.

    Returns:
      All N paths.
    """
    init_key, rounds_key = jax.random.split(key)
    state = controller.init(init_key)
    each = len(jax.eval_shape(controller.ask, init_key, state))

    def one_round(state, ask_key):
        encodings = controller.ask(ask_key, state)
        scores = jax.lax.map(score, encodings)
        scores = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
        state = controller.tell(state, encodings, scores[:, None])
        return state, Proposals(encodings, scores)

    keys = jax.random.split(rounds_key, -(-num_evaluations // each))
    _, rounds = jax.lax.scan(one_round, state, keys)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rounds)


def allowed(search: hook_lib.Search, mask: Any, weights: types.Weights) -> types.Array:
    """Returns bool[], whether a path has no removed option and keeps the limits.

    Args:
      search: has the limits.
      mask: of the state; None removes nothing.
      weights: of the path.
    """
    fits = [one.violation(weights) <= 0 for one in search.limits]
    if mask is not None:
        kept = jax.tree.map(lambda w, m: (m | (w == 0)).all(), weights, mask)
        fits += jax.tree.leaves(kept)
    return jnp.stack(fits).all() if fits else jnp.ones((), bool)
