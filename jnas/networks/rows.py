"""The gradient of a small supernet with respect to each row of its weights."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import spaces, types
from jnas.networks import network, skeleton
from jnas.spaces import rows as rows_lib

BATCH = 2
SHAPE = 8, 8, 3  # two reductions leave 2x2 pixels: norms of eight values


def smallest(space: spaces.Space, image_shape: Any = SHAPE) -> skeleton.Size:
    """Returns the size of the smallest network that holds every row of a space.

    Args:
      space: any space.
      image_shape: of one image; or of another input, or a dict of shapes.
    """
    least, features = 1, getattr(space, "stem_features", 2)
    if rows_lib.has_edges(space):
        least = skeleton.least_layers(space.num_inputs, space.cells)
    if isinstance(image_shape, dict):
        return skeleton.Size(features, least, 2, 1)
    pixels = tuple(image_shape[:2]) if len(image_shape) == 3 else None
    return skeleton.Size(features, least, 2, image_shape[-1], image_size=pixels)


def row_gradients(
    space: spaces.Space, image_shape: Any = SHAPE
) -> Callable[[types.Key], types.Weights]:
    """Builds the gradient of a random sum of the outputs, of the smallest supernet.

    A row whose gradient is zero is one that no search by gradient can learn: nothing
    depends on it. Parameters are drawn, for some initial values are zero.

    Args:
      space: any space.
      image_shape: as for ``smallest``.

    Returns:
      key -> gradients like the weights, to be compiled.

    Raises:
      ValueError: the space has no supernet.
    """
    net = network.supernet(space, smallest(space, image_shape))

    def gradients(key):
        param_key, image_key, apply_key, weight_key, sum_key = jax.random.split(key, 5)
        params = _drawn(param_key, net.init)
        x = images(image_key, image_shape)
        weights = random_weights(weight_key, space)
        shares = jax.random.normal(sum_key, (BATCH, 2))

        def value(weights):
            return (net.apply(params, x, weights, key=apply_key) * shares).sum()

        return jax.grad(value)(weights)

    return gradients


def images(key: types.Key, image_shape: Any = SHAPE) -> Any:
    """Draws the images f32[2, 8, 8, 3] that small supernets are checked on.

    Args:
      key: consumed.
      image_shape: as for ``smallest``.
    """
    if isinstance(image_shape, dict):
        return {name: images(key, shape) for name, shape in image_shape.items()}
    if isinstance(image_shape, types.Whole):
        return jnp.zeros((BATCH, *image_shape), jnp.int32)
    return jax.random.normal(key, (BATCH, *image_shape))


def random_weights(key: types.Key, space: spaces.Space) -> types.Weights:
    """Draws softmax(N(0, 1)) for each row; a single leaf by the key as it is.

    Args:
      key: consumed.
      space: any space.
    """
    leaves, treedef = jax.tree.flatten(rows_lib.shapes(space))
    keys = [key] if len(leaves) == 1 else jax.random.split(key, len(leaves))
    drawn = [
        jax.nn.softmax(jax.random.normal(own, leaf.shape))
        for own, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, drawn)


def _drawn(key: types.Key, init: Callable) -> types.Params:
    """Draws every parameter from N(0, 1/4), all in one draw: little to compile."""
    leaves, treedef = jax.tree.flatten(jax.eval_shape(init, key))
    ends = np.cumsum([math.prod(leaf.shape) for leaf in leaves])
    parts = jnp.split(0.5 * jax.random.normal(key, (ends[-1],)), ends[:-1])
    drawn = [x.reshape(leaf.shape) for x, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(treedef, drawn)
