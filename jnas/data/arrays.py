"""Data sets in one npz file: x_train, y_train, x_test, y_test, class_names."""

import os

import numpy as np

from jnas.data import dataset as dataset_lib
from jnas.data import npz, validate

KEYS = ("x_train", "y_train", "x_test", "y_test")
NAMES = "class_names"


def read_npz(
    path: str | os.PathLike, *, name: str | None = None, flip: bool | None = None
) -> dataset_lib.Dataset:
    """Reads a data set from an npz file.

    Args:
      path: the file; images [N, H, W, C] or [N, H, W], uint8 or float32, and labels
        integers from 0. An array ``class_names`` of texts, one a class, is optional.
      name: name of the data set in error messages; None means "npz:" and the path.
      flip: whether a horizontal flip keeps the label; None if that is unknown.

    Raises:
      ValueError: the file does not exist or is no npz, an array is missing, or the data
        are invalid.
    """
    name = name or f"npz:{path}"
    if not os.path.isfile(path):
        raise ValueError(
            f"data must be an existing file, got {name!r}. Check the path."
        )
    try:
        arrays = npz.read(path, (*KEYS, NAMES))
        others = set(npz.names(path)) - {*KEYS, NAMES}
    except ValueError as error:
        raise ValueError(
            f"data must be a readable npz of plain arrays, got {name!r} ({error}). "
            "Write it with np.savez."
        ) from error
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise ValueError(
            f"data must hold {', '.join(KEYS)}, got {name!r} without "
            f"{', '.join(missing)}. Add the array."
        )
    class_names = _texts(name, arrays.pop(NAMES, np.array([], np.str_)))
    notes = []
    if others:
        shown = ", ".join(repr(one) for one in sorted(others)[:9])
        notes = [f"{name}: {len(others)} more arrays are not used, {shown}."]
    return validate.validate(
        **arrays, name=name, flip=flip, class_names=class_names, notes=notes
    )


def _texts(name: str, array: np.ndarray) -> list[str]:
    if array.ndim != 1 or array.dtype.kind != "U":
        raise ValueError(
            f"class_names of {name} must be texts [classes], got {array.dtype} of "
            f"shape {array.shape}. Write np.array(names, np.str_)."
        )
    return array.tolist()
