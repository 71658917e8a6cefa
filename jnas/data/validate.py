"""Rejects invalid data before anything is compiled; JAX would train on it silently."""

import math
from collections.abc import Sequence

import numpy as np

from jnas.data import dataset as dataset_lib
from jnas.data import facts, layouts, source

MAX_LABEL = 99_999


def validate(
    x_train: source.Source,
    y_train: np.ndarray,
    x_test: source.Source,
    y_test: np.ndarray,
    *,
    name: str,
    flip: bool | None = None,
    class_names: Sequence[str] = (),
    notes: Sequence[str] = (),
    identity: str | None = None,
) -> dataset_lib.Dataset:
    """Checks arrays and builds a data set of them.

    Args:
      x_train: uint8 or f32 [N, H, W, C] or [N, H, W].
      y_train: integers [N], from 0, every class present.
      x_test: like x_train, with images of the same shape and type.
      y_test: like y_train, with classes of the training split only.
      name: name of the data set in error messages, such as where it came from.
      flip: whether a horizontal flip keeps the label; None if that is unknown.
      class_names: name of each class, by label; empty if they are unknown.
      notes: sentences about what was read; one about ambiguous axes is added.
      identity: text that differs where files that are read lazily do.

    Returns:
      The data set; [N, H, W] becomes [N, H, W, 1], labels become i32.

    Raises:
      ValueError: one line with the array, the index, the value and the rule.
    """
    notes = tuple(notes)
    images = {"x_train": (x_train, y_train), "x_test": (x_test, y_test)}
    for key, (x, y) in images.items():
        images[key], note = _images(f"{key} of {name}", x, y)
        notes += (note,) if note and key == "x_train" else ()
    train, test = images.values()
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise ValueError(
            f"x_test of {name} must match x_train, {train.dtype} {train.shape[1:]}, "
            f"got {test.dtype} {test.shape[1:]}. Convert one of them."
        )
    y_train = _labels(f"y_train of {name}", y_train, len(train))
    y_test = _labels(f"y_test of {name}", y_test, len(test))
    class_names = tuple(map(str, class_names))
    num_classes = _classes(name, y_train, y_test, class_names)
    if dataset_lib.all_equal(train):
        raise ValueError(
            f"x_train of {name} must hold images that differ, got {len(train)} equal "
            "ones. Check how the file was written."
        )
    made = dataset_lib.Dataset(
        name,
        train,
        y_train,
        test,
        y_test,
        num_classes,
        flip=flip,
        class_names=class_names,
        notes=notes,
    )
    if identity is not None:
        made = made.on_disk(identity)
    if source.is_lazy(train) or source.is_lazy(test):
        _ = made.facts  # reads all images once, and refuses values that are invalid
    return made


def _classes(
    name: str, y_train: np.ndarray, y_test: np.ndarray, names: tuple[str, ...]
) -> int:
    """Returns the number of classes, of which each must have a training image."""
    num_classes = int(y_train.max()) + 1
    if names and len(names) < num_classes:
        raise ValueError(
            f"class_names of {name} must name each of {num_classes} classes, got "
            f"{len(names)} names. Add or remove names."
        )
    num_classes = max(num_classes, len(names))
    counts = np.bincount(y_train, minlength=num_classes)
    if not counts.all():
        empty = int(np.flatnonzero(counts == 0)[0])
        text = dataset_lib.class_text(empty, names)
        what = "Remove its name, or add images."
        raise ValueError(
            f"y_train of {name} must hold every class from 0 to {num_classes - 1}, got "
            f"none of class {text}. "
            f"{what if names else 'Number the classes without gaps.'}"
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
    return num_classes


def _images(name: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Returns images [N, H, W, C], and a note about axes that could mean two things."""
    x = x if source.is_lazy(x) else np.asarray(x)
    if x.dtype not in (np.uint8, np.float32):
        what = (
            "Write x.astype(np.float32)." if x.dtype.kind in "biuf" else "Convert it."
        )
        raise ValueError(f"{name} must be uint8 or float32, got {x.dtype}. {what}")
    if x.ndim not in (3, 4):
        raise ValueError(
            f"{name} must be [N, H, W, C] or [N, H, W], got shape {x.shape}. "
            f"{_reshaped(x.shape)}"
        )
    if not math.prod(x.shape):
        raise ValueError(
            f"{name} must hold at least one image and pixel, got shape {x.shape}. "
            "Add images."
        )
    note = layouts.check(name, x.shape, len(y) if np.ndim(y) == 1 else None)
    if x.dtype == np.float32 and not source.is_lazy(x):
        facts.check_values(name, x)
    return (_with_channel(x) if x.ndim == 3 else x), note


def _with_channel(x: source.Source) -> source.Source:
    """Returns grey images with an axis of one channel."""
    if isinstance(x, source.Read):
        return source.mapped(lambda some: some[..., None], x, (*x.shape[1:], 1))
    return x[..., None]


def _reshaped(shape: tuple[int, ...]) -> str:
    """Returns what to write for images that were flattened."""
    if len(shape) != 2:
        return "Reshape it."
    for channels in (1, 3):
        side = math.isqrt(shape[1] // channels)
        if channels * side**2 == shape[1] and side > 1:
            planes = "" if channels == 1 else f"{channels}, "
            turn = "" if channels == 1 else ".transpose(0, 2, 3, 1)"
            return (
                f"Write x.reshape(-1, {planes}{side}, {side}){turn}, or "
                "x[:, None, :, None] for series."
            )
    return "Write x[:, None, :, None] for series, or reshape it."


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
