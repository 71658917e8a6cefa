"""The optimisers of the papers, as Optax chains with torch's order of operations.

torch clips gradients before it adds weight decay, and multiplies the whole velocity by
the learning rate. Its Adam adds the L2 term to the gradient, before the moments; AdamW
does not. Those of ``registry.OPTIMIZERS`` train a network from scratch; every number
of theirs may be a traced f32[].
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jnas import registry, types
from jnas.training import schedules


def cosine_by_epoch(
    *, start: float, end: float, num_epochs: int, steps_per_epoch: int
) -> optax.Schedule:
    """Builds a cosine learning-rate schedule that changes once an epoch.

    rate(e) = end + (start - end) (1 + cos(pi e / num_epochs)) / 2,
    e = step // steps_per_epoch.

    Args:
      start: learning rate in the first epoch.
      end: learning rate after num_epochs epochs; the last epoch is slightly above it.
      num_epochs: number of epochs of the whole run.
      steps_per_epoch: number of optimiser steps in one epoch.

    Returns:
      step i32[] -> learning rate f32[].

    Source: arXiv:1806.09055, the schedule of its released code.
    """

    return schedules.schedule(
        start=start, end=end, num_epochs=num_epochs, steps_per_epoch=steps_per_epoch
    )


@registry.OPTIMIZERS.register
def momentum_sgd(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.9,
    weight_decay: float = 3e-4,
    clip_norm: float | None = 5.0,
    nesterov: bool = False,
    decay: Callable[[float], optax.GradientTransformation] = optax.add_decayed_weights,
) -> optax.GradientTransformation:
    """Builds the optimiser of the network's parameters: SGD with momentum.

    g = clip(grad) + weight_decay w; m = momentum m + g; w = w - learning_rate m.

    Args:
      learning_rate: a number or a schedule of the step.
      momentum: decay of the velocity m.
      weight_decay: factor of the L2 term, on every parameter.
      clip_norm: largest global norm of the gradient; None disables clipping.
      nesterov: whether to use Nesterov momentum.
      decay: weight_decay -> the transformation that adds it; ``carried_decay`` makes
        one whose rate can change during the run.

    Source: arXiv:1806.09055, section 3.1 and its released code.
    """
    clip = [] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]
    return optax.chain(
        *clip,
        decay(weight_decay),
        optax.trace(momentum, nesterov=nesterov),
        optax.scale_by_learning_rate(learning_rate),
    )


class CarriedDecay(NamedTuple):
    """State of ``carried_decay``.

    Attributes:
      decay_rate: f32[], the current weight decay.
    """

    decay_rate: types.Array


def carried_decay(rate: float) -> optax.GradientTransformation:
    """Adds weight decay whose rate is part of the state, so that it can be changed.

    Args:
      rate: initial weight decay; ``optax.tree.set(state, decay_rate=...)`` changes it.
    """

    def init(params):
        del params
        return CarriedDecay(jnp.asarray(rate, jnp.float32))

    def update(updates, state, params):
        moved = jax.tree.map(lambda g, w: g + state.decay_rate * w, updates, params)
        return moved, state

    return optax.GradientTransformation(init, update)


def adam_l2(
    learning_rate: optax.ScalarOrSchedule = 3e-4,
    *,
    b1: float = 0.5,
    b2: float = 0.999,
    weight_decay: float = 1e-3,
) -> optax.GradientTransformation:
    """Builds the optimiser of the logits: Adam with L2 inside its moments.

    Args:
      learning_rate: a number or a schedule of the step.
      b1: decay of the first moment.
      b2: decay of the second moment.
      weight_decay: factor of the L2 term, added to the gradient before the moments
        (not AdamW).

    Source: arXiv:1806.09055, section 3.1 and its released code.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_adam(b1, b2),
        optax.scale_by_learning_rate(learning_rate),
    )


