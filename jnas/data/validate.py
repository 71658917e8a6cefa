"""Rejects invalid data before anything is compiled; JAX would train on it silently."""

import numpy as np

from jnas.data import dataset as dataset_lib

MAX_LABEL = 99_999


def validate(
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    *,
    name: str,
    flip: bool = True,
) -> dataset_lib.Dataset:
    """Checks arrays and builds a data set of them.

    Args:
      x_train: uint8 or f32 [N, H, W, C] or [N, H, W].
      y_train: integers [N], from 0, every class present.
      x_test: like x_train, with images of the same shape and type.
      y_test: like y_train, with classes of the training split only.
      name: name of the data set in error messages, such as where it came from.
      flip: whether a horizontal flip keeps the label.

    Returns:
      The data set; [N, H, W] becomes [N, H, W, 1], labels become i32.

    Raises:
      ValueError: one line with the array, the index, the value and the rule.
    """
    images = {"x_train": x_train, "x_test": x_test}
    images = {k: _images(f"{k} of {name}", v) for k, v in images.items()}
    train, test = images.values()
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise ValueError(
            f"x_test of {name} must match x_train, {train.dtype} {train.shape[1:]}, "
            f"got {test.dtype} {test.shape[1:]}. Convert one of them."
        )
    y_train = _labels(f"y_train of {name}", y_train, len(train))
    y_test = _labels(f"y_test of {name}", y_test, len(test))
    num_classes = int(y_train.max()) + 1
    counts = np.bincount(y_train, minlength=num_classes)
    if not counts.all():
        empty = int(np.flatnonzero(counts == 0)[0])
        raise ValueError(
            f"y_train of {name} must hold every class from 0 to {num_classes - 1}, got "
            f"none of class {empty}. Number the classes without gaps."
        )
    if num_classes < 2:
        raise ValueError(
            f"y_train of {name} must hold at least 2 classes, got 1. Add another."
        )
    if y_test.max() >= num_classes:
        bad = int(np.flatnonzero(y_test >= num_classes)[0])
        raise ValueError(
            f"y_test of {name} must be in [0, {num_classes}), the training split's "
            f"classes, got {y_test[bad]} at index {bad}. Correct the label."
        )
    return dataset_lib.Dataset(
        name, train, y_train, test, y_test, num_classes=num_classes, flip=flip
    )


def _images(name: str, x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"{name} must be uint8 or float32, got {x.dtype}. Convert with astype."
        )
    if x.ndim not in (3, 4):
        raise ValueError(
            f"{name} must be [N, H, W, C] or [N, H, W], got shape {x.shape}. "
            "Reshape it."
        )
    if not x.size:
        raise ValueError(
            f"{name} must hold at least one image and pixel, got shape {x.shape}. "
            "Add images."
        )
    finite = np.isfinite(x).reshape(len(x), -1).all(1)
    if not finite.all():
        bad = int(np.flatnonzero(~finite)[0])
        values = x[bad][~np.isfinite(x[bad])]
        raise ValueError(
            f"{name} must be finite, got {values[0]} in image {bad}. Remove the image."
        )
    return x[..., None] if x.ndim == 3 else x


def _labels(name: str, y: np.ndarray, num_images: int) -> np.ndarray:
    y = np.asarray(y)
    if not np.issubdtype(y.dtype, np.integer) or y.ndim != 1:
        raise ValueError(
            f"{name} must be integers [N], got {y.dtype} of shape {y.shape}. "
            "Use integer class numbers from 0."
        )
    if len(y) != num_images:
        raise ValueError(
            f"{name} must have one label for each of {num_images} images, got {len(y)}."
            " Add or remove labels."
        )
    wrong = (y < 0) | (y > MAX_LABEL)
    if wrong.any():
        bad = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{name} must be class numbers from 0 to {MAX_LABEL}, got {y[bad]} at "
            f"index {bad}. Correct the label."
        )
    return y.astype(np.int32)
