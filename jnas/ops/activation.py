"""ReLU, plain or with a record of which units it lets through.

The record serves a score of untrained networks (``objectives.naswot``): for each pair
of images in the batch, the number of units that treat both alike. A network records
where its norm says so; otherwise the activation is a plain function.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from jnas import types


class Agreement(nnx.Variable):
    """f32[B, B]: how many units are on for both images, or off for both."""


def relu(x: types.Array) -> types.Array:
    """Returns max(x, 0)."""
    return jax.nn.relu(x)


class RecordingRelu(nnx.Module):
    """ReLU that keeps the agreement of a batch's images as a statistic."""

    def __init__(self, batch_size: int):
        """Makes it for batches of batch_size images."""
        self.agreement = Agreement(jnp.zeros((batch_size, batch_size)))

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f[B, ...] to max(x, 0)."""
        on = (x > 0).reshape(len(x), -1).astype(jnp.float32)
        units = jnp.float32(on.shape[1])
        count = on.sum(1)
        # on and on, plus off and off
        both = on @ on.T
        self.agreement[...] = units - count[:, None] - count + 2 * both
        return relu(x)


def activation(norm: object):
    """Returns the ReLU of a network with that norm.

    Args:
      norm: the network's; its ``recorded`` images, if it has any, are compared.
    """
    batch_size = getattr(norm, "recorded", 0)
    return RecordingRelu(batch_size) if batch_size else relu
