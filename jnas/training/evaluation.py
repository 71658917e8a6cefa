"""Measures a trained network: its figures, its outputs, the classes that it gives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jnas import networks, types
from jnas.data import augment as augment_lib
from jnas.data import batches, tasks
from jnas.data import task as task_lib
from jnas.training import placement


def cross_entropy(outputs: types.Array, labels: types.Array) -> types.Array:
    """Returns the mean cross-entropy, in nats.

    Args:
      outputs: f32[B, num_classes].
      labels: i32[B].
    """
    return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()


def evaluate(
    key: types.Key,
    network: networks.Network,
    params: types.Params,
    stats: types.Params,
    images: Any,
    labels: Any,
    *,
    augment: Any,
    batch_size: int,
    task: task_lib.Task = tasks.CLASSIFICATION,
) -> types.Array:
    """Measures a trained network's signal with its running statistics.

    Args:
      key: PRNG key for operations that draw random numbers; others ignore it.
      network: the network.
      params: its parameters.
      stats: its running statistics.
      images: [N, H, W, F], as the data set holds them; or other inputs.
      labels: i32[N], or other targets.
      augment: gives the normalisation; nothing else of it is applied.
      batch_size: number of images evaluated at a time.
      task: whose signal is measured.

    Returns:
      f32[], the signal of all images, each counted once: of classes the fraction that
      is classified correctly.
    """
    metric = task.metric()
    each = map_outputs(
        lambda outputs, row: metric.each(outputs, batches.rows_of(labels, row)),
        key,
        network,
        params,
        stats,
        images,
        augment=augment,
        batch_size=batch_size,
    )
    return metric.over(each)


def predict(
    key: types.Key,
    network: networks.Network,
    params: types.Params,
    stats: types.Params,
    images: Any,
    *,
    augment: Any,
    batch_size: int,
) -> types.Array:
    """Classifies images by a trained network with its running statistics.

    Args:
      key: PRNG key for operations that draw random numbers; others ignore it.
      network: the network.
      params: its parameters.
      stats: its running statistics.
      images: [N, H, W, F], as the data set holds them.
      augment: gives the normalisation; nothing else of it is applied.
      batch_size: number of images classified at a time.

    Returns:
      i32[N], the class of the largest output.
    """
    return map_outputs(
        lambda outputs, row: outputs.argmax(-1).astype(jnp.int32),
        key,
        network,
        params,
        stats,
        images,
        augment=augment,
        batch_size=batch_size,
    )


def map_outputs(
    function: Callable[[types.Array, types.Array], Any],
    key: types.Key,
    network: networks.Network,
    params: types.Params,
    stats: types.Params,
    images: Any,
    *,
    augment: Any,
    batch_size: int,
) -> Any:
    """Applies a function to a trained network's outputs, batch after batch.

    Args:
      function: (outputs f32[B, num_classes], numbers of the images i32[B]) -> arrays
        with a leading axis B.
      key: as for ``predict``, like the other arguments.
      network: the network.
      params: its parameters.
      stats: its running statistics.
      images: [N, H, W, F], as the data set holds them; or other inputs.
      augment: gives the normalisation; nothing else of it is applied.
      batch_size: number of images computed at a time.

    Returns:
      The function's arrays for all images, with a leading axis N.
    """
    count = batches.count(images)
    batch_size = min(batch_size, count)
    rows = jnp.arange(-(-count // batch_size) * batch_size)
    rows = jnp.minimum(rows, count - 1).reshape(-1, batch_size)

    def batch(row):
        x = augment_lib.normalise(
            placement.split(batches.rows_of(images, row)), augment
        )
        (outputs, _), _ = network.apply(params, stats, x, train=False, key=key)
        return function(outputs, row)

    found = jax.lax.map(batch, rows)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], found)
