"""Local search: to the best neighbour, until none is better; then from a new start."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jnas import registry, types
from jnas.discrete.controllers import draws


class LocalSearchState(NamedTuple):
    """One climb.

    Attributes:
      centre: i32[G], whose neighbours are asked for.
      centre_score: f32[].
      best: i32[G], the best neighbour told so far.
      best_score: f32[].
      place: i32[], neighbours told so far; -1 where a new start is to be drawn.
      starts: i32[], starts told so far.
    """

    centre: types.Array
    centre_score: types.Array
    best: types.Array
    best_score: types.Array
    place: types.Array
    starts: types.Array


@registry.CONTROLLERS.register
def local_search(
    sizes: tuple[int, ...],
    *,
    num_proposals: int = 1,
    initial: types.Array | None = None,
) -> types.Controller:
    """Builds the controller that climbs to the best neighbour.

    All encodings at distance 1 are proposed; the best becomes the next centre if it is
    better than the centre, else the climb has ended and a new start is drawn,
    uniformly. The best of a round of starts is the one that is climbed from.

    Args:
      sizes: number of values of each gene, G of them.
      num_proposals: P, proposals of one round; a round that reaches past the last
        neighbour begins the list again.
      initial: i32[K, G], the first starts.

    Raises:
      ValueError: num_proposals below 1; no gene that can change.

    Source: White, Nolen and Savani 2021, arXiv:2005.02960, algorithm 1.
    """
    draws.check("num_proposals", num_proposals, 1, 1_000_000)
    draws.check_sizes(sizes)
    first = draws.first_proposals(sizes, initial, most=1_000_000)
    genes = np.repeat(np.arange(len(sizes)), np.array(sizes) - 1)
    steps = np.concatenate([np.arange(1, size) for size in sizes]).astype(np.int32)

    def init(key):
        del key  # the first start is drawn by the first question
        nothing = jnp.zeros(len(sizes), jnp.int32), jnp.float32(-jnp.inf)
        return LocalSearchState(*nothing, *nothing, jnp.int32(-1), jnp.int32(0))

    def ask(key, state):
        numbers = jnp.arange(num_proposals)
        drawn = draws.encodings(key, num_proposals, sizes)
        starts = first(state.starts + numbers, drawn)
        number = (jnp.maximum(state.place, 0) + numbers) % len(genes)
        gene, step = jnp.asarray(genes)[number], jnp.asarray(steps)[number]
        centres = jnp.broadcast_to(state.centre, starts.shape)
        near = draws.mutate(centres, sizes, gene, step)
        return jnp.where(state.place < 0, starts, near)

    def tell(state, encodings, scores):
        values = draws.signal(scores)
        winner = values.argmax()
        told, told_score = encodings[winner], values[winner]
        better = told_score > state.best_score
        best = jnp.where(better, told, state.best)
        best_score = jnp.maximum(told_score, state.best_score)
        starting = state.place < 0
        place = jnp.where(starting, 0, state.place + num_proposals)
        ended = place >= len(genes)
        climbs = starting | (ended & (best_score > state.centre_score))
        place = jnp.where(ended, jnp.where(climbs, 0, -1), place)
        # a new climb, by a step or from a new start, has seen no neighbour yet
        best = jnp.where(starting, told, best)
        best_score = jnp.where(starting, told_score, best_score)
        return LocalSearchState(
            jnp.where(climbs, best, state.centre),
            jnp.where(climbs, best_score, state.centre_score),
            best,
            jnp.where(climbs | (place < 0), -jnp.inf, best_score),
            place,
            state.starts + jnp.where(starting, len(encodings), 0),
        )

    return types.Controller(init, ask, tell)
