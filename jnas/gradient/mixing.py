"""From what gradients move to what mixes the candidates.

The outer variables of a gradient search are the logits f32[C, E, O], or ArchParams
where a method also weighs edges. A candidate that a mask takes out has the logit -inf
on its way to the relaxation; an edge all of whose candidates are out weighs nothing.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jnas import spaces, types


def split(arch: types.Params) -> tuple[types.Logits, types.Array | None]:
    """Returns the logits f32[C, E, O], and those of the edges f32[C, E] or None.

    Args:
      arch: outer variables of a search.
    """
    if isinstance(arch, types.ArchParams):
        return arch.operations, arch.edges
    return arch, None


def masked(logits: types.Logits, mask: types.Array | None) -> types.Logits:
    """Takes candidates out.

    Args:
      logits: f32[C, E, O].
      mask: bool[C, E, O], False for those that are out; None keeps all.

    Returns:
      f32[C, E, O], -inf where a candidate is out, unless its whole edge is.
    """
    if mask is None:
        return logits
    return jnp.where(mask | ~mask.any(-1, keepdims=True), logits, -jnp.inf)


def relax(
    relaxation: types.Relaxation,
    key: types.Key,
    logits: types.Logits,
    mask: types.Array | None,
    progress: types.Array,
) -> types.Weights:
    """Turns logits into weights, zero where a candidate is out.

    Args:
      relaxation: logits to weights.
      key: consumed.
      logits: f32[C, E, O].
      mask: bool[C, E, O]; None keeps all.
      progress: f32[].
    """
    weights = relaxation(key, masked(logits, mask), progress)
    return weights if mask is None else weights * mask


def edge_weights(space: spaces.CellSpace, edges: types.Array) -> types.Array:
    """Weighs by softmax the edges that enter each node.

    Args:
      space: says which edges do.
      edges: f32[C, E] logits.

    Returns:
      f32[C, E]; those of a node sum to 1.

    Source: Xu et al. 2020, arXiv:1907.05737, equation 3.
    """
    targets = np.array([target for _, target in space.edges])
    rivals = jnp.where(targets[:, None] == targets, edges[:, None, :], -jnp.inf)
    return jnp.exp(edges - jax.nn.logsumexp(rivals, -1))


def eval_weights(
    space: spaces.CellSpace,
    relaxation: types.Relaxation,
    arch: types.Params,
    mask: types.Array | None = None,
) -> types.Weights:
    """Returns the weights that a cell is derived from, and that collapse is seen in.

    Args:
      space: the space of cells.
      relaxation: one that draws nothing.
      arch: outer variables.
      mask: bool[C, E, O]; None keeps all.

    Returns:
      f32[C, E, O], times the weights of edges where a method has them.
    """
    logits, edges = split(arch)
    weights = relax(relaxation, jax.random.key(0), logits, mask, jnp.float32(1))
    if edges is not None:
        weights = weights * edge_weights(space, edges)[..., None]
    return weights
