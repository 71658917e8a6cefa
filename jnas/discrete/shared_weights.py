"""Trains the shared weights of a one-shot network on cells drawn by a controller."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from jnas import networks, spaces, types
from jnas.data import augment as augment_lib
from jnas.data import task as task_lib
from jnas.data import tasks
from jnas.discrete import search
from jnas.training import program as program_lib


def metrics_of(task: task_lib.Task) -> tuple[str, ...]:
    """Returns the names of the metrics.

    Args:
      task: names the signal, of classes "accuracy".
    """
    return "train_loss", f"train_{task.signal}", f"valid_{task.signal}"


METRICS = metrics_of(tasks.CLASSIFICATION)


class SharedState(NamedTuple):
    """State of the training of shared weights.

    Attributes:
      params: parameters of the one-shot network.
      opt_state: state of their optimiser.
      controller: state of the controller.
    """

    params: types.Params
    opt_state: Any
    controller: Any


def shared_training(
    space: spaces.Space,
    supernet: networks.Supernet,
    controller: types.Controller,
    *,
    optimizer: optax.GradientTransformation,
    augment: augment_lib.Augment,
    num_examples: tuple[int, int],
    batch_size: int,
    num_epochs: int,
    num_seeds: int | None = None,
    over_seeds: Callable | None = None,
    task: task_lib.Task = tasks.CLASSIFICATION,
) -> program_lib.Program:
    """Builds the training of shared weights as one program.

    A step asks the controller for cells, updates the weights with the mean of the
    cells' gradients on a training batch, scores the same cells on a validation batch,
    and reports the scores to the controller. With ``random_search`` this is uniform
    path sampling (SPOS), which ignores the scores; with ``reinforce`` it is ENAS; any
    controller can be used.

    Args:
      space: the space of the cells.
      supernet: as from ``networks.one_shot``; ``networks.supernet`` works, but is
        slower.
      controller: proposes the cells, one or more per step.
      optimizer: optimiser of the weights.
      augment: augmentation of the training images.
      num_examples: numbers of examples in the training and in the validation split.
      batch_size: number B of examples in a batch of either split.
      num_epochs: number of passes over the training split.
      num_seeds: number S of trainings in one program; None means one without that axis.
      over_seeds: how to map over seeds, as for ``program.program``.
      task: what is learned; its signal scores the cells.

    Returns:
      The program. Its state's ``inner`` is a SharedState; its metrics are those of
      ``metrics_of``.

    Source: Guo et al. 2020, arXiv:1904.00420, section 3.2; Pham et al. 2018,
    arXiv:1802.03268, section 2.2. Differs: ENAS' two phases alternate step by step, not
    epoch by epoch, and its policy here is independent in the genes, not an LSTM.
    """

    names = metrics_of(task)

    def init(key):
        params_key, controller_key = jax.random.split(key)
        params = supernet.init(params_key)
        return SharedState(
            params, optimizer.init(params), controller.init(controller_key)
        )

    def loss(params, encoding, key, images, labels):
        outputs = supernet.apply(params, images, space.weights(encoding), key=key)
        signal = task.batch_score(outputs, labels)
        return task.loss(outputs, labels).mean(), signal

    def train(state, encodings, key, images, labels):
        """Moves the weights by the mean gradient over the encodings."""

        def gradient(encoding):
            return jax.value_and_grad(loss, has_aux=True)(
                state.params, encoding, key, images, labels
            )

        (losses, signals), grads = jax.lax.map(gradient, encodings)
        grads = jax.tree.map(lambda g: g.mean(0), grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return params, opt_state, (losses.mean(), signals.mean())

    def step(key, clock, state, splits):
        del clock  # the optimiser counts steps itself
        ask_key, *other_keys = jax.random.split(key, 4)

        def train_and_score(keys, encodings):
            image_key, train_key, valid_key = keys
            (images, labels), (valid_images, valid_labels) = splits
            images = augment_lib.augment(image_key, images, augment)
            params, opt_state, values = train(
                state, encodings, train_key, images, labels
            )
            valid_images = augment_lib.normalise(valid_images, augment)

            def score(encoding):
                return loss(params, encoding, valid_key, valid_images, valid_labels)[1]

            scores = jax.lax.map(score, encodings)
            return scores[:, None], (params, opt_state, (*values, scores.mean()))

        controller_state, _, (params, opt_state, values) = search.one_round(
            controller, train_and_score, ask_key, other_keys, state.controller
        )
        return (
            SharedState(params, opt_state, controller_state),
            dict(zip(names, values, strict=True)),
        )

    return program_lib.program(
        init,
        step,
        metrics=names,
        num_examples=num_examples,
        batch_size=batch_size,
        num_epochs=num_epochs,
        num_seeds=num_seeds,
        over_seeds=over_seeds,
    )
