"""Training a genotype's network from scratch, and evaluating it on a test split."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jnas import networks, types
from jnas.data import augment as augment_lib
from jnas.training import program as program_lib

METRICS = ("train_loss", "train_accuracy")
AUXILIARY_WEIGHT = 0.4


class TrainState(NamedTuple):
    """State of a training from scratch.

    Attributes:
      params: the network's parameters.
      stats: running statistics of its normalisation layers.
      opt_state: state of the optimiser.
    """

    params: types.Params
    stats: types.Params
    opt_state: Any


def training(
    network: networks.Network,
    *,
    optimizer: optax.GradientTransformation,
    augment: augment_lib.Augment,
    num_examples: int,
    batch_size: int,
    num_epochs: int,
    drop_path_rate: float = 0.2,
    num_seeds: int | None = None,
) -> program_lib.Program:
    """Builds the training of a derived network as one program.

    loss = CE(outputs) + 0.4 CE(auxiliary), where the network has the auxiliary head;
    the drop path rate in epoch e is drop_path_rate * e / num_epochs.

    Args:
      network: the network to train.
      optimizer: optimiser of its parameters.
      augment: augmentation of the images.
      num_examples: number N of examples of the training split.
      batch_size: number B of examples in a batch.
      num_epochs: number of passes over the training split.
      drop_path_rate: probability that a path is dropped, at the end of training.
      num_seeds: number S of trainings in one program; None means one without that axis.

    Returns:
      The program. Its state's ``inner`` is a TrainState; its metrics are METRICS.

    Raises:
      ValueError: drop_path_rate outside [0, 1).

    Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, section 3.2.
    """
    if not 0 <= drop_path_rate < 1:
        raise ValueError(
            f"drop_path_rate must be in [0, 1), got {drop_path_rate}. "
            "The paper uses 0.2."
        )

    def init(key):
        params, stats = network.init(key)
        return TrainState(params, stats, optimizer.init(params))

    def loss(params, stats, key, images, labels, rate):
        (outputs, auxiliary), stats = network.apply(
            params, stats, images, train=True, key=key, drop_path_rate=rate
        )
        total = cross_entropy(outputs, labels)
        if auxiliary is not None:
            total += AUXILIARY_WEIGHT * cross_entropy(auxiliary, labels)
        return total, (stats, (outputs.argmax(-1) == labels).mean())

    def step(key, clock, state, splits):
        image_key, loss_key = jax.random.split(key)
        ((images, labels),) = splits
        images = augment_lib.augment(image_key, images, augment)
        rate = drop_path_rate * clock.epoch / num_epochs if drop_path_rate else None
        (value, (stats, accuracy)), grads = jax.value_and_grad(loss, has_aux=True)(
            state.params, state.stats, loss_key, images, labels, rate
        )
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = TrainState(params, stats, opt_state)
        return state, dict(zip(METRICS, (value, accuracy), strict=True))

    return program_lib.program(
        init,
        step,
        metrics=METRICS,
        num_examples=(num_examples,),
        batch_size=batch_size,
        num_epochs=num_epochs,
        num_seeds=num_seeds,
    )


def cross_entropy(outputs: types.Array, labels: types.Array) -> types.Array:
    """Returns the mean cross-entropy, in nats.

    Args:
      outputs: f32[B, num_classes].
      labels: i32[B].
    """
    return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()


def evaluate(
    key: types.Key,
    network: networks.Network,
    params: types.Params,
    stats: types.Params,
    images: types.Array,
    labels: types.Array,
    *,
    augment: augment_lib.Augment,
    batch_size: int,
) -> types.Array:
    """Measures a trained network's accuracy with its running statistics.

    Args:
      key: PRNG key for operations that draw random numbers; others ignore it.
      network: the network.
      params: its parameters.
      stats: its running statistics.
      images: [N, H, W, F], as the data set holds them.
      labels: i32[N].
      augment: gives the normalisation; nothing else of it is applied.
      batch_size: number of images evaluated at a time.

    Returns:
      f32[], fraction of images classified correctly, each counted once.
    """
    found = predict(
        key, network, params, stats, images, augment=augment, batch_size=batch_size
    )
    return (found == labels).mean()


def predict(
    key: types.Key,
    network: networks.Network,
    params: types.Params,
    stats: types.Params,
    images: types.Array,
    *,
    augment: augment_lib.Augment,
    batch_size: int,
) -> types.Array:
    """Classifies images by a trained network with its running statistics.

    Args:
      key: PRNG key for operations that draw random numbers; others ignore it.
      network: the network.
      params: its parameters.
      stats: its running statistics.
      images: [N, H, W, F], as the data set holds them.
      augment: gives the normalisation; nothing else of it is applied.
      batch_size: number of images classified at a time.

    Returns:
      i32[N], the class of the largest output.
    """
    count = len(images)
    batch_size = min(batch_size, count)
    rows = jnp.arange(-(-count // batch_size) * batch_size)
    rows = jnp.minimum(rows, count - 1).reshape(-1, batch_size)

    def label(row):
        x = augment_lib.normalise(images[row], augment)
        (outputs, _), _ = network.apply(params, stats, x, train=False, key=key)
        return outputs.argmax(-1).astype(jnp.int32)

    return jax.lax.map(label, rows).reshape(-1)[:count]
