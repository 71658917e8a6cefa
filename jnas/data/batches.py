"""Selects the examples of each batch, as a pure function of key and epoch."""

from typing import Any

import jax
import numpy as np

from jnas import types


def num_batches(num_examples: int, batch_size: int) -> int:
    """Returns the number of full batches in an epoch; a last partial one is dropped.

    Args:
      num_examples: number N of examples in the split.
      batch_size: number B of examples in a batch.

    Raises:
      ValueError: batch_size is below 1 or above num_examples.
    """
    if not 1 <= batch_size <= num_examples:
        raise ValueError(
            f"batch_size must be from 1 to the {num_examples} examples of a split, got "
            f"{batch_size}. Lower it, or enlarge the split."
        )
    return num_examples // batch_size


def order(
    key: types.Key, epoch: types.Array, num_examples: int, batch_size: int
) -> types.Array:
    """Returns the indices of an epoch's batches, in random order.

    Args:
      key: PRNG key of the run; folded with the epoch.
      epoch: i32[], number of the epoch.
      num_examples: number N of examples in the split.
      batch_size: number B of examples in a batch.

    Returns:
      i32[N // B, B], each example at most once. Differs: DARTS also uses an epoch's
      last incomplete batch.
    """
    count = num_batches(num_examples, batch_size)
    shuffled = jax.random.permutation(jax.random.fold_in(key, epoch), num_examples)
    return shuffled[: count * batch_size].reshape(count, batch_size)


def spread(
    num_examples: int, batch_size: int, num_batches: int | None = None
) -> np.ndarray:
    """Returns the indices of fixed batches, each spread evenly over a split.

    Args:
      num_examples: number N of examples in the split.
      batch_size: number B of examples in a batch; with fewer than B examples, all of
        them are one batch.
      num_batches: largest number of batches; None means all full batches.

    Returns:
      i64[batches, B], each example at most once.
    """
    count = max(1, min(num_batches or num_examples, num_examples // batch_size))
    size = min(batch_size, num_examples)
    rows = np.arange(count * size) * num_examples // (count * size)
    return rows.reshape(size, count).T


def take(x: Any, y: Any, indices: types.Array) -> types.Batch:
    """Returns (x[indices], y[indices]), each an array or a tree of arrays."""
    return rows_of(x, indices), rows_of(y, indices)


def rows_of(tree: Any, rows: Any) -> Any:
    """Returns some rows of every array of a tree.

    Args:
      tree: arrays [N, ...].
      rows: of their first axis.
    """
    return jax.tree.map(lambda array: array[rows], tree)


def count(tree: Any) -> int:
    """Returns the number of examples N in a tree of arrays [N, ...].

    Args:
      tree: with at least one array.
    """
    return len(jax.tree.leaves(tree)[0])
