"""Removes options that weigh little, every few epochs."""

import jax
import jax.numpy as jnp

from jnas import registry, spaces
from jnas.gradient.hooks import hook as hook_lib
from jnas.spaces import rows as rows_lib


@registry.HOOKS.register
def prune(
    search: hook_lib.Search, *, every: int = 5, threshold: float = 0.4
) -> hook_lib.Hook:
    """Builds the hook that removes the options of small weight.

    Of a row of K options that are left, those below threshold / K of the row's sum are
    removed; the largest always stays. Where nodes choose their inputs, ``none`` is
    neither counted nor removed. The weights are those of the eval relaxation at the
    progress of the search, such as a temperature's. The metric ``options_left`` is the
    number that is left.

    Args:
      search: that is pruned.
      every: epochs between two calls.
      threshold: share of an equal weight below which an option is removed.

    Source: Noy et al. 2020, arXiv:1904.04123, section 3. Differs: its threshold may
    change over the search; the default is that of a third party's code, UniNAS.
    """
    space = search.space
    # where nodes choose their inputs, ``none`` is no option of a derived cell
    chooses = getattr(space, "num_kept", None) is not None
    spared = jax.tree.map(
        lambda is_none: is_none & chooses, rows_lib.where(space, spaces.NONE)
    )

    def narrowed(weights, mask, spared):
        own, left = jnp.where(spared, 0, weights), mask & ~spared
        total = own.sum(-1, keepdims=True)
        shares = own / jnp.where(total > 0, total, 1)
        kept = shares >= threshold / jnp.maximum(left.sum(-1, keepdims=True), 1)
        best = jnp.arange(own.shape[-1]) == own.argmax(-1)[..., None]
        return mask & (kept | best | spared)

    def call(key, clock, state, carry, split):
        del key, split  # the weights decide
        weights = search.weights_at(clock, state)
        mask = jax.tree.map(narrowed, weights, state.mask, spared)
        left = rows_lib.flat(space, mask).sum()
        return state._replace(mask=mask), carry, {"options_left": left}, False

    return hook_lib.Hook(
        every, lambda state: (), call, metrics=("options_left",), removes=True
    )
