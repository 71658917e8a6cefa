"""The tasks that are built in: classes, numbers, and several labels at once."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnas import registry, types
from jnas.data import task as task_lib


@registry.TASKS.register
def classification(targets: task_lib.Targets) -> task_lib.Task:
    """Returns the task of one class an example: cross-entropy, in nats, and accuracy.

    Args:
      targets: integers from 0.

    Raises:
      ValueError: targets that are no classes.
    """
    _check(targets.num_classes >= 2, "classification", "at least two classes", targets)
    return _classes(targets.num_classes)


def _classes(num_classes: int) -> task_lib.Task:
    return task_lib.Task(
        num_classes,
        optax.softmax_cross_entropy_with_integer_labels,
        {"accuracy": _is_right},
        _smoothed,
        answer=_class_and_probabilities,
        guess=_most_frequent,
    )


def _most_frequent(labels) -> tuple[float, str]:
    """Two deviations above the share of the most frequent class."""
    share = np.bincount(np.asarray(labels)).max() / len(labels)
    most = share + 2 * math.sqrt(share * (1 - share) / len(labels))
    return most, f"the most frequent class has {share:.3f} of the images"


def _is_right(outputs, targets):
    return outputs.argmax(-1) == targets


def _smoothed(outputs, targets, smoothing):
    """(1 - s) one-hot + s / K: -(1 - s) log p_y - s / K sum_k log p_k.

    Source: Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    plain = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
    spread = -jax.nn.log_softmax(outputs).mean(-1)
    return (1 - smoothing) * plain + smoothing * spread


def _class_and_probabilities(outputs):
    return {"class": outputs.argmax(-1), "probability": jax.nn.softmax(outputs)}


CLASSIFICATION = _classes(0)  # of any number of classes, where that is not read


@registry.TASKS.register
def regression(targets: task_lib.Targets) -> task_lib.Task:
    """Returns the task of numbers: R2 and the mean squared error.

    Networks learn the numbers less their mean, divided by their deviation, of which
    the loss is the mean squared error. ``r2`` is the mean over a target's numbers of
    1 - sum (y - o)^2 / sum (y - mean y)^2 on the examples that are measured; a number
    that is constant there is left out, and 0 if all are. At a step it is 1 - the loss,
    as if the batch had the deviation of the training targets. ``mean_squared_error``
    has the targets' own units, squared, and is the mean over a target's numbers.

    Args:
      targets: floats [N] or [N, K].

    Raises:
      ValueError: targets that are no floats.
    """
    ok = bool(targets.mean) and len(targets.shape) < 2
    _check(ok, "regression", "floats [N] or [N, K]", targets)
    mean, std = (np.array(one, np.float32) for one in (targets.mean, targets.std))

    def scaled(outputs, y):
        return outputs, (y.reshape(outputs.shape) - mean) / std

    def loss(outputs, y):
        outputs, y = scaled(outputs, y)
        return ((outputs - y) ** 2).mean(-1)

    def error(pair):
        return (((pair[0] - pair[1]) * std) ** 2).mean()

    def answer(outputs):
        values = outputs * std + mean
        return {"value": values.reshape(-1, *targets.shape)}

    return task_lib.Task(
        targets.size,
        loss,
        {
            "r2": task_lib.Metric(scaled, _r2, _r2_of_unit_variance),
            "mean_squared_error": task_lib.Metric(scaled, error),
        },
        answer=answer,
        guess=lambda y: (0.0, "the mean has 0"),
    )


def _r2(pair: tuple[types.Array, types.Array]) -> types.Array:
    outputs, y = pair
    left = ((outputs - y) ** 2).sum(0)
    whole = ((y - y.mean(0)) ** 2).sum(0)
    differ = y.max(0) > y.min(0)  # a rounded mean makes a sum of 0 a little larger
    each = jnp.where(differ, 1 - left / jnp.maximum(whole, 1e-30), 0.0)
    return each.sum() / jnp.maximum(differ.sum(), 1)


