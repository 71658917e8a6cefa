"""Random search, the baseline of every comparison."""

import jax.numpy as jnp

from jnas import registry, types
from jnas.discrete.controllers import draws


@registry.CONTROLLERS.register
def random_search(
    sizes: tuple[int, ...],
    *,
    num_proposals: int = 1,
    initial: types.Array | None = None,
) -> types.Controller:
    """Builds the controller that proposes uniformly drawn encodings.

    Args:
      sizes: number of values of each of the G genes.
      num_proposals: number P of proposals per round.
      initial: i32[K, G], encodings proposed first; None means none.

    Returns:
      The controller; its state is the number of encodings reported so far, i32[].

    Source: Li and Talwalkar 2019, arXiv:1902.07638.
    """
    draws.check("num_proposals", num_proposals, 1, 1_000_000)
    draws.check("genes", len(sizes), 1, 2**16)
    for size in sizes:
        draws.check("sizes", size, 1, 2**16)
    first = draws.first_proposals(sizes, initial, most=1_000_000)

    def init(key):
        del key  # the count starts at zero
        return jnp.int32(0)

    def ask(key, state):
        drawn = draws.encodings(key, num_proposals, sizes)
        return first(state + jnp.arange(num_proposals), drawn)

    def tell(state, encodings, scores):
        del scores  # random search does not use them
        return state + len(encodings)

    return types.Controller(init, ask, tell)
