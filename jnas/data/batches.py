"""Which examples a batch holds, as a pure function of key and epoch."""

import jax
import numpy as np

from jnas import types


def num_batches(num_examples: int, batch_size: int) -> int:
    """Returns the whole batches in an epoch; the last incomplete one is left out.

    Args:
      num_examples: N.
      batch_size: B.

    Raises:
      ValueError: fewer examples than one batch, or batch_size below 1.
    """
    if not 1 <= batch_size <= num_examples:
        raise ValueError(
            f"batch_size must be from 1 to the {num_examples} examples of a part, got "
            f"{batch_size}. Choose another."
        )
    return num_examples // batch_size


def order(
    key: types.Key, epoch: types.Array, num_examples: int, batch_size: int
) -> types.Array:
    """Shuffles an epoch.

    Args:
      key: of the run; folded with the epoch.
      epoch: i32[].
      num_examples: N.
      batch_size: B.

    Returns:
      i32[N // B, B], each example at most once. Differs: DARTS also takes an epoch's
      last incomplete batch.
    """
    count = num_batches(num_examples, batch_size)
    shuffled = jax.random.permutation(jax.random.fold_in(key, epoch), num_examples)
    return shuffled[: count * batch_size].reshape(count, batch_size)


def spread(
    num_examples: int, batch_size: int, num_batches: int | None = None
) -> np.ndarray:
    """Picks batches that are always the same, each from all over a part.

    Args:
      num_examples: N.
      batch_size: B; all examples make one batch where there are fewer.
      num_batches: as far as there are examples; None for all whole batches.

    Returns:
      i64[batches, B], each example at most once.
    """
    count = max(1, min(num_batches or num_examples, num_examples // batch_size))
    size = min(batch_size, num_examples)
    rows = np.arange(count * size) * num_examples // (count * size)
    return rows.reshape(size, count).T


def take(x: types.Array, y: types.Array, indices: types.Array) -> types.Batch:
    """Returns (x[indices], y[indices])."""
    return x[indices], y[indices]
