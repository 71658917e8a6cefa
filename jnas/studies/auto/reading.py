"""What ``auto`` checks and says of the data before it begins."""

import urllib.parse
from typing import NamedTuple

import numpy as np

from jnas import data as data_lib
from jnas.studies.auto import rules

FEWEST = 3  # training images of a class: fewer leave none in a fifth
UNEQUAL = 3.0  # ratio of class sizes above which it is said
_SHOWN = 12  # classes


class Read(NamedTuple):
    """A data set as it is used.

    Attributes:
      spec: as ``--data`` takes it, with the size of a folder's pictures.
      dataset: the images.
      notes: lines for the user.
    """

    spec: str
    dataset: data_lib.Dataset
    notes: tuple[str, ...]


def read(
    spec: str,
    shrink: int,
    *,
    minutes: float,
    device: str,
    task: str | None = None,
    inputs: str | None = None,
) -> Read:
    """Reads a data set; pictures of a folder get the size that a rule says.

    The size is chosen where the user gives none and the pictures differ in size or are
    larger.

    Args:
      spec: as ``--data`` takes it.
      shrink: integer factor of downscaling.
      minutes: of the whole.
      device: its kind.
      task: as for ``data.load``.
      inputs: as for ``data.load``.

    Raises:
      ValueError: the data cannot be read, are no images of classes, or are too few to
        be divided.
    """
    how = {"task": task, "inputs": inputs}
    query = spec.partition("?")[2]
    given = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    notes = ()
    if spec.startswith("folder:") and "size" not in given and shrink == 1:
        side = rules.side(minutes, device)
        sized = f"{spec}{'&' if query else '?'}size={side}"
        found, why = _one_size(spec, side, how)
        if found is None:
            found, spec = data_lib.load(sized, **how), sized
            notes = (f"pictures {why}: they are resized to {side}x{side} (?size=)",)
    else:
        found = data_lib.load(spec, **how)
    check(found)
    found = data_lib.shrink(found, shrink)
    return Read(spec, found, notes)


def _one_size(spec: str, side: int, how: dict) -> tuple[data_lib.Dataset | None, str]:
    """Reads a folder as it is, where its pictures have one size that is not larger."""
    try:
        found = data_lib.load(spec, **how)
    except ValueError as error:
        if not str(error).startswith("images must have one size"):
            raise
        return None, "have several sizes"
    if max(found.image_shape[:2]) <= side:
        return found, ""
    return None, f"have {found.image_shape[0]}x{found.image_shape[1]} pixels"


def check(dataset: data_lib.Dataset) -> None:
    """Refuses data that cannot be divided into images that train and that choose.

    Args:
      dataset: the images.

    Raises:
      ValueError: one class, or a class with fewer than three training images.
    """
    if dataset.task_name != "classification" or dataset.inputs != data_lib.IMAGES:
        raise ValueError(
            f"data must have images and classes for auto, got {dataset.inputs} of the "
            f"task {dataset.task_name} in {dataset.name!r}. Use quickstart, or search "
            "and retrain."
        )
    if dataset.num_classes < 2:
        raise ValueError(
            f"data must have at least 2 classes, got {dataset.num_classes} in "
            f"{dataset.name!r}. Add a class."
        )
    counts = _counts(dataset)
    if counts.min() < FEWEST:
        name = _names(dataset)[int(counts.argmin())]
        raise ValueError(
            f"data must have at least {FEWEST} training images of each class, some "
            f"to train and some to choose by, got {counts.min()} of {name!r}. Add "
            "images, or leave the class out."
        )


def describe(read_data: Read) -> list[str]:
    """Returns what the data are, in lines.

    Args:
      read_data: the data.
    """
    dataset, counts = read_data.dataset, _counts(read_data.dataset)
    size = "x".join(map(str, dataset.image_shape))
    lines = [
        f"data: {read_data.spec}: {len(dataset.y_train):,} training and "
        f"{len(dataset.y_test):,} test images of {size}, {dataset.num_classes} classes",
        *read_data.notes,
        *dataset.notes,
    ]
    each = [
        f"{name} {count:,}" for name, count in zip(_names(dataset), counts, strict=True)
    ]
    more = f" and {len(each) - _SHOWN} more classes" if len(each) > _SHOWN else ""
    lines.append(f"training images a class: {', '.join(each[:_SHOWN])}{more}")
    ratio = counts.max() / counts.min()
    if ratio > UNEQUAL:
        lines.append(
            f"warning: the largest class has {ratio:.3g} times the images of the "
            "smallest; accuracy counts images, not classes: read the accuracy of each "
            "class in what jnas evaluate reports"
        )
    return lines


def _counts(dataset: data_lib.Dataset) -> np.ndarray:
    return np.bincount(dataset.y_train, minlength=dataset.num_classes)


def _names(dataset: data_lib.Dataset) -> list[str]:
    return list(dataset.class_names) or [str(i) for i in range(dataset.num_classes)]
