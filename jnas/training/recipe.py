"""A training recipe: its optimiser, its schedule, and numbers that may be traced.

The numbers that differ between trials of a tuning are ``Numbers``: Python floats in a
training of its own, f32[] where many trainings run in one program. Everything here is
built from them inside the step.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jnas import pieces, registry, types
from jnas.data import batches, tasks
from jnas.training import schedules

Number = float | types.Array
OPTIMIZER_NUMBERS = ("weight_decay", "momentum", "nesterov", "clip_norm")


class Numbers(NamedTuple):
    """The numbers of a recipe; each a Python float, or f32[] that may be traced.

    Attributes:
      learning_rate: at the start of the schedule.
      weight_decay: of the optimiser; None means its own.
      momentum: of the optimiser; None means its own.
      clip_norm: largest global norm of the gradient, 0 disables clipping; None means
        the optimiser's own.
      drop_path_rate: probability that a path is dropped, at the end of training.
      label_smoothing: share of the target that is spread over all classes.
      mixup: alpha of mixup's Beta(alpha, alpha); 0 disables it.
      ema_decay: decay of the moving average of weights and statistics; 0 disables it.
      cutout: side of the square in pixels, rounded; None means the augmentation's own.
    """

    learning_rate: Number = 0.025
    weight_decay: Number | None = None
    momentum: Number | None = None
    clip_norm: Number | None = None
    drop_path_rate: Number = 0.2
    label_smoothing: Number = 0.0
    mixup: Number = 0.0
    ema_decay: Number = 0.0
    cutout: Number | None = None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a training does beside its numbers.

    Attributes:
      optimizer: a name in ``registry.OPTIMIZERS``, or such a function.
      nesterov: of the optimiser; None means its own.
      schedule: one of ``schedules.SHAPES``.
      schedule_by: "epoch" or "step".
      warmup_epochs: epochs of linear warm-up.
    """

    optimizer: pieces.Piece = "momentum_sgd"
    nesterov: bool | None = None
    schedule: str = "cosine"
    schedule_by: str = "epoch"
    warmup_epochs: int = 0


def is_off(number: Number | None) -> bool:
    """Returns whether a number is 0 for certain: a traced one is never off."""
    return not isinstance(number, jax.Array) and not number


def rate(
    recipe: Recipe, numbers: Numbers, *, num_epochs: int, steps_per_epoch: int
) -> optax.Schedule:
    """Builds the learning rate of each step.

    Args:
      recipe: its schedule.
      numbers: its start.
      num_epochs: length of the schedule.
      steps_per_epoch: optimiser steps in one epoch.
    """
    return schedules.schedule(
        recipe.schedule,
        start=numbers.learning_rate,
        num_epochs=num_epochs,
        steps_per_epoch=steps_per_epoch,
        unit=recipe.schedule_by,
        warmup_epochs=recipe.warmup_epochs,
    )


def optimizer(
    recipe: Recipe, numbers: Numbers, learning_rate: optax.ScalarOrSchedule
) -> optax.GradientTransformation:
    """Builds the optimiser of a recipe.

    Args:
      recipe: its optimiser.
      numbers: that replace the optimiser's own.
      learning_rate: a number or a schedule of the step.

    Raises:
      KeyError: an optimiser that is not registered; the nearest is guessed.
      ValueError: a number that the optimiser does not have, or that is given twice.
    """
    build = pieces.resolve(registry.OPTIMIZERS, recipe.optimizer)
    given = {
        name: value
        for name, value in {**numbers._asdict(), "nesterov": recipe.nesterov}.items()
        if name in OPTIMIZER_NUMBERS and value is not None
    }
    own = pieces.options(build)
    _check(recipe.optimizer, build, own, given)
    clip = given.pop("clip_norm", None)
    if clip is not None and is_off(clip):
        return build(learning_rate, **given, **_no_clip(own))
    if clip is not None and "clip_norm" in own:
        return build(learning_rate, clip_norm=clip, **given)
    made = build(learning_rate, **given)
    if clip is not None:
        made = optax.chain(optax.clip_by_global_norm(clip), made)
    return made


def _no_clip(own: dict[str, Any]) -> dict[str, None]:
    return {"clip_norm": None} if "clip_norm" in own else {}


