"""Evaluating a model of another task than classification, and its worst examples."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jnas import data as data_lib
from jnas import models, report
from jnas.data import source, task_lookup
from jnas.data import task as task_lib
from jnas.models import model as model_lib
from jnas.report import numbers

_BY_NUMBER = ("regression", "multilabel")  # output k is of number k alone


def check(dataset: data_lib.Dataset, model: models.Model) -> None:
    """Refuses targets that are not like those that the model has learned.

    Args:
      dataset: the data set.
      model: the model.

    Raises:
      ValueError: other numbers of classes, targets of another shape, or other names.
    """
    own, theirs = model.learned.targets, dataset.targets
    if own.num_classes != theirs.num_classes:
        raise ValueError(
            f"data must have the model's {own.num_classes} classes, got "
            f"{theirs.num_classes} in {dataset.name!r}. Use other data."
        )
    if own.shape != theirs.shape or bool(own.mean) != bool(theirs.mean):
        raise ValueError(
            f"targets must be {_kind(own)}, as the model's, got {_kind(theirs)} in "
            f"{dataset.name!r}. Use other data, or reshape them."
        )
    if own.names and theirs.names and own.names != theirs.names:
        raise ValueError(
            f"targets must have the model's names {', '.join(own.names)}, got "
            f"{', '.join(theirs.names)} in {dataset.name!r}. Put them in its order."
        )


def _kind(targets: data_lib.Targets) -> str:
    shape = ", ".join(map(str, ("N", *targets.shape)))
    return f"{'floats' if targets.mean else 'integers'} [{shape}]"


def figures(
    model: models.Model, images: Any, targets: Any, split: str, most: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Returns what result.json holds of a split, and the numbers of its worst examples.

    Args:
      model: the model.
      images: its inputs [N, ...].
      targets: their targets.
      split: name of the split.
      most: number of worst examples, those of the largest loss.

    Returns:
      (``test_METRIC`` of every metric of the task, ``images``, ``outputs``, with the
      metrics of each number of a target where there are several, and ``worst``;
      i64[most]).
    """
    outputs = np.concatenate([model.logits(part) for part in source.parts(images)])
    task = model.task
    losses = np.asarray(task.loss(outputs, targets))
    order = np.argsort(-losses, kind="stable")[:most]
    answers = model_lib.answers(task, outputs)
    shown = next(iter(answers.values()))
    worst = [
        {
            "image": int(i),
            "true": _text(jax.tree.map(lambda y, i=i: y[i], targets)),
            "predicted": _text(shown[i]),
            "loss": numbers.figure(float(losses[i])),
        }
        for i in order
    ]
    found = {
        f"{split}_{name}": v for name, v in _metrics(task, outputs, targets).items()
    }
    found |= {"images": len(outputs), "worst": worst, "notes": []}
    each = _each(model, outputs, targets)
    return found | ({"outputs": each} if each else {}), order


def _metrics(task: data_lib.Task, outputs, targets) -> dict[str, float]:
    found = {}
    for name in task.metrics:
        metric = task.metric(name)
        value = metric.over(metric.each(outputs, targets))
        found[name] = numbers.figure(float(value))
    return found


def _each(model, outputs, targets) -> list[dict[str, Any]]:
    """Returns the figures of each number of a target, where it has its own output."""
    about, name = model.learned.targets, model.learned.name
    if len(about.shape) != 1 or about.size < 2 or name not in _BY_NUMBER:
        return []
    rows = []
    for k in range(about.size):
        own = task_lib.Targets(
            0,
            (1,),
            *(one[k : k + 1] for one in (about.mean, about.std)),
            *(about.low, about.high, about.whole),
        )
        task, part = task_lookup.build(name, own), slice(k, k + 1)
        label = about.names[k] if about.names else str(k)
        found = _metrics(task, outputs[:, part], targets[:, part])
        if (targets[:, k] == targets[0, k]).all():  # neither order nor deviation
            found[task.signal] = None
        rows.append({"output": label, **found})
    return rows


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(one)}" for name, one in value.items())
    flat = np.asarray(value, np.float64).reshape(-1)
    shown = " ".join(f"{one:.{4 if abs(one) < 1e4 else 8}g}" for one in flat[:12])
    return shown + (" ..." if len(flat) > 12 else "")


def text(result: Mapping[str, Any], split: str) -> list[str]:
    """Returns the lines that a user reads, from the result alone.

    Args:
      result: content of result.json.
      split: name of the split.
    """
    start = f"{split}_"
    said = [
        f"{name.replace('_', ' ')} {numbers.words(value)}"
        for name, value in result.items()
        if name.startswith(start)
    ]
    lines = [f"{', '.join(said)} of {result['images']} examples"]
    rows = result.get("outputs")
    if rows:
        header, values = tuple(rows[0]), [list(one.values()) for one in rows]
        lines.append(report.markdown(report.Table(header, values)))
    return lines
