"""Objectives by name, for launchers: each is built from the task at hand."""

from typing import NamedTuple

import jax.numpy as jnp

from jnas import networks, registry, spaces, types
from jnas.data import augment as augment_lib
from jnas.discrete.objectives import proxies
from jnas.discrete.objectives.cost import latency as measured_latency

PROXY_IMAGES = 64


class Task(NamedTuple):
    """What an objective of ``registry.OBJECTIVES`` is built from.

    Attributes:
      space: of the encodings.
      size: of the networks.
      train: images [N, H, W, F], as the data set holds them, and labels i32[N].
      valid: likewise.
      augment: of the training images; its mean and deviation normalise all.
    """

    space: spaces.CellSpace
    size: networks.Size
    train: types.Batch
    valid: types.Batch
    augment: augment_lib.Augment

    def batch(self) -> types.Batch:
        """The first 64 training images f32[B, H, W, F], normalised, and labels."""
        images, labels = (jnp.asarray(part[:PROXY_IMAGES]) for part in self.train)
        return augment_lib.normalise(images, self.augment), labels


@registry.OBJECTIVES.register
def grad_norm(task: Task) -> types.Objective:
    """Builds the gradient norm of an untrained network on one training batch."""
    return proxies.grad_norm(task.space, task.size, *task.batch())


@registry.OBJECTIVES.register
def snip(task: Task) -> types.Objective:
    """Builds SNIP of an untrained network on one training batch."""
    return proxies.snip(task.space, task.size, *task.batch())


@registry.OBJECTIVES.register
def synflow(task: Task) -> types.Objective:
    """Builds synaptic flow, which reads no data."""
    return proxies.synflow(task.space, task.size, task.train[0].shape[1:])


@registry.OBJECTIVES.register
def jacobian_covariance(task: Task) -> types.Objective:
    """Builds the covariance of Jacobians on one training batch."""
    return proxies.jacobian_covariance(task.space, task.size, task.batch()[0])


@registry.OBJECTIVES.register
def naswot(task: Task) -> types.Objective:
    """Builds the agreement of activations on one training batch."""
    return proxies.naswot(task.space, task.size, task.batch()[0])


@registry.OBJECTIVES.register
def latency(task: Task) -> types.Objective:
    """Builds the measured seconds of one image, negated; not jittable."""
    return measured_latency(task.space, task.size, task.train[0].shape[1:])