@registry.LOGITS_OPTIMIZERS.register
def sgd(learning_rate: optax.ScalarOrSchedule = 1.0) -> optax.GradientTransformation:
    """Builds plain gradient descent on the logits: a <- a - learning_rate g.

    At rate 1 it adds a hypergradient that is a step, as that of ``zarts``.

    Args:
      learning_rate: a number or a schedule of the step.
    """
    return optax.scale_by_learning_rate(learning_rate)


@registry.LOGITS_OPTIMIZERS.register
def exponentiated(
    learning_rate: optax.ScalarOrSchedule = 0.1, *, floor: float = 1e-5
) -> optax.GradientTransformation:
    """Builds exponentiated gradient descent on the softmax of each row of logits.

    theta = softmax(logits); theta <- max(theta exp(-learning_rate g), floor), divided
    by its sum, where g is the loss's gradient with respect to theta, up to a constant a
    row, as ``relaxations.simplex`` passes it on. Theta before the floor is divided by
    its sum too; a floor of 0 disables it.

    Logits of edges, in ``types.ArchParams``, have rows that are the edges into a node.
    They have no floor, so that no row is needed: edges <- edges - learning_rate g.

    Args:
      learning_rate: a number or a schedule of the step.
      floor: least weight before the last division.

    Source: Li, Khodak, Balcan and Talwalkar 2021, arXiv:2004.07802, section 3 and its
    released code. Differs: there the floor is applied before any division.
    """

    def init(params):
        del params
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(updates, state, params):
        rate = learning_rate
        if callable(learning_rate):
            rate = learning_rate(state.count)

        def of_leaf(gradient, logits):
            weights = jax.nn.softmax(logits - rate * gradient, -1)
            weights = jnp.maximum(weights, floor)
            return jnp.log(weights / weights.sum(-1, keepdims=True)) - logits

        if isinstance(params, types.ArchParams):
            moved = types.ArchParams(
                jax.tree.map(of_leaf, updates.operations, params.operations),
                -rate * updates.edges,
            )
        else:
            moved = jax.tree.map(of_leaf, updates, params)
        return moved, optax.ScaleByScheduleState(state.count + 1)

    return optax.GradientTransformation(init, update)


exponentiated.on_simplex = True  # it needs the gradient of weights


@registry.OPTIMIZERS.register
def adam(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Builds Adam, with the L2 term inside its moments as torch has it.

    Args:
      learning_rate: a number or a schedule of the step.
      b1: decay of the first moment.
      b2: decay of the second moment.
      weight_decay: factor of the L2 term, added to the gradient before the moments.

    Source: Kingma and Ba 2015, arXiv:1412.6980, algorithm 1.
    """
    return adam_l2(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay)


@registry.OPTIMIZERS.register
def adamw(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    weight_decay: float = 1e-2,
) -> optax.GradientTransformation:
    """Builds AdamW: Adam whose weight decay bypasses the moments.

    w = w - learning_rate (m / (sqrt(v) + 1e-8) + weight_decay w), m and v unbiased.

    Args:
      learning_rate: a number or a schedule of the step.
      b1: decay of the first moment.
      b2: decay of the second moment.
      weight_decay: share of a parameter that is subtracted at a learning rate of 1.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2. Differs: decay is
    multiplied by the learning rate and 0.01 by default, as in torch.
    """
    return optax.chain(
        optax.scale_by_adam(b1, b2),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


@registry.OPTIMIZERS.register
def lion(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Builds Lion: the sign of an interpolated momentum.

    w = w - learning_rate (sign(b1 m + (1 - b1) g) + weight_decay w);
    m = b2 m + (1 - b2) g.

    Args:
      learning_rate: a number or a schedule of the step; the paper advises a third to a
        tenth of AdamW's.
      b1: share of the momentum in the update.
      b2: decay of the momentum.
      weight_decay: share of a parameter that is subtracted at a learning rate of 1.

    Source: Chen et al. 2023, arXiv:2302.06675, algorithm 2.
    """
    return optax.chain(
        optax.scale_by_lion(b1, b2),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
