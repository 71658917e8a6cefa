"""Rejects invalid data before anything is compiled; JAX would train on it silently."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jnas.data import batches, facts, layouts, others, source, task_lookup
from jnas.data import dataset as dataset_lib
from jnas.data import task as task_lib

MAX_LABEL = 99_999


def validate(
    x_train: Any,
    y_train: Any,
    x_test: Any,
    y_test: Any,
    *,
    name: str,
    flip: bool | None = None,
    class_names: Sequence[str] = (),
    notes: Sequence[str] = (),
    identity: str | None = None,
    task: str = "classification",
    inputs: str = dataset_lib.IMAGES,
) -> dataset_lib.Dataset:
    """Checks arrays and builds a data set of them.

    Args:
      x_train: uint8 or f32 [N, H, W, C] or [N, H, W]; or what ``inputs`` says.
      y_train: integers [N], from 0, every class present; or targets of the task.
      x_test: like x_train, with images of the same shape and type.
      y_test: like y_train, with classes of the training split only.
      name: name of the data set in error messages, such as where it came from.
      flip: whether a horizontal flip keeps the label; None if that is unknown.
      class_names: name of each class, by label, or of each number of a target; empty if
        they are unknown.
      notes: sentences about what was read; one about ambiguous axes is added.
      identity: text that differs where files that are read lazily do.
      task: key in ``registry.TASKS``.
      inputs: one of ``dataset.INPUTS``; a dict of arrays is "arrays" in any case.

    Returns:
      The data set; [N, H, W] becomes [N, H, W, 1], labels become i32, other targets
      f32.

    Raises:
      KeyError: a task that is not registered; the nearest is guessed.
      ValueError: one line with the array, the index, the value and the rule.
    """
    task_lookup.reads(task)  # raises, before arrays are read
    if inputs not in dataset_lib.INPUTS:
        raise ValueError(
            f"inputs must be one of {', '.join(dataset_lib.INPUTS)}, got {inputs!r}. "
            "Use one."
        )
    notes, kind = tuple(notes), inputs
    if isinstance(x_train, Mapping):
        if inputs not in (dataset_lib.IMAGES, dataset_lib.ARRAYS):
            raise ValueError(
                f"inputs must be arrays for {name}, which holds x_train/NAME, got "
                f"{inputs!r}. Leave it out."
            )
        kind = dataset_lib.ARRAYS
    found = {"x_train": (x_train, y_train), "x_test": (x_test, y_test)}
    for key, (x, y) in found.items():
        if kind == dataset_lib.IMAGES:
            found[key], note = _images(f"{key} of {name}", x, y)
        else:
            found[key], note = others.inputs(f"{key} of {name}", x, kind=kind)
        notes += (note,) if note and key == "x_train" else ()
    train, test = found.values()
    others.check_alike(name, train, test, "x")
    pair = (y_train, batches.count(train)), (y_test, batches.count(test))
    y_train, y_test, num_classes, class_names, note = _targets(
        name, task, *pair, tuple(map(str, class_names))
    )
    notes += note
    for key, tree, what in (
        ("x_train", train, "images" if kind == dataset_lib.IMAGES else "inputs"),
        ("y_train", y_train, "targets"),
    ):
        if others.all_equal(tree):
            raise ValueError(
                f"{key} of {name} must hold {what} that differ, got "
                f"{batches.count(tree)} equal ones. Check how the file was written."
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
        task_name=task,
        inputs=kind,
    )
    _check_task(made)
    if identity is not None:
        made = made.on_disk(identity)
    if kind != dataset_lib.ARRAYS and (source.is_lazy(train) or source.is_lazy(test)):
        _ = made.facts  # reads all images once, and refuses values that are invalid
    return made


def _targets(
    name: str,
    task: str,
    train: tuple[Any, int],
    test: tuple[Any, int],
    names: tuple[str, ...],
) -> tuple:
    """Reads targets as their task does.

    Args:
      name: name of the data set.
      task: key in ``registry.TASKS``.
      train: (targets, number of examples) of the training split.
      test: of the test split.
      names: of the classes, or of the numbers of a target.

    Returns:
      (y_train, y_test, number of classes or 0, names, notes).
    """
    reads, (y_train, y_test) = task_lookup.reads(task), (train[0], test[0])
    found = (f"y_train of {name}", *train), (f"y_test of {name}", *test)
    if reads == task_lib.CLASSES or (not reads and _are_labels(y_train)):
        other = "use --task=regression for numbers"
        if not reads:
            other = f'set {task}.reads = "floats" for numbers'
        y_train, y_test = (_labels(*one) for one in found)
        return y_train, y_test, _classes(name, y_train, y_test, names, other), names, ()
    notes = ()
    if len(names) > 1 and _are_labels(y_train):
        names = ()
        notes = ("class numbers are read as numbers, without the classes' names",)
    y_train, y_test = (others.targets(*one) for one in found)
    others.check_alike(name, y_train, y_test, "y")
    return y_train, y_test, 0, names, notes


def _are_labels(y: Any) -> bool:
    """Returns whether targets are class numbers: integers [N]."""
    if isinstance(y, Mapping):
        return False
    y = np.asarray(y)
    return y.ndim == 1 and y.dtype.kind in "iu"


def _check_task(dataset: dataset_lib.Dataset) -> None:
    """Refuses targets that do not fit their task, and names of other numbers."""
    task_lookup.check_loss(dataset.task_name, dataset.task, dataset.y_train)
    size = dataset.targets.size
    if dataset.num_classes or isinstance(dataset.y_train, dict):
        return
    test = task_lib.describe(dataset.y_test, dataset.class_names)
    try:
        task_lookup.build(dataset.task_name, test)
    except ValueError as error:
        raise ValueError(f"y_test of {dataset.name}: {error}") from error
    if dataset.class_names and len(dataset.class_names) != size:
        raise ValueError(
            f"class_names of {dataset.name} must name each of the {size} numbers of a "
            f"target, got {len(dataset.class_names)} names. Add or remove names."
        )


def _classes(
    name: str,
    y_train: np.ndarray,
    y_test: np.ndarray,
    names: tuple[str, ...],
    other: str,
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
        todo = f"Number the classes without gaps, or {other}."
        if names:
            todo = "Remove its name, or add images."
        raise ValueError(
            f"y_train of {name} must hold every class from 0 to {num_classes - 1}, got "
            f"none of class {text}. {todo}"
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
    known = len(y) if not isinstance(y, Mapping) and np.ndim(y) else None
    note = layouts.check(name, x.shape, known)
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
                "x[:, None, :, None] for series, or use --inputs=vectors with a "
                "network of vectors."
            )
    return (
        "Write x[:, None, :, None] for series, use --inputs=vectors with a network of "
        "vectors, or reshape it."
    )


def _labels(name: str, y: np.ndarray, num_images: int) -> np.ndarray:
    y = np.asarray(y)
    if not np.issubdtype(y.dtype, np.integer) or y.ndim != 1:
        raise ValueError(
            f"{name} must be integers [N], got {y.dtype} of shape {y.shape}. "
            "Use integer class numbers from 0, or --task=regression or multilabel."
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
