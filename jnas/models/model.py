"""A trained network with all that it needs to answer for a user's images."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jnas import data as data_lib
from jnas import types
from jnas.models import architecture as architecture_lib
from jnas.models import learned as learned_lib
from jnas.models import preprocessing as preprocessing_lib
from jnas.training import placement

BATCH = 128


class Prediction(NamedTuple):
    """Classes of images.

    Attributes:
      classes: i32[N], the most probable class of each image.
      names: its name; the number as text where the model knows no names.
      probabilities: f32[N, K], a softmax of the logits.
    """

    classes: np.ndarray
    names: tuple[str, ...]
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A trained network: images in, classes out; ``models.load`` reads one.

    Of other tasks than classification the answers are those of the task, and of other
    inputs than images all that is said of them holds of their own shape.

    Attributes:
      architecture: its network.
      params: the network's parameters, without an auxiliary head's.
      stats: its running statistics.
      preprocessing: what turns raw images into the network's input.
      class_names: name of each class, by number, or of each number of a target; empty
        if they are unknown.
      figures: results of its training, such as ``test_accuracy``; JSON values.
      versions: of the programs that trained it.
      learned: its task.

    Raises:
      ValueError: classes, channels or names of classes that do not fit.
    """

    architecture: architecture_lib.Architecture
    params: types.Params = dataclasses.field(repr=False)
    stats: types.Params = dataclasses.field(repr=False)
    preprocessing: preprocessing_lib.Preprocessing
    class_names: tuple[str, ...] = ()
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    learned: learned_lib.Learned = learned_lib.Learned()

    def __post_init__(self):
        """Checks that the parts fit."""
        wanted, found = self.num_classes, len(self.class_names)
        if found not in (0, wanted) and self.classifies:
            raise ValueError(
                f"class_names must name each of the network's {wanted} classes, got "
                f"{found} names. Add or remove names."
            )
        outputs = self.task.num_outputs
        if not self.classifies and outputs != wanted:
            raise ValueError(
                f"task {self.learned.name} must have the network's {wanted} outputs, "
                f"got {outputs}. Restore the file, or the plug-in."
            )
        channels = self.architecture.channels
        if self.preprocessing.image_shape[-1] != channels:
            raise ValueError(
                f"preprocessing.image_shape must have the network's {channels} "
                f"channels, got {self.preprocessing.image_shape}. Correct one of them."
            )

    @property
    def num_classes(self) -> int:
        """K, the number of classes, or of outputs."""
        return self.architecture.num_classes

    def name_of(self, label: int) -> str:
        """Returns the name of a class, or its number as text.

        Args:
          label: from 0.
        """
        return self.class_names[label] if self.class_names else str(label)

    def function(self) -> Callable[[types.Array], types.Array]:
        """Returns the model as a pure function with its weights closed over.

        Returns:
          Raw pixels f32[B, H, W, C] of ``preprocessing.image_shape``, in the data set's
          own unit (0 to 255 where it is uint8) -> logits f32[B, K]. It normalises
          inside; operations that draw random numbers always draw the same. Of another
          task than classification it gives the first of its answers, such as the
          numbers in their own unit, as f32.
        """
        return functools.partial(self._answered, self.params, self.stats)

    def logits(self, images: Any, *, batch_size: int = BATCH) -> np.ndarray:
        """Computes the outputs of the network.

        Args:
          images: one image [H, W, C] (or [H, W] of one channel), or several
            [N, H, W, C]; see ``Preprocessing.check``.
          batch_size: largest number of images computed at a time.

        Returns:
          f32[N, K]; N is 1 for one image.

        Raises:
          ValueError: images of another shape, or of another range of values.
          TypeError: images of another type.
        """
        images = self.preprocessing.check(images)
        if batch_size < 1:
            raise ValueError(
                f"batch_size must be at least 1, got {batch_size}. Raise it."
            )
        if not len(images):
            return np.zeros((0, self.num_classes), np.float32)
        # a power of two, so that sets of many sizes share few compiled programs
        batch_size = min(batch_size, 1 << (len(images) - 1).bit_length())
        found = []
        for begin in range(0, len(images), batch_size):
            batch = images[begin : begin + batch_size].astype(np.float32)
            missing = batch_size - len(batch)
            batch = np.pad(batch, ((0, missing), *[(0, 0)] * (batch.ndim - 1)))
            logits = np.asarray(self._compiled(self.params, self.stats, batch))
            found.append(logits[: batch_size - missing])
        return np.concatenate(found)

    @property
    def task(self) -> data_lib.Task:
        """What it has learned."""
        return self.learned.task

    @property
    def classifies(self) -> bool:
        """Whether its answers are classes."""
        return self.learned.name == learned_lib.CLASSIFICATION

    def predict(
        self, images: Any, *, batch_size: int = BATCH
    ) -> "Prediction | dict[str, np.ndarray]":
        """Classifies images, or gives the answers of another task.

        Args:
          images: as in ``logits``.
          batch_size: largest number of images computed at a time.

        Returns:
          The classes; of another task its answers by name, such as ``value`` [N] of
          numbers, ``labels`` bool[N, K] and ``probability`` f32[N, K] of labels, or
          ``outputs`` f32[N, K] where the task says nothing.

        Raises:
          ValueError: images of another shape, or of another range of values.
          TypeError: images of another type.
        """
        logits = self.logits(images, batch_size=batch_size)
        if self.classifies:
            return classified(logits, self.class_names)
        return answers(self.task, logits)

    def _apply(self, params, stats, pixels):
        network = self.architecture.network
        x = self.learned.prepared(placement.split(pixels), self.preprocessing)
        key = jax.random.key(0) if self._draws else None
        (outputs, _), _ = network.apply(params, stats, x, train=False, key=key)
        return outputs.astype(jnp.float32)

    def _answered(self, params, stats, pixels):
        outputs = self._apply(params, stats, pixels)
        if self.classifies or self.task.answer is None:
            return outputs
        first = next(iter(self.task.answer(outputs).values()))
        return first.astype(jnp.float32)

    @functools.cached_property
    def _compiled(self) -> Callable:
        return placement.jit(self._apply)

    @functools.cached_property
    def _draws(self) -> bool:
        """Whether an operation draws random numbers: without a key it is refused."""
        apply = functools.partial(self.architecture.network.apply, train=False)
        image = jax.ShapeDtypeStruct((1, *self.preprocessing.image_shape), jnp.float32)
        try:
            jax.eval_shape(apply, self.params, self.stats, image)
        except ValueError:
            return True
        return False


def answers(task: data_lib.Task, outputs: np.ndarray) -> dict[str, np.ndarray]:
    """Returns what a task tells of outputs, by name.

    Args:
      task: the task.
      outputs: f32[N, K].
    """
    found = {"outputs": outputs} if task.answer is None else task.answer(outputs)
    return {name: np.asarray(one) for name, one in found.items()}


def classified(logits: np.ndarray, class_names: tuple[str, ...]) -> Prediction:
    """Returns the classes of logits.

    Args:
      logits: f32[N, K].
      class_names: name of each class, by number, or of each number of a target; empty
        if they are unknown.
    """
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(-1, keepdims=True))
    probabilities = (powers / powers.sum(-1, keepdims=True)).astype(np.float32)
    classes = logits.argmax(-1).astype(np.int32)
    names = tuple(class_names[k] if class_names else str(k) for k in classes.tolist())
    return Prediction(classes, names, probabilities)
