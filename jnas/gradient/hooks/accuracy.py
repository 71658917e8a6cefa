"""The accuracy of a supernet on the same validation images each time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jnas import networks, types
from jnas.data import augment as augment_lib
from jnas.data import batches
from jnas.training import placement


def fixed_batches(
    split: types.Batch,
    augment: augment_lib.Augment,
    batch_size: int,
    num_batches: int | None = None,
) -> types.Batch:
    """Picks normalised batches, spread evenly over a split and not augmented.

    Args:
      split: (images, labels), N of each.
      augment: mean and standard deviation that images are normalised with.
      batch_size: B.
      num_batches: K at most; None for N // B.

    Returns:
      (images f32[K, B, H, W, F], labels i32[K, B]).
    """
    images, labels = split
    rows = batches.spread(len(labels), batch_size, num_batches)
    picked = placement.split((images[rows], labels[rows]), axis=1)
    return augment_lib.normalise(picked[0], augment), picked[1]


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


def accuracy(
    key: types.Key,
    apply: Callable,
    split: types.Batch,
    weights: types.Weights,
    inputs: networks.VariantInputs,
) -> types.Array:
    """Computes the mean accuracy over batches, one batch at a time.

    Args:
      key: of operations that draw at random; the same for each batch.
      apply: (images, weights, *, key, variant_inputs) -> outputs.
      split: as ``fixed_batches`` returns it.
      weights: f32[C, E, O].
      inputs: what the edge variant needs.

    Returns:
      f32[].
    """

    def one(batch):
        outputs = apply(batch[0], weights, key=key, variant_inputs=inputs)
        return (outputs.argmax(-1) == batch[1]).mean()

    return jax.lax.map(one, split).mean()


def without_dropout(inputs: networks.VariantInputs) -> networks.VariantInputs:
    """Sets the dropout of skip connections to 0, where an edge variant has it.

    Args:
      inputs: what the edge variant needs.
    """
    if inputs.skip_dropout is None:
        return inputs
    return inputs._replace(skip_dropout=jnp.float32(0))


def without_auxiliary_skip(inputs: networks.VariantInputs) -> networks.VariantInputs:
    """Sets the factor of the auxiliary skip to 0, as in a derived cell.

    Args:
      inputs: what the edge variant needs.
    """
    if inputs.auxiliary_skip is None:
        return inputs
    return inputs._replace(auxiliary_skip=jnp.float32(0))
