"""Drop path and dropout: paths of single examples, or single values, are zeroed."""

import jax
import jax.numpy as jnp

from jnas import types


def drop_path(key: types.Key, x: types.Array, rate: types.Array) -> types.Array:
    """Zeroes each example's path with a probability and scales up the others.

    out[b] = x[b] * kept[b] / (1 - rate), kept[b] ~ Bernoulli(1 - rate).

    Args:
      key: consumed.
      x: f32[B, H, W, F].
      rate: f32[], probability of dropping, in [0, 1).

    Returns:
      f32[B, H, W, F].

    Source: Larsson et al. 2017, arXiv:1605.07648, as DARTS' evaluation applies it: to
    pools, convolutions and FactorizedReduce, never to an identity.
    """
    keep = 1 - rate
    kept = jax.random.bernoulli(key, keep, (x.shape[0], 1, 1, 1))
    return jnp.where(kept, x / keep, 0)


def dropout(key: types.Key, x: types.Array, rate: types.Array) -> types.Array:
    """Zeroes each value with a probability and scales up the others.

    Args:
      key: consumed.
      x: f32[...].
      rate: f32[], probability of dropping, in [0, 1).

    Returns:
      f32[...].

    Source: Srivastava et al. 2014, JMLR 15.
    """
    keep = 1 - rate
    return jnp.where(jax.random.bernoulli(key, keep, x.shape), x / keep, 0)
