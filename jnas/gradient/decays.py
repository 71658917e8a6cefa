"""Regularizers that keep the logits small, or their weights near uniform.

Their arguments are those of ``regularizers``.
"""

import jax
import jax.numpy as jnp

from jnas import registry, spaces, types
from jnas.gradient import relaxations
from jnas.spaces import rows as rows_lib


@registry.REGULARIZERS.register
def beta_decay(
    logits: types.Logits,
    weights: types.Weights,
    progress: types.Array,
    space: spaces.Space,
    *,
    strength: float = 50.0,
):
    """Adds strength * progress * mean of logsumexp(row), in each group of rows.

    A group is a cell, and the groups are added; the rows of a chain, of however many
    options, are one group. The gradient of a row in a group of R rows is strength *
    progress / R * softmax(row), so that large weights fall the fastest.

    Args:
      logits: of the space; -inf marks the removed options.
      weights: not used; the penalty is on the logits.
      progress: f32[], 0 to 1.
      space: names the group of each row.
      strength: factor at progress 1, of a linear rise from 0.

    Returns:
      f32[].

    Source: Ye et al. 2022, arXiv:2203.01665, and its released code, which has the mean
    of the one cell of NAS-Bench-201. Differs: cells are added, which that code leaves
    open.
    """
    del weights
    table = rows_lib.flat(space, logits, fill=-jnp.inf)
    names = [row.group for row in rows_lib.rows(space)]
    share = jnp.array([1 / names.count(name) for name in names], table.dtype)
    return strength * progress * (share * jax.nn.logsumexp(table, -1)).sum()


@registry.REGULARIZERS.register
def entropic(
    logits: types.Logits,
    weights: types.Weights,
    progress: types.Array,
    space: spaces.Space | None = None,
    *,
    strength: float = 0.01,
):
    """Keeps theta = softmax(logits) near uniform: strength sum theta log(theta O).

    The sum is over all options of all rows, O the number of options that a row has
    left. The gradient is that in theta, strength (log(theta O) + 1), given to the
    logits as it is, without the row's mean: it is meant for
    ``optimizers.exponentiated``.

    Args:
      logits: of the space; -inf marks the removed options.
      weights: not used; they may be a sample.
      progress: not used.
      space: not used.
      strength: factor of the penalty.

    Returns:
      f32[], at least 0; 0 where every row is uniform.

    Source: the released code of Li, Khodak, Balcan and Talwalkar 2021,
    arXiv:2004.07802.
    """
    del weights, space

    def of_leaf(logits):
        theta = relaxations.simplex(None, logits, progress)
        count = (~jnp.isneginf(logits)).sum(-1, keepdims=True)
        positive = jnp.where(theta > 0, theta, 1)
        return jnp.where(theta > 0, theta * jnp.log(positive * count), 0).sum()

    first, *others = map(of_leaf, jax.tree.leaves(logits))
    return strength * sum(others, first)


entropic.on_simplex = True  # its gradient is that of weights
