"""Regularized (aging) evolution: a queue of cells, of which the oldest dies."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jnas import registry, types
from jnas.controllers import draws


class EvolutionState(NamedTuple):
    """The queue, as a ring.

    Attributes:
      encodings: i32[N, G].
      scores: f32[N]; -inf in places that nothing was told for.
      count: i32[], encodings told so far; the next goes to place count % N.
    """

    encodings: types.Array
    scores: types.Array
    count: types.Array


@registry.CONTROLLERS.register
def regularized_evolution(
    sizes: tuple[int, ...],
    *,
    population_size: int = 10,
    sample_size: int = 3,
    num_proposals: int = 1,
    initial: types.Array | None = None,
) -> types.Controller:
    """Builds the controller that mutates the best of a few and buries the oldest.

    The first N proposals are ``initial`` and then uniform. After them a proposal is the
    best of ``sample_size`` members, drawn with replacement, with one gene changed. A
    score of NaN counts as -inf.

    Args:
      sizes: number of values of each gene, G of them.
      population_size: N. 10 is NAS-Bench-201's, with a sample of 3; AmoebaNet's are 100
        and 25.
      sample_size: members of a tournament.
      num_proposals: P, proposals of one round, at most N.
      initial: i32[K, G], proposed first; K at most N.

    Raises:
      ValueError: a size out of its range; no gene that can change.

    Source: Real et al. 2019, arXiv:1802.01548, algorithm 1; Dong and Yang 2020,
    arXiv:2001.00326, for the defaults. Differs: a mutation never keeps the gene's value,
    as in the latter.
    """
    draws.check("num_proposals", num_proposals, 1, population_size)
    draws.check("sample_size", sample_size, 1, 10_000)
    mutate = draws.mutation(sizes)
    first = draws.first_proposals(sizes, initial, most=population_size)

    def init(key):
        del key  # the queue starts empty
        return EvolutionState(
            jnp.zeros((population_size, len(sizes)), jnp.int32),
            jnp.full(population_size, -jnp.inf),
            jnp.int32(0),
        )

    def ask(key, state):
        bits = jax.random.bits(key, (num_proposals, sample_size + 2 + len(sizes)))
        tournament, change, fresh = jnp.split(
            bits, (sample_size, sample_size + 2), axis=1
        )
        alive = jnp.clip(state.count, 1, population_size)
        rivals = draws.below(tournament, alive)
        winner = state.scores[rivals].argmax(-1)
        parents = jnp.take_along_axis(rivals, winner[:, None], 1)[:, 0]
        children = mutate(change, state.encodings[parents])
        number = state.count + jnp.arange(num_proposals)
        fill = (number < population_size)[:, None]
        return jnp.where(fill, first(number, fresh), children)

    def tell(state, encodings, scores):
        places = (state.count + jnp.arange(len(encodings))) % population_size
        return EvolutionState(
            state.encodings.at[places].set(encodings),
            state.scores.at[places].set(draws.signal(scores)),
            state.count + len(encodings),
        )

    return types.Controller(init, ask, tell)
