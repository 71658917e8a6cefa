"""Whether the right class is among a network's k largest outputs."""

import jax.numpy as jnp

from jnas import types


def top_k(outputs: types.Array, labels: types.Array, k: int = 5) -> types.Array:
    """Returns whether the right class is among the k largest outputs of each image.

    Equal outputs count in the order of their classes, as in ``argmax``: top 1 is
    accuracy. An output that is NaN is below all others.

    Args:
      outputs: f32[B, num_classes].
      labels: i32[B].
      k: number of classes that an image may be given.

    Returns:
      f32[B], 1 or 0; its mean is the top-k accuracy.

    Raises:
      ValueError: k outside 1 to num_classes.

    Example:
      >>> top_k(jnp.array([[0.1, 0.7, 0.2]]), jnp.array([2]), k=2).tolist()
      [1.0]
    """
    num_classes = outputs.shape[-1]
    if not 1 <= k <= num_classes:
        raise ValueError(
            f"k must be from 1 to the number of classes, {num_classes}, got {k}. "
            "Choose another."
        )
    known = jnp.where(jnp.isnan(outputs), -jnp.inf, outputs)
    own = jnp.take_along_axis(known, labels[:, None], -1)
    number = jnp.arange(num_classes)
    before = (known > own) | ((known == own) & (number < labels[:, None]))
    return (before.sum(-1) < k).astype(jnp.float32)
