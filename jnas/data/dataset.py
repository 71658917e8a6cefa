"""Dataset: images and labels in memory, in a training and a test split."""

import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np

from jnas.data import moments as moments_lib


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels of a classification task, in a training and a test split.

    Attributes:
      name: the name by which the data set was loaded.
      x_train: uint8 or f32 [N, H, W, C].
      y_train: i32[N], from 0.
      x_test: images of the test split, evaluated once, at the end.
      y_test: labels of the test split.
      num_classes: 1 + the largest training label.
      flip: whether a horizontal flip keeps the label; None if that is unknown.
      class_names: name of each class, by label; empty if they are unknown.
      notes: sentences about what was read, left out or changed, one a line.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    num_classes: int
    flip: bool | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Rows, columns and channels of one image."""
        return self.x_train.shape[1:]

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over the arrays' names, shapes, types and bytes, in hex."""
        sha = hashlib.sha256()
        for name in ("x_train", "y_train", "x_test", "y_test"):
            array = np.ascontiguousarray(getattr(self, name))
            sha.update(f"{name} {array.shape} {array.dtype.str}".encode())
            sha.update(array.tobytes())
        return sha.hexdigest()

    @functools.cached_property
    def moments(self) -> moments_lib.Moments:
        """Mean, deviation and padding value of each channel of the training split."""
        return moments_lib.moments(self.x_train)

    @property
    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel of the training split.

        uint8 is divided by 255 first, float32 is used as it is; the standard deviation
        of a channel that is constant within rounding is exactly 1.
        """
        return self.moments.mean, self.moments.std

    def summary(self) -> dict[str, Any]:
        """Describes the data set in JSON values; the pixels are left out."""
        return {
            "name": self.name,
            "num_train": len(self.y_train),
            "num_test": len(self.y_test),
            "image_shape": list(self.image_shape),
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


def all_equal(images: np.ndarray) -> bool:
    """Returns whether all images are the same, so that nothing can be learned.

    Args:
      images: [N, ...], at least one.
    """
    return all((one == images[0]).all() for one in images[1:])


def shrink(dataset: Dataset, factor: int) -> Dataset:
    """Returns the data set with images downscaled by a factor (average pooling).

    Args:
      dataset: the data set.
      factor: integer factor of rows and columns; 1 changes nothing.

    Raises:
      ValueError: factor is below 1, does not divide the image's rows and columns, or
        makes all training images equal.
    """
    rows, columns, _ = dataset.image_shape
    if factor < 1 or rows % factor or columns % factor:
        raise ValueError(
            f"shrink must divide the image's {rows}x{columns} pixels, got {factor}. "
            "Choose another factor."
        )
    if factor == 1:
        return dataset
    small = downscale(dataset.x_train, factor)
    if all_equal(small):
        raise ValueError(
            f"shrink must leave training images that differ, got {factor}, which makes "
            f"all of {dataset.name} equal. Choose a smaller factor."
        )
    return dataclasses.replace(
        dataset, x_train=small, x_test=downscale(dataset.x_test, factor)
    )


def downscale(images: np.ndarray, factor: int) -> np.ndarray:
    """Returns images downscaled by a factor (average pooling).

    Args:
      images: uint8 or f32 [N, H, W, C]; means of uint8 are rounded to the nearest.
      factor: integer factor that divides H and W.

    Returns:
      [N, H / factor, W / factor, C] of the same type.
    """
    count, rows, columns, channels = images.shape
    shape = (count, rows // factor, factor, columns // factor, factor, channels)
    means = images.reshape(shape).mean((2, 4))
    rounded = np.round(means) if images.dtype == np.uint8 else means
    return rounded.astype(images.dtype)
