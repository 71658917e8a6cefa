"""Training a whole population from scratch, as one program."""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jnas import directions, networks, spaces, types
from jnas.data import augment as augment_lib
from jnas.data import batches, tasks
from jnas.data import task as task_lib
from jnas.training import optimizers, placement
from jnas.training import scratch as scratch_lib


def scratch(
    space: spaces.Space,
    size: networks.Size,
    train: types.Batch,
    held_out: Sequence[types.Batch],
    *,
    augment: augment_lib.Augment,
    num_epochs: int,
    batch_size: int,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    over_members: Callable | None = None,
    task: task_lib.Task = tasks.CLASSIFICATION,
) -> types.Objective:
    """Builds the objective: signal of a cell's network after its own training.

    Each member is initialised and trained by itself, as ``retrain.training`` would its
    genotype (SGD with Nesterov momentum, a cosine from learning_rate to 0), and
    measured once, at the end, with its running statistics.

    Args:
      space: of the encodings.
      size: of every network.
      train: images [N, H, W, F], as in the data set, and labels i32[N]; or other inputs
        and targets.
      held_out: the splits that are measured, likewise: the validation split, which is
        the signal; any more, such as a test split, are reported.
      augment: of the training images.
      num_epochs: passes over them.
      batch_size: B.
      learning_rate: of the first epoch.
      weight_decay: L2, on every parameter.
      over_members: (function, members with a leading axis P) -> results likewise;
        ``placement.divided`` when None: on CPU a device trains its members in turn, at
        the cost of a member's own operations; elsewhere together, where each step
        computes every candidate of all members at once. The numbers are the same.
      task: what is learned; its signal is the score, of classes the accuracy.

    Returns:
      (key, encodings i32[P, G]) -> scores f32[P, M], one for each held-out split.
      Member i draws from the i-th key that is split from key; the attribute ``member``
      is (that key, encoding) -> f32[M].

    Source: Dong and Yang 2020, arXiv:2001.00326, section 2.3 (the hyper-parameters).
    """
    build = networks.switched(space, size)
    count = batches.count(train[1])
    steps = batches.num_batches(count, batch_size)
    optimizer = _optimizer(learning_rate, weight_decay, num_epochs, steps)
    over_members = over_members or placement.divided
    how = dict(augment=augment, batch_size=batch_size)
    measure = _signals(held_out, task, how)

    def score(member):
        key, encoding = member
        train_key, test_key = jax.random.split(key)
        network = build(space.weights(encoding))
        program = scratch_lib.training(
            network,
            optimizer=optimizer,
            num_examples=count,
            num_epochs=num_epochs,
            drop_path_rate=0.0,
            task=task,
            **how,
        )
        state = _trained(program, train_key, train, num_epochs)
        return measure(test_key, network, state.params, state.stats)

    def objective(key, encodings):
        keys = jax.random.split(key, len(encodings))
        return over_members(score, (keys, encodings))

    objective.member = lambda key, encoding: score((key, encoding))

    splits = ("valid", "test", *(f"split{i}" for i in range(2, len(held_out))))
    objective.metrics = tuple(
        directions.Metric(f"{split}_{task.signal}") for split in splits[: len(held_out)]
    )
    return objective


def _optimizer(learning_rate, weight_decay, num_epochs, steps_per_epoch):
    return optimizers.momentum_sgd(
        optimizers.cosine_by_epoch(
            start=learning_rate,
            end=0.0,
            num_epochs=num_epochs,
            steps_per_epoch=steps_per_epoch,
        ),
        weight_decay=weight_decay,
        clip_norm=None,
        nesterov=True,
    )


def _trained(program, key, train, num_epochs) -> scratch_lib.TrainState:
    """Trains one network for all epochs."""

    def epoch(number, state):
        first = number * program.steps_per_epoch
        stop = first + program.steps_per_epoch
        return program.advance(state, first, stop, (train,))[0]

    return jax.lax.fori_loop(0, num_epochs, epoch, program.init(key)).inner


def _signals(held_out: Sequence[types.Batch], task, how: dict) -> Callable:
    """Builds (key, network, params, stats) -> f32[M], the signal on each split."""
    # one pass over all splits, so that it is compiled once
    images, labels = jax.tree.map(lambda *all: jnp.concatenate(all), *held_out)
    ends = np.cumsum([0, *(batches.count(split[1]) for split in held_out)])
    metric = task.metric()

    def measure(key, network, params, stats):
        each = scratch_lib.map_outputs(
            lambda outputs, row: metric.each(outputs, batches.rows_of(labels, row)),
            key,
            network,
            params,
            stats,
            images,
            **how,
        )
        parts = [slice(*pair) for pair in itertools.pairwise(ends)]
        return jnp.stack([metric.over(batches.rows_of(each, part)) for part in parts])

    return measure
