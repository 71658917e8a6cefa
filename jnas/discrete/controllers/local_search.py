"""Local search: moves to the best neighbour until none is better, then restarts."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jnas import registry, types
from jnas.discrete.controllers import draws


class LocalSearchState(NamedTuple):
    """State of one climb.

    Attributes:
      centre: i32[G], the encoding whose neighbours are proposed.
      centre_score: f32[], its score.
      best: i32[G], the best neighbour reported so far.
      best_score: f32[], its score.
      place: i32[], number of neighbours reported so far; -1 before a new start.
      starts: i32[], number of starts reported so far.
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
    """Builds the controller of local search (hill climbing).

    It proposes all encodings at Hamming distance 1 from the centre. If the best of them
    is better than the centre, it becomes the next centre; else the climb ends and a new
    start is drawn uniformly. With several starts per round, the climb begins at the
    best.

    Args:
      sizes: number of values of each of the G genes.
      num_proposals: number P of proposals per round; a round that reaches the last
        neighbour continues with the first.
      initial: i32[K, G], the first starts; None means none.

    Raises:
      ValueError: num_proposals is below 1, or no gene has more than one value.

    Source: White, Nolen and Savani 2021, arXiv:2005.02960, algorithm 1.
    """
    draws.check("num_proposals", num_proposals, 1, 1_000_000)
    draws.check_sizes(sizes)
    first = draws.first_proposals(sizes, initial, most=1_000_000)
    genes = np.repeat(np.arange(len(sizes)), np.array(sizes) - 1)
    steps = np.concatenate([np.arange(1, size) for size in sizes]).astype(np.int32)

    def init(key):
        del key  # the first start is drawn by the first ask
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
        new, new_score = encodings[winner], values[winner]
        better = new_score > state.best_score
        best = jnp.where(better, new, state.best)
        best_score = jnp.maximum(new_score, state.best_score)
        starting = state.place < 0
        place = jnp.where(starting, 0, state.place + num_proposals)
        ended = place >= len(genes)
        climbs = starting | (ended & (best_score > state.centre_score))
        place = jnp.where(ended, jnp.where(climbs, 0, -1), place)
        # after a step or a new start, no neighbour of the new centre is known yet
        best = jnp.where(starting, new, best)
        best_score = jnp.where(starting, new_score, best_score)
        return LocalSearchState(
            jnp.where(climbs, best, state.centre),
            jnp.where(climbs, best_score, state.centre_score),
            best,
            jnp.where(climbs | (place < 0), -jnp.inf, best_score),
            place,
            state.starts + jnp.where(starting, len(encodings), 0),
        )

    return types.Controller(init, ask, tell)
