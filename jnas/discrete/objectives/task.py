"""Objectives by name, for launchers: each is built from a ``Task``."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jnas import networks, registry, spaces, types
from jnas.data import augment as augment_lib
from jnas.discrete.objectives import proxies
from jnas.discrete.objectives.cost import latency

PROXY_IMAGES = 64


class Task(NamedTuple):
    """What an objective of ``registry.OBJECTIVES`` is built from.

    Attributes:
      space: the space of the encodings.
      size: of the networks.
      train: images [N, H, W, F], as the data set holds them, and labels i32[N].
      valid: likewise.
      augment: of the training images; its mean and deviation normalise all.
    """

    space: spaces.Space
    size: networks.Size
    train: types.Batch
    valid: types.Batch
    augment: augment_lib.Augment

    def batch(self) -> types.Batch:
        """Returns 64 training images f32[B, H, W, F], normalised, and their labels."""
        images, labels = (jnp.asarray(array[:PROXY_IMAGES]) for array in self.train)
        return augment_lib.normalise(images, self.augment), labels

    def images(self) -> tuple[types.Array]:
        """Returns the images of ``batch`` alone."""
        return self.batch()[:1]

    def image_shape(self) -> tuple[tuple[int, int, int]]:
        """Returns the rows, columns and channels of one image."""
        return (self.train[0].shape[1:],)


def _of_task(build: Callable, data: Callable) -> Callable:
    """Makes Task -> objective of (space, size, *data) -> objective."""

    @functools.wraps(build)
    def of_task(task):
        return build(task.space, task.size, *data(task))

    del of_task.__wrapped__  # whose arguments are others
    return of_task


for _build, _data in (
    (proxies.grad_norm, Task.batch),
    (proxies.snip, Task.batch),
    (proxies.synflow, Task.image_shape),
    (proxies.jacobian_covariance, Task.images),
    (proxies.naswot, Task.images),
    (latency, Task.image_shape),
):
    registry.OBJECTIVES.register(_of_task(_build, _data))
