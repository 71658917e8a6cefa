"""Limits in a gradient search: a penalty whose multipliers rise while a cell is unfit.

Dual ascent. With the expected cost c(a) of the architecture a, the cost d of the
derived cell, a bound b and the span s (dearest minus cheapest cell), each step does

  a <- a - update of d [L_valid(w, a) + sum m (c(a) - b) / s] / d a
  m <- max(0, m + rate (d - b) / s)

so that the multiplier m, in units of the loss for a whole span, rises as long as the
derived cell is too dear, and falls once it fits.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import networks, spaces, types
from jnas.networks import limits as limits_lib

ASCENT = 20.0  # of a multiplier in a whole search whose cell is one span too dear
DERIVED, MULTIPLIER = "derived_", "multiplier_"  # prefixes of a limit's metrics
_HIDDEN = 1e-6  # weight of removed candidates beside those that are left


class _Arch(NamedTuple):
    """What the weights are computed from."""

    logits: types.Params
    mask: types.Mask | None


def metrics(limits: Sequence[networks.Limit]) -> tuple[str, ...]:
    """Returns the names of the metrics of limits: cost of the cell, then multiplier."""
    return tuple(
        prefix + one.name for one in limits for prefix in (DERIVED, MULTIPLIER)
    )


def penalty(
    limits: Sequence[networks.Limit], weights_of: Callable[[Any], types.Weights]
) -> Callable:
    """Builds the penalty (arch, mask, multipliers f32[L]) -> f32[].

    It follows the weights that a cell is derived from, without draws, masks and edge
    weights applied.

    Args:
      limits: L of them.
      weights_of: state -> weights.
    """

    def of(arch, mask, multipliers):
        weights = weights_of(_Arch(arch, mask))
        expected = [one.expected(weights) for one in limits]
        return (multipliers * jnp.stack(expected)).sum()

    return of


def ascend(
    limits: Sequence[networks.Limit],
    multipliers: types.Array,
    weights: types.Weights,
    rate: types.Array,
) -> tuple[types.Array, dict[str, types.Array]]:
    """Moves the multipliers by the violations of a cell.

    Args:
      limits: L of them.
      multipliers: f32[L], at least 0.
      weights: one-hot, of the derived cell.
      rate: f32[], of this step.

    Returns:
      (multipliers, metrics).
    """
    violations = jnp.stack([one.violation(weights) for one in limits])
    moved = jnp.maximum(0.0, multipliers + rate * violations)
    values = [
        value
        for one, multiplier in zip(limits, moved, strict=True)
        for value in (one.costs.of(weights), multiplier)
    ]
    return moved, dict(zip(metrics(limits), values, strict=True))


def fitted(
    limits: Sequence[networks.Limit],
    space: spaces.Space,
    encoding: np.ndarray,
    weights: types.Weights,
    unmasked: types.Weights,
    *,
    max_skips: int | None = None,
) -> tuple[np.ndarray, bool]:
    """Returns a derived cell, or the best one by the weights that keeps all limits.

    Args:
      limits: that the cell must keep.
      space: of the cell.
      encoding: i32[G], the derived cell.
      weights: that it is derived from, as NumPy arrays.
      unmasked: likewise, removed candidates included; they are chosen only where the
        others leave no cell that fits.
      max_skips: largest number of skip connections in the first kind of cell; None for
        no limit.

    Returns:
      (encoding, whether it is another cell than the derived one).

    Raises:
      ValueError: no cell keeps all limits.
    """
    if limits_lib.fits(space, encoding, limits):
        return encoding, False
    scores = jax.tree.map(
        lambda own, hidden: np.asarray(own, np.float64) + _HIDDEN * np.asarray(hidden),
        weights,
        unmasked,
    )
    found = limits_lib.best_within(space, scores, limits, max_skips=max_skips)
    if found is None:
        raise ValueError(limits_lib.unmet(limits, max_skips))
    return found, True
