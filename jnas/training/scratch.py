"""Training a genotype's network from scratch, and evaluating it on a held-out split."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jnas import networks, types
from jnas.data import augment as augment_lib
from jnas.data import batches, tasks
from jnas.data import task as task_lib
from jnas.training import patience as patience_lib
from jnas.training import program as program_lib
from jnas.training import recipe as recipe_lib
from jnas.training.evaluation import cross_entropy as cross_entropy
from jnas.training.evaluation import evaluate as evaluate
from jnas.training.evaluation import map_outputs as map_outputs
from jnas.training.evaluation import predict as predict

AUXILIARY_WEIGHT = 0.4


def metrics_of(task: task_lib.Task) -> tuple[str, str]:
    """Returns the names of a training's metrics.

    Args:
      task: names the signal, of classes "accuracy".
    """
    return "train_loss", f"train_{task.signal}"


def valid_of(task: task_lib.Task) -> str:
    """Returns the name of the signal on the validation split.

    Args:
      task: names the signal.
    """
    return f"valid_{task.signal}"


METRICS = metrics_of(tasks.CLASSIFICATION)
VALID = valid_of(tasks.CLASSIFICATION)


class Average(NamedTuple):
    """Moving average of a training's weights and statistics.

    Attributes:
      count: i32[], number of steps that it averages.
      params: as those of the network.
      stats: likewise.
    """

    count: types.Array
    params: types.Params
    stats: types.Params


class TrainState(NamedTuple):
    """State of a training from scratch; ``trained`` gives what is kept of it.

    Attributes:
      params: the network's parameters.
      stats: running statistics of its normalisation layers.
      opt_state: state of the optimiser.
      average: their moving average; None without it.
      validation: figures of the validation split; None without one.
    """

    params: types.Params
    stats: types.Params
    opt_state: Any
    average: Average | None = None
    validation: patience_lib.Validation | None = None


class Trainer(NamedTuple):
    """A training's steps as pure functions; the numbers inside may be traced.

    Attributes:
      init: key -> TrainState, without ``validation``.
      step: (key, Clock, TrainState, (images, labels)) -> (TrainState, metrics).
    """

    init: Callable
    step: Callable


def trainer(
    network: networks.Network,
    *,
    optimizer: optax.GradientTransformation,
    augment: augment_lib.Augment,
    num_epochs: int,
    drop_path_rate: recipe_lib.Number = 0.2,
    label_smoothing: recipe_lib.Number = 0.0,
    mixup: recipe_lib.Number = 0.0,
    ema_decay: recipe_lib.Number = 0.0,
    task: task_lib.Task = tasks.CLASSIFICATION,
) -> Trainer:
    """Builds the steps of a training; see ``training`` for the arguments."""
    names = metrics_of(task)

    def init(key):
        params, stats = network.init(key)
        average = None
        if not recipe_lib.is_off(ema_decay):
            average = Average(jnp.int32(0), params, stats)
        return TrainState(params, stats, optimizer.init(params), average)

    def loss(params, stats, key, batch, rate):
        (outputs, auxiliary), stats = network.apply(
            params, stats, batch.images, train=True, key=key, drop_path_rate=rate
        )

        def mean_loss(outputs):
            return batch.mean(
                lambda targets: task.smoothing(outputs, targets, label_smoothing).mean()
            )

        total = mean_loss(outputs)
        if auxiliary is not None:
            total += AUXILIARY_WEIGHT * mean_loss(auxiliary)
        signal = batch.mean(lambda targets: task.batch_score(outputs, targets))
        return total, (stats, signal)

    def prepare(key, images, labels):
        if recipe_lib.is_off(mixup):
            images = augment_lib.augment(key, images, augment)
            return recipe_lib.Mixed(images, labels)
        key, mix_key = jax.random.split(key)
        images = augment_lib.augment(key, images, augment)
        return recipe_lib.mixup(mix_key, images, labels, mixup)

    def step(key, clock, state, batch):
        image_key, loss_key = jax.random.split(key)
        batch = prepare(image_key, *batch)
        rate = None
        if not recipe_lib.is_off(drop_path_rate):
            rate = drop_path_rate * clock.epoch / num_epochs
        (value, (stats, signal)), grads = jax.value_and_grad(loss, has_aux=True)(
            state.params, state.stats, loss_key, batch, rate
        )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = _averaged(state.average, params, stats, ema_decay)
        state = TrainState(params, stats, opt_state, average, state.validation)
        return state, dict(zip(names, (value, signal), strict=True))

    return Trainer(init, step)


def _averaged(old, params, stats, decay) -> Average | None:
    if old is None:
        return None
    count = old.count + 1
    new = recipe_lib.average((old.params, old.stats), (params, stats), decay, count)
    return Average(count, *new)


def training(
    network: networks.Network,
    *,
    optimizer: optax.GradientTransformation,
    augment: augment_lib.Augment,
    num_examples: int,
    batch_size: int,
    num_epochs: int,
    drop_path_rate: float = 0.2,
    label_smoothing: float = 0.0,
    mixup: float = 0.0,
    ema_decay: float = 0.0,
    validates: bool = False,
    patience: int | None = None,
    num_seeds: int | None = None,
    task: task_lib.Task = tasks.CLASSIFICATION,
) -> program_lib.Program:
    """Builds the training of a derived network as one program.

    loss = L(outputs) + 0.4 L(auxiliary), where the network has the auxiliary head and
    L is the task's mean loss, of classes the cross-entropy; the drop path rate in epoch
    e is drop_path_rate * e / num_epochs.

    Args:
      network: the network to train.
      optimizer: optimiser of its parameters.
      augment: augmentation of the images.
      num_examples: number N of examples of the training split.
      batch_size: number B of examples in a batch.
      num_epochs: number of passes over the training split.
      drop_path_rate: probability that a path is dropped, at the end of training.
      label_smoothing: share of the target that is spread over all classes.
      mixup: alpha of mixup's Beta(alpha, alpha); 0 disables it.
      ema_decay: decay of a moving average of weights and statistics, which is what is
        evaluated and kept; 0 disables it.
      validates: whether a second split is given, on which each epoch is evaluated;
        adds the metric ``valid_of``.
      patience: epochs without a better one after which the training ends; the best
        epoch's weights are kept. None disables early stopping.
      num_seeds: number S of trainings in one program; None means one without that axis.
      task: what is learned.

    Returns:
      The program. Its state's ``inner`` is a TrainState; its metrics are those of
      ``metrics_of``.

    Raises:
      ValueError: a number out of its range, or patience without a validation split.

    Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, section 3.2.
    """
    _check(drop_path_rate, label_smoothing, mixup, ema_decay)
    if patience is not None and not validates:
        raise ValueError(
            f"patience must come with a validation split, got {patience} without one. "
            "Set valid_rate."
        )
    one = trainer(
        network,
        optimizer=optimizer,
        augment=augment,
        num_epochs=num_epochs,
        drop_path_rate=drop_path_rate,
        label_smoothing=label_smoothing,
        mixup=mixup,
        ema_decay=ema_decay,
        task=task,
    )

    def init(key):
        state = one.init(key)
        if not validates:
            return state
        return state._replace(
            validation=patience_lib.start(_current(state), patience=patience)
        )

    def ended(state):
        return patience_lib.is_over(state.validation, patience)

    measure, at_epoch_end = _validation(network, augment, batch_size, patience, task)
    return program_lib.program(
        init,
        lambda key, clock, state, splits: one.step(key, clock, state, splits[0]),
        metrics=metrics_of(task),
        num_examples=(num_examples,),
        batch_size=batch_size,
        num_epochs=num_epochs,
        num_seeds=num_seeds,
        at_epoch_end=at_epoch_end if validates else None,
        measure=measure if validates else None,
        ended=None if patience is None else ended,
        between="validation",
    )


def _validation(network, augment, batch_size, patience, task) -> tuple:
    """Builds what measures a training on its second split, and what notes the signal.

    The examples' axis comes last between the two, as ``program.program`` asks.
    """
    metric = task.metric()

    def measure(key, clock, state, splits):
        del clock
        images, labels = splits[1]
        each = map_outputs(
            lambda outputs, row: metric.each(outputs, batches.rows_of(labels, row)),
            key,
            network,
            *_current(state),
            images,
            augment=augment,
            batch_size=batch_size,
        )
        return jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), each)

    def at_epoch_end(key, clock, state, each):
        del key
        each = jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), each)
        signal = metric.over(each)
        noted = patience_lib.noted(
            state.validation,
            clock.epoch + 1,
            signal,
            _current(state),
            patience=patience,
        )
        return state._replace(validation=noted), {valid_of(task): signal}

    return measure, at_epoch_end


def _check(drop_path_rate, label_smoothing, mixup, ema_decay) -> None:
    if not 0 <= drop_path_rate < 1:
        raise ValueError(
            f"drop_path_rate must be in [0, 1), got {drop_path_rate}. "
            "The paper uses 0.2."
        )
    for name, value, advice in (
        ("label_smoothing", label_smoothing, "DARTS uses 0.1 on ImageNet"),
        ("ema_decay", ema_decay, "Common values are 0.99 to 0.9999"),
    ):
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be in [0, 1), got {value}. {advice}.")
    if mixup < 0:
        raise ValueError(
            f"mixup must be at least 0, got {mixup}. The paper uses 0.1 to 0.4."
        )


def _current(state: TrainState) -> tuple[types.Params, types.Params]:
    if state.average is not None:
        return state.average.params, state.average.stats
    return state.params, state.stats


def trained(state: TrainState) -> tuple[types.Params, types.Params]:
    """Returns the parameters and statistics that a training keeps, and evaluates.

    Those of the best epoch with early stopping, else the last; of the moving average if
    there is one.

    Args:
      state: a program's last ``inner``; with a leading axis S if it has seeds.
    """
    if state.validation is not None and state.validation.kept is not None:
        return state.validation.kept
    return _current(state)
