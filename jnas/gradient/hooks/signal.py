"""A supernet's signal, such as its accuracy, on the same validation examples."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import networks, types
from jnas.data import augment as augment_lib
from jnas.data import batches
from jnas.data import task as task_lib
from jnas.training import placement


def fixed_batches(
    split: types.Batch,
    augment: Any,
    batch_size: int,
    num_batches: int | None = None,
) -> types.Batch:
    """Picks normalised batches, spread evenly over a split and not augmented.

    Args:
      split: (images, labels), N of each, or other inputs and targets.
      augment: what inputs are normalised with, as for ``augment.normalise``.
      batch_size: B.
      num_batches: K at most; None for N // B.

    Returns:
      (images f32[K, B, H, W, F], labels i32[K, B]).
    """
    rows = batches.spread(batches.count(split[1]), batch_size, num_batches)
    inputs, targets = placement.split(batches.take(*split, rows), axis=1)
    if callable(augment):  # which reads one batch
        return jax.lax.map(lambda one: augment(None, one), inputs), targets
    return augment_lib.normalise(inputs, augment), targets


def random_batch(
    key: types.Key, split: types.Batch, augment: Any, batch_size: int
) -> types.Batch:
    """Draws an augmented batch, as a step of the search gets it.

    Args:
      key: consumed.
      split: (images, labels), N of each, or other inputs and targets.
      augment: what inputs are augmented with, as for ``augment.augment``.
      batch_size: B; of fewer examples all are taken.

    Returns:
      (images f32[B, H, W, F], labels i32[B]).
    """
    rows_key, images_key = jax.random.split(key)
    count = batches.count(split[1])
    rows = jax.random.permutation(rows_key, count)[: min(batch_size, count)]
    inputs, targets = placement.split(batches.take(*split, rows))
    return augment_lib.augment(images_key, inputs, augment), targets


def fixed_rows(
    num_examples: int, batch_size: int, num_batches: int | None = None
) -> np.ndarray:
    """Returns the rows that ``fixed_batches`` picks.

    Of a split of these rows alone, in this order, it picks the same batches.

    Args:
      num_examples: number N of images of the split.
      batch_size: B.
      num_batches: as for ``fixed_batches``.

    Returns:
      i64[K * B], increasing.
    """
    return batches.spread(num_examples, batch_size, num_batches).T.reshape(-1)


def drawn_batches(
    key: types.Key,
    split: types.Batch,
    augment: Any,
    batch_size: int,
    num_batches: int,
) -> types.Batch:
    """Draws batches at random from a split and augments them.

    Args:
      key: consumed.
      split: (images, labels), N of each, or other inputs and targets.
      augment: as for ``augment.augment``.
      batch_size: B.
      num_batches: K at most, as many as fit into the split; one of all images where
        there are fewer than B.

    Returns:
      (images f32[K, B, H, W, F], labels i32[K, B]); no image twice.
    """
    draw_key, augment_key = jax.random.split(key)
    total = batches.count(split[1])
    shape = batches.spread(total, batch_size, num_batches).shape
    rows = jax.random.permutation(draw_key, total)[: shape[0] * shape[1]]
    inputs, targets = placement.split(batches.take(*split, rows.reshape(shape)), axis=1)
    keys = jax.random.split(augment_key, shape[0])
    augmented = jax.lax.map(
        lambda one: augment_lib.augment(*one, augment), (keys, inputs)
    )
    return augmented, targets


def signal(
    key: types.Key,
    task: task_lib.Task,
    apply: Callable,
    split: types.Batch,
    weights: types.Weights,
    inputs: networks.VariantInputs,
) -> types.Array:
    """Computes the signal of all batches together, one batch at a time.

    Args:
      key: of operations that draw at random; the same for each batch.
      task: of which it is the signal.
      apply: (images, weights, *, key, variant_inputs) -> outputs.
      split: as ``fixed_batches`` returns it.
      weights: f32[C, E, O].
      inputs: what the edge variant needs.

    Returns:
      f32[].
    """

    metric = task.metric()

    def one(batch):
        outputs = apply(batch[0], weights, key=key, variant_inputs=inputs)
        return metric.each(outputs, batch[1])

    each = jax.tree.map(jnp.concatenate, jax.lax.map(one, split))
    return metric.over(each)


def without_dropout(inputs: networks.VariantInputs) -> networks.VariantInputs:
    """Sets dropout and drop path to 0, where an edge variant has them.

    Args:
      inputs: what the edge variant needs.
    """
    dropped = inputs.skip_dropout
    return inputs._replace(
        skip_dropout=None if dropped is None else jnp.float32(0), drop_path=None
    )


def without_auxiliary_skip(inputs: networks.VariantInputs) -> networks.VariantInputs:
    """Sets the factor of the auxiliary skip to 0, as in a derived cell.

    Args:
      inputs: what the edge variant needs.
    """
    if inputs.auxiliary_skip is None:
        return inputs
    return inputs._replace(auxiliary_skip=jnp.float32(0))
