"""Data sets in one npz file: x_train, y_train, x_test, y_test."""

import os

from jnas.data import dataset as dataset_lib
from jnas.data import npz, validate

KEYS = ("x_train", "y_train", "x_test", "y_test")


def read_npz(
    path: str | os.PathLike, *, name: str | None = None, flip: bool = True
) -> dataset_lib.Dataset:
    """Reads a data set from an npz file.

    Args:
      path: the file; images [N, H, W, C] or [N, H, W], uint8 or float32, and labels
        integers from 0.
      name: name of the data set in error messages; None means "npz:" and the path.
      flip: whether a horizontal flip keeps the label.

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
        arrays = npz.read(path, KEYS)
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
    return validate.validate(**arrays, name=name, flip=flip)
