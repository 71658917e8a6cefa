"""Selections: how a cell is derived from the weights that a gradient search ends with.

Each is ``(space, weights f32[C, E, O]) -> encoding i32[G]`` and may be jitted. The
weights are those of the method's relaxation without draws, times those of the edges
where a method weighs edges.
"""

import jax
import jax.numpy as jnp

from jnas import registry, spaces, types


@registry.SELECTIONS.register
def strongest(space: spaces.CellSpace, weights: types.Weights) -> types.Encoding:
    """Keeps the inputs of a node that weigh most, on each the operation that does.

    Args:
      space: of the cell; where nodes choose inputs, ``none`` is never derived.
      weights: f32[C, E, O].

    Returns:
      i32[G].

    Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, section 2.4.
    """
    return space.strongest(weights)


@registry.SELECTIONS.register
def above_threshold(
    space: spaces.CellSpace, weights: types.Weights, *, threshold: float = 0.85
) -> types.Encoding:
    """Keeps an edge's operation only if its own weight is above a threshold.

    For weights that do not compete, as sigmoids. Where edges have ``none``, it stands
    for the threshold.

    Args:
      space: of the cell.
      weights: f32[C, E, O].
      threshold: of a weight.

    Returns:
      i32[G].

    Source: Chu et al. 2020, arXiv:1911.12126, section 3 and its released code. Differs:
    nodes that choose a fixed number of inputs keep that many, whatever they weigh; the
    original drops those below the threshold, and nodes without input.
    """
    is_none = space.where(spaces.NONE)
    return space.strongest(jnp.where(is_none, threshold, weights))


def limit_skips(
    selection: types.Selection, max_skips: int, *, cell: int = 0
) -> types.Selection:
    """Allows a cell a number of skip connections at most.

    As long as there are more, the one that weighs least is taken out and the cell is
    derived again.

    Args:
      selection: derives the cell.
      max_skips: at least 0.
      cell: index of the cell; DARTS' normal cell is 0.

    Returns:
      The selection.

    Raises:
      ValueError: max_skips below 0.

    Source: Chen et al. 2019, arXiv:1904.12760, section 3.3; two are what its authors
    recommend.
    """
    if max_skips < 0:
        raise ValueError(
            f"max_skips must be at least 0, got {max_skips}. "
            "Leave it out for any number."
        )

    def limited(space, weights):
        is_skip = space.where(spaces.SKIP)[cell]

        def kept(weights):
            rows = space.weights(selection(space, weights))[cell]
            return (rows != 0) & is_skip

        def remove(_, weights):
            skips = kept(weights)
            # an edge with nothing else keeps the skip that was taken out
            left = skips & (weights[cell] > -jnp.inf)
            least = jnp.where(left, weights[cell], jnp.inf).argmin()
            out = jnp.arange(is_skip.size).reshape(is_skip.shape) == least
            out &= left & (skips.sum() > max_skips)
            return weights.at[cell].set(jnp.where(out, -jnp.inf, weights[cell]))

        # once for each edge: a space may have nothing but skips to offer
        weights = jax.lax.fori_loop(0, len(space.edges), remove, weights)
        return selection(space, weights)

    return limited