def _r2_of_unit_variance(pair: tuple[types.Array, types.Array]) -> types.Array:
    return 1 - ((pair[0] - pair[1]) ** 2).mean()


@registry.TASKS.register
def multilabel(targets: task_lib.Targets) -> task_lib.Task:
    """Returns the task of K labels, each there or not: a sigmoid each.

    The loss is the binary cross-entropy, mean over labels, in nats; smoothed targets
    are (1 - s) y + s / 2.
    ``mean_average_precision`` is the mean over labels of the average precision
    sum_n (R_n - R_(n-1)) P_n, with equal outputs as one step; a label that no measured
    example has is left out. ``f1`` is 2 tp / (2 tp + fp + fn), mean over the labels
    that an example has or is given; a label is given above a probability of 1/2.

    Args:
      targets: 0 and 1, [N, K].

    Raises:
      ValueError: targets of another shape.
    """
    ok = len(targets.shape) == 1 and bool(targets.mean)
    ok = ok and targets.whole and targets.low >= 0 and targets.high <= 1
    _check(ok, "multilabel", "0 and 1 as floats [N, K]", targets)

    def loss(outputs, y):
        return optax.sigmoid_binary_cross_entropy(outputs, y).mean(-1)

    def smoothed(outputs, y, smoothing):
        return loss(outputs, (1 - smoothing) * y + smoothing / 2)

    def given(outputs):
        return outputs > 0

    def f1(pair):
        found, there = given(pair[0]), pair[1] > 0.5
        right = (found & there).sum(0)
        either = found.sum(0) + there.sum(0)
        values = 2 * right / jnp.maximum(either, 1)
        return values.sum() / jnp.maximum((either > 0).sum(), 1)

    return task_lib.Task(
        targets.size,
        loss,
        {
            "mean_average_precision": task_lib.Metric(_pair, _mean_average_precision),
            "f1": task_lib.Metric(_pair, f1),
        },
        smoothed,
        answer=lambda outputs: {
            "probability": jax.nn.sigmoid(outputs),
            "labels": given(outputs),
        },
        guess=_random_orders,
    )


def _random_orders(targets) -> tuple[float, str]:
    """Two deviations above the mean of twenty orders, of some of many examples."""
    y = np.asarray(targets)
    most = max(64, min(4096, 200_000 // y.shape[1]))
    y = np.float32(y[:: -(-len(y) // most)])
    draw = np.random.default_rng(0).random
    found = [float(_mean_average_precision((draw(y.shape), y))) for _ in range(20)]
    mean = np.mean(found)
    return float(mean + 2 * np.std(found)), f"orders at random have {mean:.3f}"


def _pair(outputs, targets):
    return outputs, targets


def _mean_average_precision(pair: tuple[types.Array, types.Array]) -> types.Array:
    values, there = jax.vmap(_average_precision, 1)(*pair)
    return jnp.where(there, values, 0).sum() / jnp.maximum(there.sum(), 1)


def _average_precision(outputs, targets) -> tuple[types.Array, types.Array]:
    """Returns the average precision of a label, and whether any example has it."""
    order = jnp.argsort(-outputs)
    ranked, hits = outputs[order], (targets[order] > 0.5).astype(jnp.float32)
    found = jnp.cumsum(hits)
    precision = found / jnp.arange(1, len(ranked) + 1)
    # equal outputs are one step: each counts with the precision at the last of them
    last = jnp.searchsorted(-ranked, -ranked, side="right") - 1
    total = found[-1]
    return (precision[last] * hits).sum() / jnp.maximum(total, 1), total > 0


def _check(ok: bool, name: str, rule: str, targets: task_lib.Targets) -> None:
    if not ok:
        raise ValueError(
            f"targets must be {rule} for the task {name}, got {targets.words()}. Use "
            "another task, or correct y_train."
        )


classification.reads = task_lib.CLASSES
regression.reads = multilabel.reads = task_lib.FLOATS
