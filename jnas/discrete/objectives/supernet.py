"""Scoring cells by a trained supernet's shared weights."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jnas import directions, networks, spaces, types
from jnas.data import batches, tasks
from jnas.data import task as task_lib
from jnas.training import placement


def one_shot_metric(task: task_lib.Task) -> directions.Metric:
    """Returns the column of the objective: the task's signal.

    Args:
      task: names the signal.
    """
    return directions.Metric(f"one_shot_{task.signal}")


ONE_SHOT = one_shot_metric(tasks.CLASSIFICATION)


def one_shot_accuracy(
    space: spaces.Space,
    supernet: networks.Supernet,
    params: types.Params,
    images: Any,
    labels: Any,
    *,
    calibration: Any = None,
    num_drawn: int | None = None,
    over_members: Callable | None = None,
    task: task_lib.Task = tasks.CLASSIFICATION,
) -> types.Objective:
    """Builds the objective: signal of the supernet with a cell's one-hot weights.

    The batch-statistics rule: the supernet keeps no statistics, so each cell is
    normalised by the batch that it is scored on. All images are one batch, no cell sees
    another's statistics, and a score depends on which images are scored together, but
    not on which cells are. With calibration images each cell is normalised by its
    statistics on these, and an image's outputs depend on no other scored image.

    Args:
      space: the space of the encodings.
      supernet: its network, of ``networks.supernet`` or ``networks.one_shot``.
      params: trained parameters.
      images: f32[B, H, W, F], normalised, or other inputs.
      labels: i32[B], or other targets.
      calibration: f32[N, H, W, F], training images, normalised, whose statistics
        normalise, as ``networks.recalibrated`` takes them; None takes those of the
        scored batch.
      num_drawn: number of images that a round's cells are scored on, drawn by its key,
        the same for all its cells; None scores on all images.
      over_members: (function, members with a leading axis P) -> results likewise;
        ``placement.divided`` when None.
      task: whose signal it is, of classes the accuracy.

    Returns:
      (key, encodings i32[P, G]) -> scores f32[P, 1].

    Raises:
      ValueError: calibration of a network whose builder takes no norms.

    Source: Guo et al. 2020, arXiv:1904.00420, section 3.2. Differs: without calibration
    statistics are those of the scored batch; there they are always measured again, on
    training images.
    """
    if calibration is not None:
        networks.recalibrated(supernet, calibration)  # raises before anything runs

    def objective(key, encodings):
        drawn = images, labels
        if num_drawn is not None:
            rows_key, key = jax.random.split(key)
            rows = jax.random.permutation(rows_key, batches.count(labels))
            whole = jax.tree.map(jnp.asarray, (images, labels))
            drawn = batches.take(*whole, rows[:num_drawn])
        shared = params, *drawn, calibration

        def score(encoding, params, images, labels, calibration):
            network, weights = supernet, space.weights(encoding)
            if calibration is not None:
                network = networks.recalibrated(supernet, placement.split(calibration))
            batch = placement.split(images)
            outputs = network.apply(params, batch, weights, key=key)
            return task.score(outputs, labels)[None]

        if over_members:
            return over_members(lambda encoding: score(encoding, *shared), encodings)
        return placement.divided(score, encodings, *shared)

    objective.metrics = (one_shot_metric(task),)
    return objective
