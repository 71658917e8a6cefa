"""Regularized (aging) evolution: a population whose oldest member is replaced."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jnas import registry, types
from jnas.discrete.controllers import draws


class EvolutionState(NamedTuple):
    """The population, as a ring buffer.

    Attributes:
      encodings: i32[N, G].
      scores: f32[N]; -inf in places without a reported score.
      count: i32[], number of encodings reported so far; the next is stored at index
        count % N.
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
    """Builds the controller of regularized evolution.

    The first N proposals are ``initial``, then uniform. Each later proposal mutates one
    gene of the best of ``sample_size`` members, drawn with replacement, and replaces
    the oldest member. A score of NaN counts as -inf.

    Args:
      sizes: number of values of each of the G genes.
      population_size: number N of members. NAS-Bench-201 uses 10 with a sample_size of
        3, AmoebaNet 100 and 25.
      sample_size: number of members in a tournament.
      num_proposals: number P of proposals per round, at most N.
      initial: i32[K, G], encodings proposed first, K at most N; None means none.

    Raises:
      ValueError: a setting is out of range, or no gene has more than one value.

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
        del key  # the population starts empty
        return EvolutionState(
            jnp.zeros((population_size, len(sizes)), jnp.int32),
            jnp.full(population_size, -jnp.inf, jnp.float32),
            jnp.int32(0),
        )

    def ask(key, state):
        alive = jnp.clip(state.count, 1, population_size)
        # draws a first proposal, then those of a child: rivals, gene, step
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
        values = draws.signal(scores)
        place, count = state.count % population_size, state.count + len(encodings)
        if len(encodings) == 1:  # all runs share the place: a slice, not a scatter
            update = jax.lax.dynamic_update_slice_in_dim
            return EvolutionState(
                update(state.encodings, encodings, place, 0),
                update(state.scores, values, place, 0),
                count,
            )
        places = (place + jnp.arange(len(encodings))) % population_size
        return EvolutionState(
            state.encodings.at[places].set(encodings),
            state.scores.at[places].set(values),
            count,
        )

    return types.Controller(init, ask, tell)
