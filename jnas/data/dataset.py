"""Dataset: inputs and targets, such as images and labels, in two splits."""

import dataclasses
import functools
from typing import Any

import numpy as np

from jnas import types
from jnas.data import batches, source, task_lookup
from jnas.data import facts as facts_lib
from jnas.data import moments as moments_lib
from jnas.data import task as task_lib

IMAGES, SERIES, VECTORS, ARRAYS = "images", "series", "vectors", "arrays"
INPUTS = (IMAGES, SERIES, VECTORS, ARRAYS)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Inputs and targets of a task, in a training and a test split.

    Attributes:
      name: the name by which the data set was loaded.
      x_train: images, uint8 or f32 [N, H, W, C]: an array, or a source that reads
        images when they are needed (``data.Read``). Or other inputs, see ``inputs``.
      y_train: i32[N], from 0, of classes; else f32 [N, ...], or a dict of arrays.
      x_test: inputs of the test split, evaluated once, at the end.
      y_test: targets of the test split.
      num_classes: 1 + the largest training label; 0 of targets that are no classes.
      flip: whether a horizontal flip keeps the label; None if that is unknown.
      class_names: name of each class, by label; empty if they are unknown.
      notes: sentences about what was read, left out or changed, one a line.
      task_name: key in ``registry.TASKS``.
      inputs: "images" [N, H, W, C], "series" [N, L, C], "vectors" [N, F], or "arrays",
        a dict of arrays [N, ...].
      identity: text that differs where the files of lazy images do, as ``on_disk``
        sets it; None of images in memory, and of a data set that was changed.
    """

    name: str
    x_train: source.Source
    y_train: Any
    x_test: source.Source
    y_test: Any
    num_classes: int = 0
    flip: bool | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    task_name: str = "classification"
    inputs: str = IMAGES
    identity: str | None = dataclasses.field(default=None, init=False, repr=False)

    @property
    def image_shape(self) -> Any:
        """Rows, columns and channels of one image; the shape of another input.

        Of several arrays it is a dict of their shapes, ``types.Whole`` of integers.
        """
        if isinstance(self.x_train, dict):
            return {
                name: (types.Whole if x.dtype == np.int32 else tuple)(x.shape[1:])
                for name, x in self.x_train.items()
            }
        return tuple(self.x_train.shape[1:])

    @functools.cached_property
    def targets(self) -> task_lib.Targets:
        """What a task is built from."""
        return task_lib.describe(self.y_train, self.class_names, self.num_classes)

    @functools.cached_property
    def task(self) -> task_lib.Task:
        """What is learned."""
        return task_lookup.build(self.task_name, self.targets)

    @property
    def num_outputs(self) -> int:
        """Number of outputs of a network: of classes, their number."""
        return self.task.num_outputs

    def as_task(self, name: str | None) -> "Dataset":
        """Returns the data set with another task.

        Args:
          name: key in ``registry.TASKS``; None leaves it.

        Raises:
          KeyError: a task that is not registered; the nearest is guessed.
          ValueError: a task that does not fit the targets.
        """
        if name in (None, self.task_name):
            return self
        made = dataclasses.replace(self, task_name=name)
        task_lookup.check_loss(name, made.task, made.y_train)
        return made if self.identity is None else made.on_disk(self.identity)

    def on_disk(self, identity: str) -> "Dataset":
        """Returns the data set with facts that are kept between processes.

        Args:
          identity: text that differs where the facts may.
        """
        made = dataclasses.replace(self)
        object.__setattr__(made, "identity", identity)
        return made

    @functools.cached_property
    def facts(self) -> facts_lib.Facts:
        """What one pass over all images finds, kept where they are on disk."""

        def gather():
            return facts_lib.gather(*self.arrays, name=self.name)

        if self.identity is None:
            return gather()
        digest, moments, *ends = facts_lib.kept(self.identity, gather)
        moments = moments_lib.Moments(*map(tuple, moments))
        return facts_lib.Facts(digest, moments, *ends)

    @property
    def arrays(self) -> tuple:
        """(x_train, y_train, x_test, y_test)."""
        return self.x_train, self.y_train, self.x_test, self.y_test

    @property
    def digest(self) -> str:
        """SHA-256 over the arrays' names, shapes, types and bytes, in hex."""
        return self.facts.digest

    @property
    def moments(self) -> moments_lib.Moments:
        """Mean, deviation and padding value of each channel of the training split."""
        return self.facts.moments

    @property
    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel of the training split.

        uint8 is divided by 255 first, float32 is used as it is; the standard deviation
        of a channel that is constant within rounding is exactly 1.
        """
        return self.moments.mean, self.moments.std

    def summary(self) -> dict[str, Any]:
        """Describes the data set in JSON values; the pixels are left out."""
        shape = self.image_shape
        return {
            "name": self.name,
            "task": self.task_name,
            "signal": self.task.signal,
            "num_train": batches.count(self.y_train),
            "num_test": batches.count(self.y_test),
            "image_shape": shape if isinstance(shape, dict) else list(shape),
            "inputs": self.inputs,
            "num_outputs": self.num_outputs,
            "num_classes": self.num_classes,
            "class_names": list(self.class_names),
            "flip": self.flip,
        }


def class_text(label: int, names: tuple[str, ...]) -> str:
    """Returns what messages call a class: its name where it has one, or its number.

    Args:
      label: from 0.
      names: of the classes; may be empty.
    """
    return repr(names[label]) if label < len(names) else str(label)


def all_equal(images: source.Source) -> bool:
    """Returns whether all images are the same, so that nothing can be learned.

    Args:
      images: [N, ...], at least one.
    """
    first = images[0]
    return all((part == first).all() for part in source.parts(images))


def shrink(dataset: Dataset, factor: int) -> Dataset:
    """Returns the data set with images downscaled by a factor (average pooling).

    Args:
      dataset: the data set.
      factor: integer factor of rows and columns; 1 changes nothing.

    Raises:
      ValueError: factor is below 1, does not divide the image's rows and columns, or
        makes all training images equal.
    """
    if factor == 1:
        return dataset
    if dataset.inputs != IMAGES:
        raise ValueError(
            f"shrink must be 1 for {dataset.inputs}, which are no images, got "
            f"{factor}. Leave it out."
        )
    rows, columns, _ = dataset.image_shape
    if factor < 1 or rows % factor or columns % factor:
        raise ValueError(
            f"shrink must divide the image's {rows}x{columns} pixels, got {factor}. "
            "Choose another factor."
        )
    small = _smaller(dataset.x_train, factor)
    if all_equal(small):
        raise ValueError(
            f"shrink must leave training images that differ, got {factor}, which makes "
            f"all of {dataset.name} equal. Choose a smaller factor."
        )
    made = dataclasses.replace(
        dataset, x_train=small, x_test=_smaller(dataset.x_test, factor)
    )
    identity = dataset.identity
    return made if identity is None else made.on_disk(f"{identity} shrink={factor}")


def _smaller(images: source.Source, factor: int) -> source.Source:
    if not source.is_lazy(images):
        return downscale(images, factor)
    _, rows, columns, channels = images.shape
    shape = (rows // factor, columns // factor, channels)
    return source.mapped(lambda some: downscale(some, factor), images, shape)


def downscale(images: np.ndarray, factor: int) -> np.ndarray:
    """Returns images downscaled by a factor (average pooling).

    Args:
      images: uint8 or f32 [N, H, W, C]; means of uint8 are rounded to the nearest.
      factor: integer factor that divides H and W.

    Returns:
      [N, H / factor, W / factor, C] of the same type.
    """
    images = np.ascontiguousarray(images)  # a mean follows the order in memory
    count, rows, columns, channels = images.shape
    shape = (count, rows // factor, factor, columns // factor, factor, channels)
    means = images.reshape(shape).mean((2, 4))
    rounded = np.round(means) if images.dtype == np.uint8 else means
    return rounded.astype(images.dtype)
