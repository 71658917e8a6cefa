"""Reads npz files of unknown origin safely: plain arrays only."""

import math
import os
import zipfile
from collections.abc import Collection

import numpy as np

_HEADERS = {  # version of npy -> reader of its header
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


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


def num_bytes(path: str | os.PathLike, keys: Collection[str]) -> int:
    """Returns the bytes of some arrays of an npz file, without reading them.

    Args:
      path: the file.
      keys: names of arrays; absent ones count nothing.
    """
    with zipfile.ZipFile(path) as archive:
        return sum(
            entry.file_size
            for entry in archive.infolist()
            if entry.filename.removesuffix(".npy") in keys
        )


def mapped(path: str | os.PathLike, key: str) -> np.ndarray | None:
    """Maps an array of an npz file into memory: it is read when it is needed.

    Args:
      path: an npz file that ``read`` can read.
      key: name of the array.

    Returns:
      A read-only ``np.memmap``; None of an array that cannot be mapped, as one that is
      compressed.

    Raises:
      ValueError: it is no plain array, or cut off; the message is the reason alone.
    """
    with zipfile.ZipFile(path) as archive:
        try:
            entry = archive.getinfo(f"{key}.npy")
        except KeyError:
            raise ValueError(f"{key} is no array") from None
    if entry.compress_type != zipfile.ZIP_STORED:
        return None
    with open(path, "rb") as file:
        # the local header has 30 bytes, of which the last four are the lengths of the
        # name and of the extra field that follow (APPNOTE.TXT of PKWARE, 4.3.7)
        file.seek(entry.header_offset)
        head = file.read(30)
        name, extra = (int.from_bytes(head[i : i + 2], "little") for i in (26, 28))
        file.seek(name + extra, os.SEEK_CUR)
        return _mapped(path, file, entry.file_size)


def _mapped(path, file, size) -> np.ndarray | None:
    """Maps the npy file of some bytes that begins where an open file stands."""
    begin = file.tell()
    try:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            return None
        shape, columns_first, dtype = _HEADERS[version](file)
    except (ValueError, OSError) as error:
        raise ValueError(" ".join(str(error).split())[:200]) from error
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    place = file.tell()
    if place - begin + math.prod(shape) * dtype.itemsize > size:
        raise ValueError("it is cut off")
    return np.memmap(path, dtype, "r", place, shape, "F" if columns_first else "C")
