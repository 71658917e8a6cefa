"""NSGA-II: evolution of a population that approximates a Pareto front."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jnas import registry, types
from jnas.discrete.controllers import draws, fronts


class Nsga2State(NamedTuple):
    """The population of parents.

    Attributes:
      encodings: i32[N, G].
      scores: f32[N, objectives + constraints]; -inf in places without a reported score.
      ranks: i32[N], 0 on the Pareto front.
      crowding: f32[N], crowding distances.
      count: i32[], number of encodings reported so far.
    """

    encodings: types.Array
    scores: types.Array
    ranks: types.Array
    crowding: types.Array
    count: types.Array


@registry.CONTROLLERS.register
def nsga2(
    sizes: tuple[int, ...],
    *,
    population_size: int = 40,
    num_objectives: int = 2,
    num_constraints: int = 0,
    crossover_rate: float = 0.9,
    mutation_rate: float | None = None,
    initial: types.Array | None = None,
) -> types.Controller:
    """Builds the controller of NSGA-II, for several objectives with constraints.

    A round proposes N children, each by two binary tournaments (lower rank, then larger
    crowding distance), uniform crossover and mutation of each gene. The next parents
    are the first N of parents and children by rank and crowding distance; duplicates
    are dropped. The first columns of the scores are the objectives; the next are
    constraint margins, at least 0 where a constraint holds; further columns are
    ignored. A feasible cell dominates an infeasible one, and of two infeasible cells
    the one with the smaller sum of violations dominates. A row with a NaN is dominated
    by every row without.

    Args:
      sizes: number of values of each of the G genes.
      population_size: number N of parents, even or odd.
      num_objectives: number of score columns that are objectives.
      num_constraints: number of following columns that are constraint margins.
      crossover_rate: probability that a child has two parents.
      mutation_rate: probability that a gene changes to another value; None means 1 / G.
      initial: i32[K, G], encodings proposed first, K at most N; None means none.

    Raises:
      ValueError: a setting is out of range, or no gene has more than one value.

    Source: Deb, Pratap, Agarwal and Meyarivan 2002, doi:10.1109/4235.996017. Differs:
    genes are categorical, hence uniform crossover and a mutation to any other value;
    duplicates do not survive.
    """
    draws.check_sizes(sizes)
    draws.check("population_size", population_size, 2, 2**16)
    draws.check("num_objectives", num_objectives, 1, 1_000)
    draws.check("num_constraints", num_constraints, 0, 1_000)
    change_rate = 1 / len(sizes) if mutation_rate is None else mutation_rate
    draws.check_rate("crossover_rate", crossover_rate)
    draws.check_rate("mutation_rate", change_rate)
    width = num_objectives + num_constraints
    first = draws.first_proposals(sizes, initial, most=population_size)
    limits, genes = jnp.array(sizes, jnp.int32), len(sizes)

    def init(key):
        del key  # the first round is drawn by the first ask
        return Nsga2State(
            jnp.zeros((population_size, genes), jnp.int32),
            jnp.full((population_size, width), -jnp.inf, jnp.float32),
            jnp.zeros(population_size, jnp.int32),
            jnp.zeros(population_size),
            jnp.int32(0),
        )

    def ask(key, state):
        start_key, rival_key, value_key, rate_key = jax.random.split(key, 4)
        rivals = draws.integers(
            rival_key, population_size, [population_size] * 4, [population_size] * 4
        )
        rivals = jnp.stack(rivals, -1).reshape(-1, 2, 2)
        rank, crowding = state.ranks[rivals], state.crowding[rivals]
        second = (rank[..., 1] < rank[..., 0]) | (
            (rank[..., 1] == rank[..., 0]) & (crowding[..., 1] > crowding[..., 0])
        )
        winners = jnp.where(second, rivals[..., 1], rivals[..., 0])
        mother, father = (state.encodings[winners[:, i]] for i in range(2))
        chance = jax.random.uniform(rate_key, (population_size, 1 + 2 * genes))
        mixes, swaps, changes = jnp.split(chance, [1, 1 + genes], 1)
        crosses = (mixes < crossover_rate) & (swaps < 0.5)
        children = jnp.where(crosses, father, mother)
        others = [max(size - 1, 1) for size in sizes]
        steps = draws.integers(value_key, population_size, others, others)
        moved = (children + 1 + jnp.stack(steps, -1)) % limits
        children = jnp.where(changes < change_rate, moved, children)
        start = draws.encodings(start_key, population_size, sizes)
        number = jnp.arange(population_size)
        return jnp.where(state.count == 0, first(number, start), children)

    def tell(state, encodings, scores):
        if scores.shape[1] < width:
            raise ValueError(
                f"scores must have {num_objectives} objectives and {num_constraints} "
                f"constraints, got {scores.shape[1]} columns. Add metrics to the "
                "objective."
            )
        bad = jnp.isnan(scores[:, :width]).any(-1, keepdims=True)
        values = jnp.where(bad, -jnp.inf, scores[:, :width])
        encodings = jnp.concatenate([state.encodings, encodings])
        scores = jnp.concatenate([state.scores, values])
        parents = jnp.arange(len(encodings)) < population_size
        empty = parents & (jnp.arange(len(encodings)) >= state.count)
        out = empty | _repeats(encodings, empty)
        ranks = fronts.ranks(
            scores[:, :num_objectives], scores[:, num_objectives:], out=out
        )
        crowding = fronts.crowding(scores[:, :num_objectives], ranks)
        order = jnp.lexsort((-crowding, empty, ranks))[:population_size]
        return Nsga2State(
            encodings[order],
            scores[order],
            ranks[order],
            crowding[order],
            state.count + len(values),
        )

    return types.Controller(init, ask, tell)


def _repeats(encodings: types.Array, empty: types.Array) -> types.Array:
    """Returns bool[N], true for rows that equal an earlier row."""
    number = jnp.arange(len(encodings))
    equal = (encodings[:, None] == encodings).all(-1)
    return (equal & (number[:, None] > number) & ~empty).any(-1)
