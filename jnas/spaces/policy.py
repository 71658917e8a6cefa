"""From the logits of a gradient search to those of a policy over genes."""

import jax
import jax.numpy as jnp
import numpy as np

from jnas import types
from jnas.spaces import cell as cells


def gene_logits(space: cells.CellSpace, logits: types.Logits) -> types.Array:
    """Turns logits over edges and operations into log-probabilities of genes.

    Where every edge is kept a gene is its edge's operation: log_softmax of its row.
    Where a node keeps k inputs, the gene of the inputs has the strength of each subset,
    the product of its edges' largest weights (``none`` weakens an edge and is no value,
    as in ``discretize``), normalised; the gene of the i-th operation mixes the rows of
    the edges that can stand there, each with the probability of the subsets that put it
    there. The most probable value of an inputs' gene is the one that ``discretize``
    takes.

    Args:
      space: of the logits.
      logits: f32[C, E, O].

    Returns:
      f32[G, V], V the most values of a gene; -inf where a gene has fewer.
    """
    tables, (c, e, o) = space.lookups, space.shape
    rows = jax.nn.log_softmax(jnp.asarray(logits).reshape(c * e, o), -1)
    values = jnp.take_along_axis(rows, jnp.asarray(tables.values), axis=1)
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
