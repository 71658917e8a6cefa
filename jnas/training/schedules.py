"""Learning-rate schedules: cosine, linear or constant, by epoch or by step, warm-up.

Every number may be a traced f32[], so that runs side by side have their own.
"""

import jax.numpy as jnp
import optax

from jnas import types

# name -> (epochs so far, of the run) -> the share of start - end that is left
SHAPES = {
    "cosine": lambda time, whole: 0.5 * (1 + jnp.cos(jnp.pi * time / whole)),
    "linear": lambda time, whole: 1 - time / whole,
    "constant": lambda time, whole: jnp.float32(1),
}
UNITS = ("epoch", "step")


def schedule(
    shape: str = "cosine",
    *,
    start: float | types.Array,
    end: float | types.Array = 0.0,
    num_epochs: int,
    steps_per_epoch: int,
    unit: str = "epoch",
    warmup_epochs: int = 0,
) -> optax.Schedule:
    """Builds a learning-rate schedule.

    With t = step // steps_per_epoch ("epoch") or step / steps_per_epoch ("step"):

        cosine    end + (start - end) (1 + cos(pi t / num_epochs)) / 2
        linear    end + (start - end) (1 - t / num_epochs)
        constant  start

    During the first W = warmup_epochs epochs it is start (t + 1) / W by epoch, and
    start (t + 1 / steps_per_epoch) / W by step, instead.

    Args:
      shape: one of SHAPES.
      start: learning rate at the start, or the one that the warm-up rises to.
      end: learning rate after num_epochs epochs.
      num_epochs: number of epochs of the whole run.
      steps_per_epoch: number of optimiser steps in one epoch.
      unit: "epoch" changes it once an epoch, "step" at each step.
      warmup_epochs: W; 0 disables the warm-up.

    Returns:
      step i32[] -> learning rate f32[].

    Raises:
      ValueError: a warm-up that is not shorter than the run.

    Source: cosine: arXiv:1806.09055, its released code; linear and warm-up:
    arXiv:1907.05737, its code for ImageNet. Differs: linear falls to ``end`` in one
    line, without that code's slower last five epochs.
    """
    if not 0 <= warmup_epochs < num_epochs:
        raise ValueError(
            f"warmup_epochs must be from 0 to {num_epochs - 1}, below the number of "
            f"epochs, got {warmup_epochs}. Lower it or raise epochs."
        )
    left = SHAPES[shape]

    def rate(step):
        by_epoch = unit == "epoch"
        time = step // steps_per_epoch if by_epoch else step / steps_per_epoch
        time = jnp.minimum(time, num_epochs)
        found = end + (start - end) * left(time, num_epochs)
        if warmup_epochs:
            first = 1 if by_epoch else 1 / steps_per_epoch
            rising = start * (time + first) / warmup_epochs
            found = jnp.where(time < warmup_epochs, rising, found)
        return found

    return rate
