"""Dataset: images and labels in memory, in a training and a test split."""

import dataclasses
import functools
import hashlib

import numpy as np


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
      flip: whether a horizontal flip keeps the label.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    num_classes: int
    flip: bool = True

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
    def mean_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel of the training split.

        uint8 is divided by 255 first, float32 is used as it is; the standard deviation
        of a constant channel is replaced by 1.
        """
        scale = 255.0 if self.x_train.dtype == np.uint8 else 1.0
        x = self.x_train.reshape(-1, self.image_shape[-1]).astype(np.float64) / scale
        deviation = x.std(0)
        deviation = np.where(deviation > 0, deviation, 1.0)
        return tuple(map(float, x.mean(0))), tuple(map(float, deviation))


def shrink(dataset: Dataset, factor: int) -> Dataset:
    """Returns the data set with images downscaled by a factor (average pooling).

    Args:
      dataset: the data set.
      factor: integer factor of rows and columns; 1 changes nothing.

    Raises:
      ValueError: factor is below 1 or does not divide the image's rows and columns.
    """
    rows, columns, channels = dataset.image_shape
    if factor < 1 or rows % factor or columns % factor:
        raise ValueError(
            f"shrink must divide the image's {rows}x{columns} pixels, got {factor}. "
            "Choose another factor."
        )
    if factor == 1:
        return dataset

    def smaller(x):
        shape = (len(x), rows // factor, factor, columns // factor, factor, channels)
        means = x.reshape(shape).mean((2, 4))
        rounded = np.round(means) if x.dtype == np.uint8 else means
        return rounded.astype(x.dtype)

    return dataclasses.replace(
        dataset, x_train=smaller(dataset.x_train), x_test=smaller(dataset.x_test)
    )
