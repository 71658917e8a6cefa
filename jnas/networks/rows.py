"""The gradient of a small supernet with respect to each row of its weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jnas import spaces, types
from jnas.networks import network, skeleton

_IMAGES = 2, 8, 8, 3  # two reductions leave 2x2 pixels: norms of eight values


def row_gradients(space: spaces.CellSpace) -> Callable[[types.Key], types.Array]:
    """Builds the gradient of a random sum of the outputs, of the smallest supernet.

    A row whose gradient is zero is one that no search by gradient can learn: nothing
    depends on it. Parameters are moved from their initial values, some of which are
    zero.

    Args:
      space: the space of cells.

    Returns:
      key -> f32[C, E, O], to be compiled.

    Raises:
      ValueError: the space has no supernet.
    """
    least = skeleton.least_layers(space.num_inputs, space.cells)
    net = network.supernet(space, skeleton.Size(2, least, 2))

    def gradients(key):
        param_key, image_key, move_key, apply_key, weight_key, sum_key = (
            jax.random.split(key, 6)
        )
        params = _moved(move_key, net.init(param_key))
        images = jax.random.normal(image_key, _IMAGES)
        weights = jax.nn.softmax(jax.random.normal(weight_key, space.shape))
        shares = jax.random.normal(sum_key, (_IMAGES[0], 2))

        def value(weights):
            return (net.apply(params, images, weights, key=apply_key) * shares).sum()

        return jax.grad(value)(weights)

    return gradients


def _moved(key: types.Key, params: types.Params) -> types.Params:
    """Adds normal draws of deviation 0.1 to every parameter."""
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(key, max(1, len(leaves)))
    moved = [
        leaf + 0.1 * jax.random.normal(k, jnp.shape(leaf))
        for k, leaf in zip(keys, leaves, strict=False)
    ]
    return jax.tree.unflatten(treedef, moved)
