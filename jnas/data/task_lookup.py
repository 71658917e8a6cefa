"""Tasks by their names: built for targets, and checked where they are a user's own."""

from typing import Any

import jax
import numpy as np

from jnas import directions, registry
from jnas.data import batches, tasks
from jnas.data import task as task_lib


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
            f"task {name} must be built for {targets.words()}, got {_said(error)}. Use "
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
    if registry.TASKS[name].__module__ == tasks.__name__:
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
    if found not in (task_lib.CLASSES, task_lib.FLOATS, ""):
        raise ValueError(
            f'{name}.reads must be "{task_lib.CLASSES}" or "{task_lib.FLOATS}", got '
            f"{found!r}. Correct it, or leave it out."
        )
    return found
