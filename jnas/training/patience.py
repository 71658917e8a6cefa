"""Early stopping: the best epoch on a validation split, and its weights."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import types

LEAST = np.finfo(np.float32).min  # R2 has no bound below


class Validation(NamedTuple):
    """What a training knows of its validation split.

    Attributes:
      score: f32[], after the last epoch.
      best: f32[], the largest so far; the least float32 before the first epoch.
      best_epoch: i32[], number of its epoch, from 1; the first of equals.
      epoch: i32[], number of epochs that were evaluated; with early stopping, until the
        patience was over.
      kept: (params, stats) of the best epoch; None without early stopping.
    """

    score: types.Array
    best: types.Array
    best_epoch: types.Array
    epoch: types.Array
    kept: Any = None


def start(weights: Any, *, patience: int | None) -> Validation:
    """Returns what is known before the first epoch.

    Args:
      weights: (params, stats) of the network.
      patience: epochs without a better score after which a training ends; None
        disables early stopping.
    """
    kept = None if patience is None else jax.tree.map(jnp.copy, weights)
    return Validation(
        jnp.float32(0), jnp.float32(LEAST), jnp.int32(0), jnp.int32(0), kept
    )


def noted(
    old: Validation,
    epoch: types.Array,
    score: types.Array,
    weights: Any,
    *,
    patience: int | None,
) -> Validation:
    """Adds an epoch's score; keeps its weights if it is the best so far.

    After its patience is over, only ``score`` changes: a training that ended stays
    as it is while others of the same program run on.

    Args:
      old: what was known before.
      epoch: i32[], number of the epoch, from 1.
      score: f32[], of its end.
      weights: (params, stats) of its end.
      patience: as in ``start``.
    """
    better = score > old.best
    if patience is not None:
        over = is_over(old, patience)
        better &= ~over
        epoch = jnp.where(over, old.epoch, epoch)

    def pick(new, kept):
        return jax.tree.map(lambda a, b: jnp.where(better, a, b), new, kept)

    return Validation(
        score,
        pick(score, old.best),
        pick(epoch, old.best_epoch),
        epoch,
        None if patience is None else pick(weights, old.kept),
    )


def is_over(validation: Validation, patience: int) -> types.Array:
    """Returns bool[], whether so many epochs have passed since the best one.

    Args:
      validation: of the training.
      patience: number of epochs.
    """
    return validation.epoch - validation.best_epoch >= patience
