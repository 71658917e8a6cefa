"""The two searches: by gradient through a supernet, and discrete, by ask and tell."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jnas import bilevel as bilevel_lib
from jnas import networks, relaxations, spaces, types
from jnas import program as program_lib
from jnas.data import augment as augment_lib

METRICS = ("train_loss", "train_accuracy", "valid_accuracy", "valid_loss", "entropy")


class Batch(NamedTuple):
    """What the two losses are given.

    Attributes:
      images: f32[B, H, W, F], augmented.
      labels: i32[B].
      progress: f32[], 0 to 1 over the search.
    """

    images: types.Array
    labels: types.Array
    progress: types.Array


def losses(
    supernet: networks.Supernet,
    relaxation: types.Relaxation,
    regularizers: Sequence[types.Regularizer] = (),
) -> tuple[types.Loss, types.Loss]:
    """Builds the training and the validation loss of a supernet.

    Both are the mean cross-entropy at weights = relaxation(key, logits, progress); the
    validation loss adds the regularizers.

    Args:
      supernet: the network.
      relaxation: logits to weights.
      regularizers: penalties on the architecture.

    Returns:
      (train_loss, valid_loss), each (key, params, logits, Batch) -> (f32[], metrics).
    """

    def cross_entropy(key, params, logits, batch):
        relax_key, op_key = jax.random.split(key)
        weights = relaxation(relax_key, logits, batch.progress)
        outputs = supernet.apply(params, batch.images, weights, key=op_key)
        loss = optax.softmax_cross_entropy_with_integer_labels(outputs, batch.labels)
        accuracy = (outputs.argmax(-1) == batch.labels).mean()
        return loss.mean(), weights, {"accuracy": accuracy}

    def train_loss(key, params, logits, batch):
        loss, _, metrics = cross_entropy(key, params, logits, batch)
        return loss, metrics

    def valid_loss(key, params, logits, batch):
        loss, weights, metrics = cross_entropy(key, params, logits, batch)
        penalty = sum(r(logits, weights, batch.progress) for r in regularizers)
        return loss + penalty, metrics

    return train_loss, valid_loss


def gradient_search(
    space: spaces.CellSpace,
    supernet: networks.Supernet,
    *,
    relaxation: types.Relaxation,
    hypergradient: types.Hypergradient,
    params_optimizer: optax.GradientTransformation,
    logits_optimizer: optax.GradientTransformation,
    augment: augment_lib.Augment,
    num_examples: tuple[int, int],
    batch_size: int,
    num_epochs: int,
    num_seeds: int | None = None,
    over_seeds: Callable | None = None,
    regularizers: Sequence[types.Regularizer] = (),
) -> program_lib.Program:
    """Builds the differentiable search of DARTS as one program.

    Both parts are augmented, as in the paper's code. The logits start at 1e-3 N(0, 1).

    Args:
      space: the space of cells.
      supernet: its network.
      relaxation: logits to weights.
      hypergradient: the rule of the architecture's gradient.
      params_optimizer: of the supernet's parameters.
      logits_optimizer: of the logits.
      augment: of the images.
      num_examples: sizes of the training and the validation part.
      batch_size: B, of both.
      num_epochs: passes over the training part.
      num_seeds: S searches as one program, or None for one.
      over_seeds: how they are run, as ``program.program`` says.
      regularizers: penalties on the architecture.

    Returns:
      The program. Its state's ``inner`` is a BilevelState; its metrics are METRICS.

    Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, algorithm 1. Differs: an
    epoch's last incomplete batch is left out.
    """
    train_loss, valid_loss = losses(supernet, relaxation, regularizers)
    method = bilevel_lib.bilevel(
        train_loss,
        valid_loss,
        params_optimizer=params_optimizer,
        logits_optimizer=logits_optimizer,
        hypergradient=hypergradient,
    )

    def init(key):
        params_key, logits_key = jax.random.split(key)
        logits = 1e-3 * jax.random.normal(logits_key, space.shape)
        return method.init(supernet.init(params_key), logits)

    def step(key, clock, state, pair):
        step_key, *image_keys = jax.random.split(key, 3)
        train, valid = (
            Batch(augment_lib.augment(k, images, augment), labels, clock.progress)
            for k, (images, labels) in zip(image_keys, pair, strict=True)
        )
        state, info = method.step(step_key, state, train, valid)
        entropy = relaxations.entropy(jax.nn.softmax(state.logits, -1))
        values = (
            info.train_loss,
            info.train_metrics["accuracy"],
            info.valid_metrics["accuracy"],
            info.valid_loss,
            entropy,
        )
        return state, dict(zip(METRICS, values, strict=True))

    return program_lib.program(
        init,
        step,
        metrics=METRICS,
        num_examples=num_examples,
        batch_size=batch_size,
        num_epochs=num_epochs,
        num_seeds=num_seeds,
        over_seeds=over_seeds,
    )


class History(NamedTuple):
    """What a discrete search saw, round by round.

    Attributes:
      encodings: i32[R, P, G].
      scores: f32[R, P, M]; NaN replaced by -inf.
    """

    encodings: types.Array
    scores: types.Scores


def discrete_search(
    key: types.Key,
    controller: types.Controller,
    objective: types.Objective,
    *,
    num_rounds: int,
) -> tuple[Any, History]:
    """Runs a controller against an objective: ask, score, tell.

    Pure and jittable where the objective is; ``vmap`` over keys gives many runs.

    Args:
      key: of the whole run.
      controller: proposes encodings.
      objective: (key, i32[P, G]) -> f32[P, M], higher is better.
      num_rounds: R, at least 1.

    Returns:
      (the controller's last state, the History).
    """
    init_key, rounds_key = jax.random.split(key)

    def one_round(state, keys):
        encodings = controller.ask(keys[0], state)
        scores = objective(keys[1], encodings)
        scores = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
        state = controller.tell(state, encodings, scores)
        return state, History(encodings, scores)

    keys = jax.random.split(rounds_key, (num_rounds, 2))
    return jax.lax.scan(one_round, controller.init(init_key), keys)


def best(history: History, metric: int = 0) -> tuple[types.Encoding, types.Array]:
    """Returns the best encoding i32[G] of a history and its score f32[].

    Args:
      history: of ``discrete_search``.
      metric: column of the scores.
    """
    scores = history.scores[..., metric].reshape(-1)
    encodings = history.encodings.reshape(len(scores), -1)
    winner = scores.argmax()
    return encodings[winner], scores[winner]
