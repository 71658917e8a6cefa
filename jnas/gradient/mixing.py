"""Turns a search's outer variables into the weights that mix the options.

The outer variables of a gradient search are the logits, a pytree like the weights, or
ArchParams where a method also has edge weights. The mask, likewise, removes an option
by setting its logit to -inf before the relaxation; a row whose options are all removed
has weight 0. Relaxations are mapped over the leaves.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jnas import pieces, spaces, types


def split(arch: types.Params) -> tuple[types.Logits, types.Array | None]:
    """Splits outer variables into the logits of options and those of edges.

    Args:
      arch: outer variables of a search.

    Returns:
      (logits, edge logits f32[C, E] or None).
    """
    if isinstance(arch, types.ArchParams):
        return arch.operations, arch.edges
    return arch, None


def masked(logits: types.Logits, mask: types.Mask | None) -> types.Logits:
    """Sets the logits of removed options to -inf.

    Args:
      logits: of a space.
      mask: bool arrays like the logits, False for removed options; None keeps all.

    Returns:
      Arrays like the logits, -inf where an option is removed. A row whose options are
      all removed keeps its logits, so that the relaxation stays finite.
    """
    if mask is None:
        return logits

    def of_leaf(logits, mask):
        return jnp.where(mask | ~mask.any(-1, keepdims=True), logits, -jnp.inf)

    return jax.tree.map(of_leaf, logits, mask)


def in_space(relaxation: types.Relaxation, space: spaces.Space) -> types.Relaxation:
    """Gives a relaxation the space, if it draws whole architectures.

    Args:
      relaxation: perhaps partial; one with the attribute ``whole`` takes a space.
      space: that is searched.
    """
    bare = relaxation.func if isinstance(relaxation, functools.partial) else relaxation
    if not getattr(bare, "whole", False):
        return relaxation
    made = functools.partial(relaxation, space=space)
    made.whole = True
    return made


def relax(
    relaxation: types.Relaxation,
    key: types.Key,
    logits: types.Logits,
    mask: types.Mask | None,
    progress: types.Array,
) -> types.Weights:
    """Relaxes logits into weights that are exactly 0 for removed options.

    Args:
      relaxation: logits f32[..., O] to weights; mapped over the leaves, unless it is
        one of ``in_space``.
      key: consumed; a single leaf gets it as it is.
      logits: of a space.
      mask: like the logits; None keeps all.
      progress: f32[].
    """
    if getattr(relaxation, "whole", False):
        if mask is not None:  # rows without options too: no edge of them is drawn
            logits = jax.tree.map(
                lambda own, kept: jnp.where(kept, own, -jnp.inf), logits, mask
            )
        weights = relaxation(key, logits, progress)
        return weights if mask is None else jax.tree.map(jnp.multiply, weights, mask)
    leaves, treedef = jax.tree.flatten(masked(logits, mask))
    keys = [key] if len(leaves) == 1 else jax.random.split(key, len(leaves))
    relaxed = [
        relaxation(own, leaf, progress) for own, leaf in zip(keys, leaves, strict=True)
    ]
    weights = jax.tree.unflatten(treedef, relaxed)
    return weights if mask is None else jax.tree.map(jnp.multiply, weights, mask)


def edge_weights(space: spaces.CellSpace, edges: types.Array) -> types.Array:
    """Computes a softmax over the edges that enter each node.

    Args:
      space: the space of cells, whose ``edges`` name the node that each edge enters.
      edges: f32[C, E] logits.

    Returns:
      f32[C, E]; the weights of the edges into one node sum to 1.

    Source: Xu et al. 2020, arXiv:1907.05737, equation 3.
    """
    rivals = jnp.where(_rivals(space), edges[:, None, :], -jnp.inf)
    return jnp.exp(edges - jax.nn.logsumexp(rivals, -1))


def simplex_edge_weights(space: spaces.CellSpace, edges: types.Array) -> types.Array:
    """Computes ``edge_weights`` whose gradient reaches the logits as it is.

    d loss / d edges := d loss / d weights, minus its mean over the edges into a node,
    which moves no weight: what ``relaxations.simplex`` does with a row, node by node.

    Args:
      space: the space of cells.
      edges: f32[C, E] logits.

    Returns:
      f32[C, E], as ``edge_weights``.

    Source: the released code of Li, Khodak, Balcan and Talwalkar 2021,
    arXiv:2004.07802 (eedarts).
    """
    rivals = _rivals(space)
    centred = edges - edges @ (rivals / rivals.sum(0)).astype(edges.dtype)
    weights = jax.lax.stop_gradient(edge_weights(space, edges))
    return weights + (centred - jax.lax.stop_gradient(centred))


def edge_weights_beside(relaxation: types.Relaxation) -> Callable:
    """Returns the rule for edge weights whose gradient is of a relaxation's kind.

    Args:
      relaxation: of the options; one on the simplex passes on the gradient of weights.

    Returns:
      ``simplex_edge_weights`` or ``edge_weights``.
    """
    on_simplex = pieces.marked(relaxation, "on_simplex")
    return simplex_edge_weights if on_simplex else edge_weights


def _rivals(space) -> np.ndarray:
    """Returns bool[E, E]: which edges enter the same node."""
    targets = np.array([target for _, target in space.edges])
    return targets[:, None] == targets


def eval_weights(
    space: spaces.Space,
    relaxation: types.Relaxation,
    arch: types.Params,
    mask: types.Mask | None = None,
    progress: types.Array | float = 1.0,
) -> types.Weights:
    """Computes the weights that an architecture is derived from.

    They are relaxation(logits), times the mask, times the edge weights.

    Args:
      space: that is searched; one of cells where the method has edge weights.
      relaxation: a relaxation that draws nothing at random.
      arch: outer variables.
      mask: bool arrays like the logits; None keeps all.
      progress: f32[], that a schedule of the relaxation follows; 1 is its end.

    Returns:
      The weights of the space.
    """
    logits, edges = split(arch)
    now = jnp.float32(progress)
    weights = relax(relaxation, jax.random.key(0), logits, mask, now)
    if edges is not None:
        rule = edge_weights_beside(relaxation)
        weights = weights * rule(space, edges)[..., None]
    return weights


def build_weights_of(
    space: spaces.Space, relaxation: types.Relaxation
) -> Callable[..., types.Weights]:
    """Builds ``eval_weights`` as a function of a search's state.

    Args:
      space: that is searched.
      relaxation: a relaxation that draws nothing at random.

    Returns:
      (state, progress=1) -> weights, for any state with ``logits`` and ``mask``.
    """

    def weights(state, progress=1.0):
        return eval_weights(space, relaxation, state.logits, state.mask, progress)

    return weights
