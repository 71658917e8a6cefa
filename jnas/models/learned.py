"""What a saved network has learned: its task, and the targets that it is built from."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jnas import data as data_lib
from jnas import registry, types
from jnas.data import task as task_lib
from jnas.data import task_lookup
from jnas.models import preprocessing as preprocessing_lib

CLASSIFICATION = "classification"


@dataclasses.dataclass(frozen=True)
class Learned:
    """A task that can be written and read.

    Attributes:
      name: key in ``registry.TASKS``.
      targets: that it was built from; None of classes, of which nothing is needed.
    """

    name: str = CLASSIFICATION
    targets: data_lib.Targets | None = None

    @functools.cached_property
    def task(self) -> data_lib.Task:
        """The task."""
        if self.targets is None:
            return data_lib.CLASSIFICATION
        return task_lookup.build(self.name, self.targets)

    def prepared(
        self, pixels: types.Array, how: preprocessing_lib.Preprocessing
    ) -> types.Array:
        """Returns the network's input.

        Args:
          pixels: f32[B, ...], raw.
          how: normalises, where the task does not prepare inputs itself.
        """
        if self.task.prepare is None:
            return how.normalise(pixels)
        raw = pixels.astype(jnp.uint8) if how.unit == "uint8" else pixels
        return self.task.prepare(None, raw)

    def to_json(self) -> dict[str, Any]:
        """Returns the fields of the file, of which classes have one."""
        if self.targets is None:
            return {"task": self.name}
        return {"task": self.name, "targets": self.targets.to_json()}


def of_dataset(dataset: data_lib.Dataset) -> Learned:
    """Returns what networks learn on a data set.

    Args:
      dataset: the data set.
    """
    if dataset.task_name == CLASSIFICATION:
        return Learned()
    return Learned(dataset.task_name, dataset.targets)


def from_json(content: Mapping[str, Any]) -> Learned:
    """Reads the fields from JSON values, which may be foreign.

    Args:
      content: with "task" and, of other tasks than classification, "targets".

    Raises:
      ValueError: a task that is not registered, or targets that break their rules or
        do not fit the task.
    """
    name = content["task"]
    if name == CLASSIFICATION and content.get("targets") is None:
        return Learned()
    targets = task_lib.targets_from_json(content.get("targets"))
    if not isinstance(name, str) or name not in registry.TASKS:
        raise ValueError(
            f"task must be registered, as its file holds targets alone, got {name!r}. "
            "Name the file that registers it with --plugins."
        )
    made = Learned(name, targets)
    _ = made.task  # raises
    return made
