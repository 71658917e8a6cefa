"""What a policy is rewarded with: scores, margins of constraints, and their average."""

import jax.numpy as jnp

from jnas import types

Average = tuple[types.Array, types.Array]  # numerator f32[], denominator f32[]
Extent = tuple[types.Array, types.Array]  # lowest f32[], highest f32[] score


def nothing_seen() -> Extent:
    """Returns the extent of the feasible scores before there is any."""
    return jnp.float32(jnp.inf), jnp.float32(-jnp.inf)


def penalised(
    values: types.Array, margins: types.Array, seen: Extent
) -> tuple[types.Array, Extent]:
    """Returns rewards of scores under constraints.

    The reward of an infeasible cell is low - (high - low) v / (1 + v), where low and
    high are the scores of the worst and the best feasible cell so far (0 and 1 before
    two of different scores), and v is the sum of violations: below every feasible cell,
    lower for a larger violation, and of the scores' own magnitude.

    Args:
      values: f32[P], the scores.
      margins: f32[P, K], at least 0 where a constraint holds; NaN is a violation of 1.
      seen: of the feasible cells before these.

    Returns:
      (rewards f32[P], the extent with these).
    """
    unfit = jnp.maximum(jnp.where(jnp.isnan(margins), 1, -margins), 0).sum(-1)
    counts = (unfit == 0) & jnp.isfinite(values)
    lowest = jnp.minimum(seen[0], jnp.where(counts, values, jnp.inf).min())
    highest = jnp.maximum(seen[1], jnp.where(counts, values, -jnp.inf).max())
    low = jnp.where(lowest <= highest, lowest, 0.0)
    spread = jnp.where(lowest < highest, highest - lowest, 1.0)
    # v / (1 + v), which is 1 and not NaN for an infinite violation
    worse = low - spread * (1 - 1 / (1 + unfit))
    return jnp.where(unfit == 0, values, worse), (lowest, highest)


def averaged(average: Average, value: types.Array, decay: types.Array) -> Average:
    """Moves an average of rewards; ``mean`` reads it.

    Args:
      average: 0 and 0 before any reward.
      value: f32[], which gets the weight 1 - decay.
      decay: f32[]; 1 leaves the average as it is.
    """
    numerator, denominator = average
    return decay * numerator + (1 - decay) * value, decay * denominator + (1 - decay)


def mean(average: Average) -> types.Array:
    """Returns f32[], the average, unbiased from the first reward; 0 before any."""
    return average[0] / jnp.maximum(average[1], 1e-12)
