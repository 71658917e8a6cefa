"""Reads npz files of unknown origin safely: plain arrays only."""

import os
import zipfile
from collections.abc import Collection

import numpy as np


def read(
    path: str | os.PathLike, keys: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """Reads the arrays of an npz file; no code of the file runs.

    Args:
      path: an existing file.
      keys: the names to read; absent ones are skipped. None reads all.

    Raises:
      ValueError: the file is no npz of plain arrays; the message is the reason alone.
    """
    try:
        with open(path, "rb") as file:
            if file.read(2) != b"PK":  # else NumPy would suggest to unpickle it
                raise ValueError("it is no zip file")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                names = [name for name in archive if keys is None or name in keys]
                arrays = {name: archive[name] for name in names}
    except Exception as error:  # crafted files raise more than NumPy documents
        reason = " ".join(str(error).split())[:200]
        raise ValueError(reason or type(error).__name__) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name} is no array")
    return arrays


def names(path: str | os.PathLike) -> tuple[str, ...]:
    """Returns the names of the arrays of an npz file that ``read`` can read.

    Args:
      path: the file.
    """
    with zipfile.ZipFile(path) as archive:
        return tuple(name.removesuffix(".npy") for name in archive.namelist())
