"""Trains the shared weights of a one-shot network on cells drawn by a controller."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jnas import networks, spaces, types
from jnas.data import augment as augment_lib
from jnas.data import batches, tasks
from jnas.data import task as task_lib
from jnas.discrete import search
from jnas.training import placement
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
    controller_rounds: int = 0,
    num_seeds: int | None = None,
    over_seeds: Callable | None = None,
    task: task_lib.Task = tasks.CLASSIFICATION,
) -> program_lib.Program:
    """Builds the training of shared weights as one program.

    A step asks the controller for cells, updates the weights with the mean of the
    cells' gradients on a training batch, scores the same cells on a validation batch,
    and reports the scores to the controller. With ``random_search`` this is uniform
    path sampling (SPOS), which ignores the scores; with ``enas_lstm`` it is ENAS, with
    ``reinforce`` ENAS with independent genes; any controller can be used.

    With controller_rounds the two alternate in phases, as in ENAS' own code: a step
    trains the first proposed cell alone and reports nothing, and after each epoch
    so many rounds of the controller score each cell on a validation batch of its own.

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
      controller_rounds: number of rounds of the controller after each epoch; 0 reports
        the cells of every step to it.
      num_seeds: number S of trainings in one program; None means one without that axis.
      over_seeds: how to map over seeds, as for ``program.program``.
      task: what is learned; its signal scores the cells.

    Returns:
      The program. Its state's ``inner`` is a SharedState; its metrics are those of
      ``metrics_of``.

    Source: Guo et al. 2020, arXiv:1904.00420, section 3.2; Pham et al. 2018,
    arXiv:1802.03268, section 2.2. Differs: without controller_rounds ENAS' two phases
    alternate step by step, not epoch by epoch.
    """
    weights = _Weights(space, supernet, optimizer, augment, task)
    names = metrics_of(task)

    def init(key):
        params_key, controller_key = jax.random.split(key)
        params = supernet.init(params_key)
        return SharedState(
            params, optimizer.init(params), controller.init(controller_key)
        )

    phases = {"metrics": names, "step": _together(weights, controller, names)}
    if controller_rounds:
        order = functools.partial(
            batches.order, num_examples=num_examples[1], batch_size=batch_size
        )
        phases = {
            "metrics": names[:2],
            "step": _alone(weights, controller, names[:2]),
            "at_epoch_end": _rounds(
                weights, controller, names[2], order, controller_rounds
            ),
            "between": "controller",
        }
    return program_lib.program(
        init,
        **phases,
        num_examples=num_examples,
        batch_size=batch_size,
        num_epochs=num_epochs,
        num_seeds=num_seeds,
        over_seeds=over_seeds,
    )


class _Weights(NamedTuple):
    """Trains the shared weights and scores cells with them."""

    space: spaces.Space
    supernet: networks.Supernet
    optimizer: optax.GradientTransformation
    augment: augment_lib.Augment
    task: task_lib.Task

    def loss(self, params, encoding, key, images, labels):
        weights = self.space.weights(encoding)
        outputs = self.supernet.apply(params, images, weights, key=key)
        signal = self.task.batch_score(outputs, labels)
        return self.task.loss(outputs, labels).mean(), signal

    def train(self, keys, state, encodings, images, labels):
        """Moves the weights by the mean gradient over the encodings.

        Returns:
          (parameters, optimiser's state, (loss f32[], signal f32[])).
        """
        image_key, key = keys
        images = augment_lib.augment(image_key, images, self.augment)

        def gradient(encoding):
            return jax.value_and_grad(self.loss, has_aux=True)(
                state.params, encoding, key, images, labels
            )

        (losses, signals), grads = jax.lax.map(gradient, encodings)
        grads = jax.tree.map(lambda g: g.mean(0), grads)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return params, opt_state, (losses.mean(), signals.mean())

    def score(self, params, encoding, key, images, labels):
        images = augment_lib.normalise(images, self.augment)
        return self.loss(params, encoding, key, images, labels)[1]


def _together(weights, controller, names) -> Callable:
    """Builds the step that trains cells, scores the same cells and reports them."""

    def step(key, clock, state, splits):
        del clock  # the optimiser counts steps itself
        ask_key, *other_keys = jax.random.split(key, 4)

        def train_and_score(keys, encodings):
            params, opt_state, values = weights.train(
                keys[:2], state, encodings, *splits[0]
            )
            scores = jax.lax.map(
                lambda one: weights.score(params, one, keys[2], *splits[1]), encodings
            )
            return scores[:, None], (params, opt_state, (*values, scores.mean()))

        controller_state, _, (params, opt_state, values) = search.one_round(
            controller, train_and_score, ask_key, other_keys, state.controller
        )
        after = SharedState(params, opt_state, controller_state)
        return after, dict(zip(names, values, strict=True))

    return step


def _alone(weights, controller, names) -> Callable:
    """Builds the step that trains one cell; the controller learns nothing."""

    def step(key, clock, state, splits):
        del clock
        ask_key, *other_keys = jax.random.split(key, 3)
        encodings = controller.ask(ask_key, state.controller)[:1]
        params, opt_state, values = weights.train(
            other_keys, state, encodings, *splits[0]
        )
        after = SharedState(params, opt_state, state.controller)
        return after, dict(zip(names, values, strict=True))

    return step


def _rounds(weights, controller, name, order, count) -> Callable:
    """Builds the controller's rounds after an epoch, each cell on a batch of its own.

    Args:
      weights: that score.
      controller: that learns.
      name: of the metric.
      order: (key, epoch) -> i32[batches, B], rows of the validation split.
      count: number of rounds.
    """

    def learn(key, clock, state, splits):
        order_key, rounds_key = jax.random.split(key)
        rows = order(order_key, clock.epoch)

        def alone(key, place, encoding):
            batch = batches.take(*splits[1], rows[place % len(rows)])
            batch = placement.split(batch)
            return weights.score(state.params, encoding, key, *batch)

        def one(controller_state, number):
            keys = jax.random.split(jax.random.fold_in(rounds_key, number))

            def evaluate(key, encodings):
                places = number * len(encodings) + jnp.arange(len(encodings))
                scores = jax.lax.map(
                    lambda member: alone(key, *member), (places, encodings)
                )
                return scores[:, None], scores.mean()

            controller_state, _, value = search.one_round(
                controller, evaluate, *keys, controller_state
            )
            return controller_state, value

        controller_state, values = jax.lax.scan(
            one, state.controller, jnp.arange(count)
        )
        return state._replace(controller=controller_state), {name: values.mean()}

    return learn
