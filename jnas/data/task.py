"""What is learned: the loss of a network's outputs, and what counts as better."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jnas import directions, types

CLASSES, FLOATS = "classes", "floats"  # what a task reads, see ``task_lookup.reads``


class Metric(NamedTuple):
    """A figure of many examples that is no mean of one figure each.

    Attributes:
      each: (outputs f32[B, K], targets) -> arrays with a leading axis B, each example
        by itself.
      over: those arrays of all N examples -> f32[].
      batch: what stands for it at a step, of the step's batch alone: as ``over``, and
        the mean over the steps of an epoch is shown; None means ``over``. A search's
        ``valid_*`` and a training's ``train_*`` are such means.
    """

    each: Callable
    over: Callable
    batch: Callable | None = None


class Task(NamedTuple):
    """A task as functions of a network's outputs f32[B, K] and targets [B, ...].

    Attributes:
      num_outputs: K.
      loss: (outputs, targets) -> f32[B].
      metrics: name -> (outputs, targets) -> f32[B], whose mean is the figure, or a
        ``Metric``. The first is the signal: what searches climb and models are chosen
        by, higher is better. A name with a word such as "error" is lower for what is
        better, see ``directions``.
      smoothed: (outputs, targets, smoothing) -> f32[B], the loss with smoothed targets;
        None where nothing can be smoothed.
      prepare: (key, or None for an evaluation, inputs) -> the network's inputs, of the
        same shapes; None augments and normalises images, and normalises other arrays.
      answer: outputs f32[N, K] -> what is predicted, name -> array [N, ...], of which
        an exported model gives the first; None predicts the outputs.
      guess: targets -> (the signal that guessing reaches on them, a sentence that says
        how), for a warning; None where that is not known.
    """

    num_outputs: int
    loss: Callable
    metrics: Mapping[str, Callable | Metric]
    smoothed: Callable | None = None
    prepare: Callable | None = None
    answer: Callable | None = None
    guess: Callable | None = None

    @property
    def signal(self) -> str:
        """Name of the first metric."""
        return next(iter(self.metrics))

    def metric(self, name: str | None = None) -> Metric:
        """Returns a metric as its two functions; the signal without a name.

        Args:
          name: of a metric.
        """
        found = self.metrics[self.signal if name is None else name]
        return found if isinstance(found, Metric) else Metric(found, _mean)

    def score(self, outputs: types.Array, targets: Any) -> types.Array:
        """Returns the signal of some examples, f32[].

        Args:
          outputs: f32[B, K].
          targets: of the same examples.
        """
        metric = self.metric()
        return metric.over(metric.each(outputs, targets))

    def batch_score(self, outputs: types.Array, targets: Any) -> types.Array:
        """Returns what stands for the signal at a step, f32[], see ``Metric.batch``.

        Args:
          outputs: f32[B, K].
          targets: of the same examples.
        """
        metric = self.metric()
        return (metric.batch or metric.over)(metric.each(outputs, targets))

    def smoothing(self, outputs: types.Array, targets: Any, amount: Any) -> types.Array:
        """Returns the loss with smoothed targets, f32[B].

        Args:
          outputs: f32[B, K].
          targets: of the same examples.
          amount: 0 to 1; a number 0 leaves the loss as it is.

        Raises:
          ValueError: the task has nothing to smooth.
        """
        if not isinstance(amount, jax.Array) and not amount:
            return self.loss(outputs, targets)
        self.check_smoothing(amount)
        return self.smoothed(outputs, targets, amount)

    def check_smoothing(self, amount: Any) -> None:
        """Refuses to smooth targets of which nothing can be smoothed.

        Args:
          amount: 0 to 1.

        Raises:
          ValueError: it is not 0, and there is no ``smoothed``.
        """
        if self.smoothed is None and (isinstance(amount, jax.Array) or amount):
            raise ValueError(
                f"label_smoothing must be 0 for a task of {self.signal}, whose targets "
                f"are no classes, got {amount}. Leave it out."
            )


def _mean(values: types.Array) -> types.Array:
    return values.mean()


@dataclasses.dataclass(frozen=True)
class Targets:
    """What a task is built from: the training targets, in JSON values.

    Attributes:
      num_classes: of integers [N], 1 + the largest, or the number of names; else 0.
      shape: of one target; () of several arrays.
      mean: mean of each number of a target; () of integers and of several arrays.
      std: its standard deviation, 1 where it is constant.
      low: the smallest of all numbers; 0 of integers and of several arrays.
      high: the largest.
      whole: whether all numbers are whole.
      names: of the classes, or of the numbers of a target; may be empty.
    """

    num_classes: int = 0
    shape: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = True
    names: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Numbers of a target."""
        return math.prod(self.shape)

    def words(self) -> str:
        """Returns how many classes, or which numbers of which shape, for messages."""
        if self.num_classes:
            return f"{self.num_classes} classes"
        if not self.mean:
            return "several arrays or integers"
        shape = ", ".join(map(str, ("N", *self.shape)))
        what = "" if self.whole else "fractions from "
        return f"{what}{self.low:g} to {self.high:g} as floats [{shape}]"

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as JSON values."""
        values = dataclasses.asdict(self).items()
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values}


def targets_from_json(fields: Any) -> Targets:
    """Reads the fields of ``Targets`` from JSON values, which may be foreign.

    Args:
      fields: what ``to_json`` returned.

    Raises:
      ValueError: a field is missing, unknown or breaks its rule.
    """
    names = [one.name for one in dataclasses.fields(Targets)]
    ok = isinstance(fields, Mapping) and set(fields) == set(names)
    if ok:
        lists = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        ends = (lists["low"], lists["high"])
        ok = type(lists["num_classes"]) is int and type(lists["whole"]) is bool
        ok = ok and all(
            isinstance(values, tuple) and all(isinstance(one, kind) for one in values)
            for values, kind in (
                (lists["shape"], int),
                (lists["mean"], int | float),
                (lists["std"], int | float),
                (lists["names"], str),
                (ends, int | float),
            )
        )
    if ok:
        moments = [*lists["mean"], *lists["std"], *ends]
        size = math.prod(lists["shape"])
        ok = all(map(math.isfinite, moments)) and min(lists["std"], default=1) > 0
        ok = ok and min(lists["shape"], default=1) > 0 and lists["num_classes"] >= 0
        ok = ok and {len(lists["mean"]), len(lists["std"])} in ({size}, {0})
    if not ok:
        raise ValueError(
            f"targets must be an object with the keys {', '.join(names)}, got "
            f"{fields!r:.80}. Restore the file."
        )
    return Targets(**lists)


def describe(
    targets: Any, names: tuple[str, ...] = (), num_classes: int = 0
) -> Targets:
    """Returns what is known of training targets.

    Args:
      targets: integers [N], floats [N] or [N, ...], or a tree of arrays.
      names: of the classes, or of the numbers of a target.
      num_classes: of integers [N].
    """
    if not isinstance(targets, np.ndarray):
        return Targets(names=names)
    if targets.dtype.kind != "f":
        return Targets(num_classes, targets.shape[1:], names=names)
    flat = targets.reshape(len(targets), -1).astype(np.float64)
    std = flat.std(0)
    std = np.where(std > 1e-12 * np.abs(flat).max(0, initial=1e-300), std, 1.0)
    mean, std = (tuple(one.tolist()) for one in (flat.mean(0), std))
    ends, whole = (float(flat.min()), float(flat.max())), bool((flat % 1 == 0).all())
    return Targets(0, targets.shape[1:], mean, std, *ends, whole, names)


def named(prefix: str, task: Task) -> tuple[directions.Metric, ...]:
    """Returns a task's metrics with their directions, as "test_accuracy".

    Args:
      prefix: of the names, such as "test".
      task: the task.
    """
    return tuple(directions.declared(f"{prefix}_{name}") for name in task.metrics)
