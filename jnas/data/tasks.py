"""The tasks that are built in: classes, numbers, and several labels at once."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jnas import directions, registry, types
from jnas.data import batches
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
            f"targets must be {rule} for the task {name}, got {_kind(targets)}. Use "
            "another task, or correct y_train."
        )


def _kind(targets: task_lib.Targets) -> str:
    """Returns targets in words."""
    if targets.num_classes:
        return f"{targets.num_classes} classes"
    if not targets.mean:
        return "several arrays or integers"
    shape = ", ".join(map(str, ("N", *targets.shape)))
    what = "" if targets.whole else "fractions from "
    return f"{what}{targets.low:g} to {targets.high:g} as floats [{shape}]"


def build(name: str, targets: task_lib.Targets) -> task_lib.Task:
    """Builds a task by its name.

    Args:
      name: key in ``registry.TASKS``.
      targets: of the training split.

    Raises:
      KeyError: a task that is not registered; the nearest is guessed.
      ValueError: targets that do not fit it.
    """
    function = registry.TASKS[name]
    try:
        made = function(targets)
    except ValueError:
        raise
    except Exception as error:  # of any kind, in a user's function
        raise ValueError(
            f"task {name} must be built for {_kind(targets)}, got {_said(error)}. Use "
            "other data, or correct the task."
        ) from error
    if not isinstance(made, task_lib.Task) or not made.metrics:
        raise TypeError(
            f"task {name} must be a data.Task with a metric, got {made!r:.80}. Return "
            "one from the registered function."
        )
    if directions.declared(made.signal).direction == directions.MINIMIZE:
        raise ValueError(
            f"task {name} must have a first metric that is higher for what is better, "
            f"got {made.signal!r}, whose name says the opposite. Put another one first."
        )
    return made


def check_loss(name: str, task: task_lib.Task, targets: Any) -> None:
    """Refuses a task of one's own whose loss mixes examples, as broadcasting does.

    Args:
      name: key in ``registry.TASKS``.
      task: the task.
      targets: at least two of them, i32[N], f32[N, ...], or a dict of arrays.

    Raises:
      ValueError: the loss cannot be computed, is not f32[B], or depends on the other
        examples of a batch.
    """
    if registry.TASKS[name].__module__ == __name__:
        return
    outputs = jax.random.normal(jax.random.key(0), (2, task.num_outputs))
    both = batches.rows_of(targets, np.array([0, _unlike_the_first(targets)]))
    try:
        shape = jax.eval_shape(task.loss, outputs, both).shape
        losses = task.loss(outputs, both)
        first = task.loss(outputs[:1], batches.rows_of(both, slice(1)))
    except Exception as error:  # of any kind, in a user's function
        raise ValueError(
            f"task {name} must have a loss of outputs f32[B, {task.num_outputs}] and "
            f"its targets, got {_said(error)}. Correct it, or the targets."
        ) from error
    same = shape == (2,) and np.allclose(losses[0], first[0], 1e-4, 1e-5, True)
    if not same:
        raise ValueError(
            f"task {name} must have a loss f32[B] of each example by itself, got "
            f"another one of two examples (shape {shape}). Give targets the outputs' "
            "shape, y.reshape(outputs.shape), and take the mean of axis -1."
        )


def _unlike_the_first(targets: Any) -> int:
    """Returns the number of an example whose targets differ from those of the first."""
    found = [0]
    for y in jax.tree.leaves(targets):
        y = np.asarray(y)
        found.append(int((y != y[0]).reshape(len(y), -1).any(1).argmax()))
    return max(found) or 1


def _said(error: Exception) -> str:
    """Returns an error of a user's function in one line."""
    line = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {line}"


def reads(name: str) -> str:
    """Returns how a task's targets are read.

    Args:
      name: key in ``registry.TASKS``. Its function may have an attribute ``reads``.

    Returns:
      CLASSES, integers [N]; FLOATS, of which integers are some too; or "": integers [N]
      are classes, all others floats.

    Raises:
      KeyError: a task that is not registered; the nearest is guessed.
      ValueError: another attribute.
    """
    found = getattr(registry.TASKS[name], "reads", "")
    if found not in (CLASSES, FLOATS, ""):
        raise ValueError(
            f'{name}.reads must be "{CLASSES}" or "{FLOATS}", got {found!r}. Correct '
            "it, or leave it out."
        )
    return found


CLASSES, FLOATS = "classes", "floats"
classification.reads = CLASSES
regression.reads = multilabel.reads = FLOATS
