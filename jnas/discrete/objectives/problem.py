"""Objectives by name, for launchers: each is built from a ``Problem``."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jnas import networks, registry, spaces, types
from jnas.data import augment as augment_lib
from jnas.data import batches, tasks
from jnas.data import task as task_lib
from jnas.discrete.objectives import proxies
from jnas.discrete.objectives.cost import latency

PROXY_IMAGES = 64


class Problem(NamedTuple):
    """What an objective of ``registry.OBJECTIVES`` is built from.

    Attributes:
      space: the space of the encodings.
      size: of the networks.
      train: images [N, H, W, F], as the data set holds them, and labels i32[N]; or
        other inputs and targets.
      valid: likewise.
      augment: of the training images; its mean and deviation normalise all.
      task: what is learned.
    """

    space: spaces.Space
    size: networks.Size
    train: types.Batch
    valid: types.Batch
    augment: Any
    task: task_lib.Task = tasks.CLASSIFICATION

    def batch(self) -> types.Batch:
        """Returns 64 training images f32[B, H, W, F], normalised, and their labels."""
        taken = batches.take(*self.train, slice(PROXY_IMAGES))
        images, labels = jax.tree.map(jnp.asarray, taken)
        return augment_lib.normalise(images, self.augment), labels

    def learned(self) -> tuple:
        """Returns the images and labels of ``batch``, and the task."""
        return *self.batch(), self.task

    def images(self) -> tuple[types.Array]:
        """Returns the images of ``batch`` alone."""
        return self.batch()[:1]

    def image_shape(self) -> tuple[tuple[int, int, int]]:
        """Returns the rows, columns and channels of one image.

        Raises:
          ValueError: the inputs are several arrays.
        """
        if isinstance(self.train[0], dict):
            raise ValueError(
                "objective must be one that reads no shape of images, as the inputs "
                f"are several arrays, {', '.join(self.train[0])}. Use another."
            )
        return (tuple(self.train[0].shape[1:]),)


def _of_problem(build: Callable, data: Callable) -> Callable:
    """Makes Problem -> objective of (space, size, *data) -> objective."""

    @functools.wraps(build)
    def of_problem(problem):
        return build(problem.space, problem.size, *data(problem))

    del of_problem.__wrapped__  # whose arguments are others
    return of_problem


for _build, _data in (
    (proxies.grad_norm, Problem.learned),
    (proxies.snip, Problem.learned),
    (proxies.synflow, Problem.image_shape),
    (proxies.jacobian_covariance, Problem.images),
    (proxies.naswot, Problem.images),
    (latency, Problem.image_shape),
):
    registry.OBJECTIVES.register(_of_problem(_build, _data))