def _check(piece: pieces.Piece, build: Callable, own: dict, given: dict) -> None:
    """Refuses numbers that the optimiser would not read."""
    name = pieces.name_of(registry.OPTIMIZERS, piece)
    bound = build.keywords if isinstance(build, functools.partial) else {}
    for option, value in given.items():
        if option in bound:
            raise ValueError(
                f"{option} must be given once, got {value} and {bound[option]} in the "
                f"options of {name}. Leave one out."
            )
        if option not in own and option != "clip_norm":
            raise ValueError(
                f"{option} must be left out for optimizer {name}, which has no such "
                f"option, got {value}. Its options, set by "
                f"--options=optimizer.<option>=<value>: {', '.join(own) or 'none'}."
            )


def smoothed(
    outputs: types.Array, labels: types.Array, smoothing: Number
) -> types.Array:
    """Returns the cross-entropy with smoothed labels, mean over the batch, in nats.

    The target is (1 - s) one-hot + s / K: -(1 - s) log p_y - s / K sum_k log p_k.

    Args:
      outputs: f32[B, K].
      labels: i32[B].
      smoothing: s.

    Source: Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    return tasks.CLASSIFICATION.smoothing(outputs, labels, smoothing).mean()


class Mixed(NamedTuple):
    """A batch, perhaps after mixup.

    Attributes:
      images: f32[B, H, W, C], or other inputs.
      labels: i32[B], or other targets.
      others: those of the images that were mixed in; None without mixup.
      share: f32[], of the first images; None without mixup.
    """

    images: Any
    labels: Any
    others: Any = None
    share: types.Array | None = None

    def mean(self, measure: Callable[[types.Array], types.Array]) -> types.Array:
        """Returns share measure(labels) + (1 - share) measure(others)."""
        if self.others is None:
            return measure(self.labels)
        mixed_in = (1 - self.share) * measure(self.others)
        return self.share * measure(self.labels) + mixed_in


def mixup(key: types.Key, images: Any, labels: Any, alpha: Number) -> Mixed:
    """Mixes each image of a batch with another one of it.

    x = share x_i + (1 - share) x_j, share ~ Beta(alpha, alpha) once per batch, j a
    permutation of the batch. A traced alpha of 0 mixes nothing.

    Args:
      key: consumed.
      images: f32[B, H, W, C], augmented and normalised, or other inputs.
      labels: i32[B], or other targets.
      alpha: at least 0.

    Raises:
      ValueError: inputs that are integers.

    Source: Zhang et al. 2018, arXiv:1710.09412, section 2 and its released code.
    """
    share_key, order_key = jax.random.split(key)
    safe = jnp.maximum(alpha, 1e-3)  # Beta(0, 0) is NaN
    share = jnp.where(alpha > 0, jax.random.beta(share_key, safe, safe), 1.0)
    order = jax.random.permutation(order_key, batches.count(labels))
    if not all(jnp.issubdtype(x.dtype, jnp.floating) for x in jax.tree.leaves(images)):
        raise ValueError(
            "mixup must be 0 for inputs that are integers, which have no mean. Leave "
            "it out."
        )
    mixed = jax.tree.map(lambda x: share * x + (1 - share) * x[order], images)
    return Mixed(mixed, labels, batches.rows_of(labels, order), share)


def average(old: Any, new: Any, decay: Number, count: types.Array) -> Any:
    """Returns the moving average after one more value, without bias to the first.

    After t values: sum_i d^(t - i) x_i / sum_i d^(t - i), the exponential moving
    average divided by 1 - d^t.

    Args:
      old: pytree, the average of the values before; of no weight at the first.
      new: pytree, the value.
      decay: d, at least 0 and below 1.
      count: i32[], t: 1 at the first value.

    Source: Kingma and Ba 2015, arXiv:1412.6980, section 3 (the bias correction).
    """
    # (1 - d) / (1 - d^t), without their cancellation where d is near 1
    log = jnp.log(jnp.float32(decay))
    rate = jnp.expm1(log) / jnp.expm1(count * log)
    return jax.tree.map(lambda a, x: a + rate.astype(x.dtype) * (x - a), old, new)
