"""Removes options that weigh little, every few epochs."""

import jax
import jax.numpy as jnp

from jnas import registry
from jnas.gradient.hooks import hook as hook_lib
from jnas.spaces import rows as rows_lib


@registry.HOOKS.register
def prune(
    search: hook_lib.Search, *, every: int = 5, threshold: float = 0.4
) -> hook_lib.Hook:
    """Builds the hook that removes the options of small weight.

    Of a row of K options that are left, those below threshold / K of the row's sum are
    removed; the largest always stays. The metric ``options_left`` is their number.

    Args:
      search: that is pruned.
      every: epochs between two calls.
      threshold: share of an equal weight below which an option is removed.

    Source: Noy et al. 2020, arXiv:1904.04123, section 3. Differs: its threshold and
    temperature change over the search.
    """
    space = search.space

    def narrowed(weights, mask):
        total = weights.sum(-1, keepdims=True)
        shares = weights / jnp.where(total > 0, total, 1)
        kept = shares >= threshold / jnp.maximum(mask.sum(-1, keepdims=True), 1)
        best = jnp.arange(weights.shape[-1]) == weights.argmax(-1)[..., None]
        return mask & (kept | best)

    def call(key, clock, state, carry, split):
        del key, clock, split  # the weights decide
        mask = jax.tree.map(narrowed, search.weights_of(state), state.mask)
        left = rows_lib.flat(space, mask).sum()
        return state._replace(mask=mask), carry, {"options_left": left}, False

    return hook_lib.Hook(
        every, lambda state: (), call, metrics=("options_left",), removes=True
    )
