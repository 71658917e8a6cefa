"""Regularized (aging) evolution: a queue of cells, of which the oldest dies."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jnas import registry, types
from jnas.discrete.controllers import draws


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
    arXiv:2001.00326, for the defaults. Differs: a mutation never keeps the gene's
    value, as in the latter.
    """
    draws.check("population_size", population_size, 1, 2**16)
    draws.check("num_proposals", num_proposals, 1, population_size)
    draws.check("sample_size", sample_size, 1, 10_000)
    free, genes = draws.check_sizes(sizes), len(sizes)
    others = jnp.array(sizes, jnp.uint32)[free] - 1
    bounds = [*sizes, *[population_size] * sample_size, len(free), max(sizes) - 1]
    first = draws.first_proposals(sizes, initial, most=population_size)

    def init(key):
        del key  # the queue starts empty
        return EvolutionState(
            jnp.zeros((population_size, len(sizes)), jnp.int32),
            jnp.full(population_size, -jnp.inf, jnp.float32),
            jnp.int32(0),
        )

    def ask(key, state):
        alive = jnp.clip(state.count, 1, population_size)
        # a start, then a child: rivals, gene, step
        limits = [*sizes, *[alive] * sample_size, len(free)]
        limits.append(lambda drawn: others[drawn[len(limits) - 2]])
        *drawn, place, step = draws.integers(key, num_proposals, limits, bounds)
        start, rivals = (jnp.stack(d, -1) for d in (drawn[:genes], drawn[genes:]))
        winner = state.scores[rivals].argmax(-1)[:, None]
        parent = jnp.take_along_axis(rivals, winner, 1)[:, 0]
        gene = jnp.asarray(free)[place]
        child = draws.mutate(state.encodings[parent], sizes, gene, step + 1)
        number = state.count + jnp.arange(num_proposals)
        return jnp.where(
            (number < population_size)[:, None], first(number, start), child
        )

    def tell(state, encodings, scores):
        told = draws.signal(scores)
        place, count = state.count % population_size, state.count + len(encodings)
        if len(encodings) == 1:  # the place is one for all runs: a slice, no scatter
            update = jax.lax.dynamic_update_slice_in_dim
            return EvolutionState(
                update(state.encodings, encodings, place, 0),
                update(state.scores, told, place, 0),
                count,
            )
        places = (place + jnp.arange(len(encodings))) % population_size
        return EvolutionState(
            state.encodings.at[places].set(encodings),
            state.scores.at[places].set(told),
            count,
        )

    return types.Controller(init, ask, tell)
