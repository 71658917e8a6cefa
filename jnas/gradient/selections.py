"""Selections: how an architecture is derived from the weights of a gradient search.

Each is ``(space, weights) -> encoding i32[G]`` and may be jitted. The
weights are the eval weights: the method's relaxation without draws, masks applied,
times the edge weights where a method has them.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jnas import registry, spaces, types
from jnas.spaces import genotype as genotype_lib
from jnas.spaces import rows as rows_lib


@registry.SELECTIONS.register
def strongest(space: spaces.Space, weights: types.Weights) -> types.Encoding:
    """Keeps the option of largest weight of each row.

    In cells whose nodes choose their inputs, it keeps the inputs of largest weight.

    Args:
      space: of the weights; where nodes choose inputs, ``none`` is never derived.
      weights: of the space.

    Returns:
      i32[G].

    Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, section 2.4.
    """
    return space.strongest(weights)


@registry.SELECTIONS.register
def above_threshold(
    space: spaces.Space, weights: types.Weights, *, threshold: float = 0.85
) -> types.Encoding:
    """Keeps an edge's operation only if its weight is above a threshold.

    It is meant for weights that do not compete, such as sigmoids. Where rows have the
    option ``none``, its weight is replaced by the threshold.

    Args:
      space: of the weights.
      weights: of the space.
      threshold: smallest weight that is kept.

    Returns:
      i32[G].

    Source: Chu et al. 2020, arXiv:1911.12126, section 3 and its released code. Differs:
    nodes that choose a fixed number of inputs keep that many, whatever their weights,
    as an encoding holds no fewer; ``sparse_genotype`` does.
    """
    replaced = jax.tree.map(
        lambda is_none, own: jnp.where(is_none, threshold, own),
        rows_lib.where(space, spaces.NONE),
        weights,
    )
    return space.strongest(replaced)


def sparse_genotype(
    space: spaces.CellSpace, weights: types.Weights, *, threshold: float = 0.85
) -> genotype_lib.Genotype:
    """Derives cells whose nodes have fewer inputs where weights are small; on the host.

    Of the cells that ``above_threshold`` derives, edges below the threshold are left
    out, nodes that no edge enters, edges from such nodes, and these nodes in the
    concatenation. No encoding of the space stands for the result; networks are derived
    and trained from it as from any genotype.

    Args:
      space: of the weights; one of cells.
      weights: f32[C, E, O].
      threshold: smallest weight that is kept.

    Raises:
      ValueError: a cell without any edge.

    Source: Chu et al. 2020, arXiv:1911.12126, its released code with the option
    ``threshold_sparse``.
    """
    encoding = above_threshold(space, weights, threshold=threshold)
    whole, cells = space.genotype(encoding), []
    for index, (name, cell) in enumerate(whole.cells):
        edges, reached = [], set(range(space.num_inputs))
        for source, target, operation in sorted(cell.edges, key=lambda edge: edge[1]):
            edge = space.edges.index((source, target))
            option = space.candidates_of(index, edge).index(operation)
            if source in reached and weights[index, edge, option] >= threshold:
                edges.append((source, target, operation))
                reached.add(target)
        concat = tuple(node for node in cell.concat if node in reached)
        if not concat:
            raise ValueError(
                f"threshold must be at most a weight of each cell, got {threshold}, "
                f"above all of {name}. Lower it."
            )
        cells.append(
            (name, dataclasses.replace(cell, edges=tuple(edges), concat=concat))
        )
    return dataclasses.replace(whole, cells=tuple(cells))


def limit_skips(
    selection: types.Selection, max_skips: int, *, cell: int = 0
) -> types.Selection:
    """Limits the number of skip connections in a cell.

    While the cell has more, the skip connection with the smallest weight is removed
    and the cell is derived again.

    Args:
      selection: derives the cell.
      max_skips: largest number of skip connections, at least 0.
      cell: index of the cell; DARTS' normal cell is 0.

    Returns:
      The selection.

    Raises:
      ValueError: max_skips below 0.

    Source: Chen et al. 2019, arXiv:1904.12760, section 3.3, which recommends two.
    """
    if max_skips < 0:
        raise ValueError(
            f"max_skips must be at least 0, got {max_skips}. Leave it out for no limit."
        )

    def limited(space, weights):
        is_skip = space.where(spaces.SKIP)[cell]

        def kept(weights):
            rows = space.weights(selection(space, weights))[cell]
            return (rows != 0) & is_skip

        def remove(_, weights):
            skips = kept(weights)
            # an edge without other candidates keeps its removed skip
            left = skips & (weights[cell] > -jnp.inf)
            least = jnp.where(left, weights[cell], jnp.inf).argmin()
            out = jnp.arange(is_skip.size).reshape(is_skip.shape) == least
            out &= left & (skips.sum() > max_skips)
            return weights.at[cell].set(jnp.where(out, -jnp.inf, weights[cell]))

        # once for each edge: all candidates of a space may be skips
        weights = jax.lax.fori_loop(0, len(space.edges), remove, weights)
        return selection(space, weights)

    return limited
