"""Random search: the method that every other one must beat."""

import jax
import jax.numpy as jnp

from jnas import registry, types


@registry.CONTROLLERS.register
def random_search(sizes: tuple[int, ...], *, num_proposals: int = 1):
    """Builds the controller that proposes uniformly drawn encodings.

    Args:
      sizes: number of values of each gene, G of them.
      num_proposals: P, proposals of one round.

    Returns:
      The controller; its state is the number of encodings told so far, i32[].

    Source: Li and Talwalkar 2019, arXiv:1902.07638.
    """
    limits = jnp.array(sizes)

    def init(key):
        del key  # the count starts at zero
        return jnp.int32(0)

    def ask(key, state):
        del state  # every round is alike
        return jax.random.randint(key, (num_proposals, len(sizes)), 0, limits)

    def tell(state, encodings, scores):
        del scores  # nothing is learnt
        return state + len(encodings)

    return types.Controller(init, ask, tell)
