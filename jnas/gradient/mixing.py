"""Turns a search's outer variables into the weights that mix the candidates.

The outer variables of a gradient search are the logits f32[C, E, O], or ArchParams
where a method also has edge weights. The mask removes a candidate by setting its logit
to -inf before the relaxation; an edge whose candidates are all removed has weight 0.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import spaces, types


def split(arch: types.Params) -> tuple[types.Logits, types.Array | None]:
    """Splits outer variables into operation logits f32[C, E, O] and edge logits.

    Args:
      arch: outer variables of a search.

    Returns:
      (operation logits, edge logits f32[C, E] or None).
    """
    if isinstance(arch, types.ArchParams):
        return arch.operations, arch.edges
    return arch, None


def masked(logits: types.Logits, mask: types.Array | None) -> types.Logits:
    """Sets the logits of removed candidates to -inf.

    Args:
      logits: f32[C, E, O].
      mask: bool[C, E, O], False for removed candidates; None keeps all.

    Returns:
      f32[C, E, O], -inf where a candidate is removed. An edge whose candidates are all
      removed keeps its logits, so that the relaxation stays finite.
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
    """Relaxes logits into weights that are exactly 0 for removed candidates.

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
    """Computes a softmax over the edges that enter each node.

    Args:
      space: the space of cells, whose ``edges`` name the node that each edge enters.
      edges: f32[C, E] logits.

    Returns:
      f32[C, E]; the weights of the edges into one node sum to 1.

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
    """Computes the weights that a cell is derived from.

    They are relaxation(logits) at progress 1, times the mask, times the edge weights.

    Args:
      space: the space of cells.
      relaxation: a relaxation that draws nothing at random.
      arch: outer variables.
      mask: bool[C, E, O]; None keeps all.

    Returns:
      f32[C, E, O].
    """
    logits, edges = split(arch)
    weights = relax(relaxation, jax.random.key(0), logits, mask, jnp.float32(1))
    if edges is not None:
        weights = weights * edge_weights(space, edges)[..., None]
    return weights


def build_weights_of(
    space: spaces.CellSpace, relaxation: types.Relaxation
) -> Callable[[Any], types.Weights]:
    """Builds ``eval_weights`` as a function of a search's state.

    Args:
      space: the space of cells.
      relaxation: a relaxation that draws nothing at random.

    Returns:
      state -> f32[C, E, O], for any state with ``logits`` and ``mask``.
    """

    def weights(state):
        return eval_weights(space, relaxation, state.logits, state.mask)

    return weights
