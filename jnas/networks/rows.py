"""The gradient of a small supernet with respect to each row of its weights."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jnas import spaces, types
from jnas.networks import network, skeleton

_IMAGES = 2, 8, 8, 3  # two reductions leave 2x2 pixels: norms of eight values


def row_gradients(space: spaces.CellSpace) -> Callable[[types.Key], types.Array]:
    """Builds the gradient of a random sum of the outputs, of the smallest supernet.

    A row whose gradient is zero is one that no search by gradient can learn: nothing
    depends on it. Parameters are drawn, for some initial values are zero.

    Args:
      space: the space of cells.

    Returns:
      key -> f32[C, E, O], to be compiled.

    Raises:
      ValueError: the space has no supernet.
    """
    least = skeleton.least_layers(space.num_inputs, space.cells)
    size = skeleton.Size(2, least, 2, image_size=_IMAGES[1:3])
    net = network.supernet(space, size)

    def gradients(key):
        param_key, image_key, apply_key, weight_key, sum_key = jax.random.split(key, 5)
        params = _drawn(param_key, net.init)
        images = jax.random.normal(image_key, _IMAGES)
        weights = jax.nn.softmax(jax.random.normal(weight_key, space.shape))
        shares = jax.random.normal(sum_key, (_IMAGES[0], 2))

        def value(weights):
            return (net.apply(params, images, weights, key=apply_key) * shares).sum()

        return jax.grad(value)(weights)

    return gradients


def _drawn(key: types.Key, init: Callable) -> types.Params:
    """Draws every parameter from N(0, 1/4), all in one draw: little to compile."""
    leaves, treedef = jax.tree.flatten(jax.eval_shape(init, key))
    ends = np.cumsum([math.prod(leaf.shape) for leaf in leaves])
    parts = jnp.split(0.5 * jax.random.normal(key, (ends[-1],)), ends[:-1])
    drawn = [x.reshape(leaf.shape) for x, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(treedef, drawn)
