"""The state of a gradient search, and what it starts from."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnas import networks, spaces, types
from jnas.gradient.hooks import hook as hook_lib
from jnas.gradient.search_pieces import Pieces
from jnas.spaces import rows as rows_lib


class GradientState(NamedTuple):
    """What a gradient search carries.

    Attributes:
      params: parameters of the supernet.
      logits: of the space, or ArchParams where edges have weights.
      params_opt: optimizer state of params.
      logits_opt: optimizer state of logits.
      mask: bool arrays like the logits, False for removed options; None keeps all.
      hooks: what is kept of each hook.
      multipliers: f32[L] of the limits; None without limits.
      regularizers: what the weight regularizers carry; None without any.
    """

    params: types.Params
    logits: types.Params
    params_opt: Any
    logits_opt: Any
    mask: types.Mask | None
    hooks: tuple[hook_lib.HookState, ...] = ()
    multipliers: types.Array | None = None
    regularizers: Any = None


def build_init(
    supernet: networks.Supernet,
    pieces: Pieces,
    optimizer: types.Bilevel,
    masks: bool,
    hooks: Sequence[hook_lib.Hook],
    adjusting: types.WeightRegularizer | None,
) -> Callable[[types.Key], GradientState]:
    """Builds the function that draws a search's state before its first step.

    Args:
      supernet: network over the space that is searched.
      pieces: the functions of the method.
      optimizer: of both levels.
      masks: whether candidates can be removed.
      hooks: that the search calls.
      adjusting: the weight regularizers as one rule; None without any.

    Returns:
      key -> GradientState.
    """

    def init(key):
        params_key, logits_key = jax.random.split(key)
        arch = first_arch(logits_key, supernet.space, pieces)
        inner = optimizer.init(supernet.init(params_key), arch)
        mask = rows_lib.full(supernet.space, True, bool) if masks else None
        if pieces.mask is not None:
            mask = jax.tree.map(jnp.asarray, pieces.mask)
        multipliers = jnp.zeros(len(pieces.limits)) if pieces.limits else None
        kept = None
        if adjusting is not None:
            kept = adjusting.init(inner.params, inner.logits)
        state = GradientState(*inner, mask, (), multipliers, kept)
        return state._replace(hooks=hook_lib.begin(hooks, state))

    return init


def first_arch(key: types.Key, space: spaces.Space, pieces: Pieces) -> types.Params:
    """Draws the architecture that a search starts from.

    Args:
      key: consumed.
      space: that is searched; one of cells where the method has edge weights.
      pieces: the functions of the method.

    Returns:
      Logits logits_mean + logits_scale * N(0, 1) of the space, or ArchParams of such
      logits, whose edges have mean 0.
    """
    if not pieces.edge_weights:
        drawn = _drawn(key, rows_lib.shapes(space), pieces.logits_scale)
        return _raised(drawn, pieces.logits_mean)
    logits_key, edges_key = jax.random.split(key)
    drawn = pieces.logits_scale * jax.random.normal(logits_key, space.shape)
    return types.ArchParams(
        _raised(drawn, pieces.logits_mean),
        pieces.logits_scale * jax.random.normal(edges_key, space.shape[:2]),
    )


def _raised(logits, mean) -> types.Logits:
    """Adds a mean to logits; of 0 their bits stay."""
    return jax.tree.map(lambda leaf: leaf + mean, logits) if mean else logits


def _drawn(key, shapes, scale) -> types.Logits:
    """Draws logits scale * N(0, 1); a single leaf by the key as it is."""
    leaves, treedef = jax.tree.flatten(shapes)
    keys = [key] if len(leaves) == 1 else jax.random.split(key, len(leaves))
    drawn = [
        scale * jax.random.normal(own, leaf.shape)
        for own, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, drawn)
