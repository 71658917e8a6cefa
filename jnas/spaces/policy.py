"""Converts the logits of a gradient search to the logits of a policy over genes."""

import jax
import jax.numpy as jnp
import numpy as np

from jnas import types
from jnas.spaces import rows as rows_lib


def gene_logits(space: rows_lib.Space, logits: types.Logits) -> types.Array:
    """Converts logits over edges and operations to log-probabilities of genes.

    Where every edge is kept, a gene selects the operation of its edge: log_softmax of
    the edge's row. Where a node keeps k inputs, the probability of a subset of inputs
    is proportional to the product of its edges' largest weights (``none`` lowers the
    weights of its edge and is no value, as in ``discretize``). The gene of the i-th
    operation mixes the rows of the edges that can be i-th, each with the probability of
    the subsets in which it is. The most probable subset is the one that ``discretize``
    selects.

    Args:
      space: the space of the logits.
      logits: of the space.

    Returns:
      f32[G, V], V the largest number of values of a gene; -inf where a gene has fewer.
    """
    tables = rows_lib.tables(space)
    flat = rows_lib.flat(space, jax.tree.map(jnp.asarray, logits), -jnp.inf)
    rows = jax.nn.log_softmax(flat, -1)
    values = jnp.take_along_axis(rows, jnp.asarray(tables.values), axis=1)
    if (tables.values < 0).any():  # rows of fewer options than others
        values = jnp.where(tables.values >= 0, values, -jnp.inf)
    policy = jax.nn.log_softmax(values, -1)
    real = tables.subsets[:, :, 0] >= 0  # [T, subsets]
    strength = values.max(-1)[tables.subsets].sum(-1)
    subsets = jax.nn.log_softmax(jnp.where(real, strength, -jnp.inf), -1)
    mixed = jax.nn.logsumexp(
        subsets[:, :, None, None] + policy[tables.subsets], axis=1
    )  # [T, k, V]
    genes, widest = len(space.sizes), max(space.sizes)
    found = jnp.full((genes + 1, widest), -jnp.inf)
    found = found.at[tables.inputs, : subsets.shape[1]].set(subsets[:, :widest])
    found = found.at[tables.operations, : mixed.shape[-1]].set(mixed)
    exists = np.arange(widest) < np.array(space.sizes)[:, None]
    return jnp.where(exists, found[:-1], -jnp.inf)
