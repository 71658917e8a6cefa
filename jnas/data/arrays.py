"""Data sets as arrays x_train, y_train, x_test, y_test, class_names: npz, or npy files.

Images that would take too much memory are mapped: read from the file when needed.
"""

import os
import pathlib
from collections.abc import Collection
from typing import Any

import numpy as np

from jnas.data import dataset as dataset_lib
from jnas.data import facts, npz, residence, source, validate

IMAGES = ("x_train", "x_test")
LABELS = ("y_train", "y_test")
KEYS = ("x_train", "y_train", "x_test", "y_test")
NAMES = "class_names"


def read_npz(
    path: str | os.PathLike,
    *,
    name: str | None = None,
    flip: bool | None = None,
    **how: Any,
) -> dataset_lib.Dataset:
    """Reads a data set from an npz file.

    Where the images are not held in memory, those of ``np.savez`` are mapped; those of
    ``np.savez_compressed`` cannot be, and are read, with a note.

    Args:
      path: the file; images [N, H, W, C] or [N, H, W], uint8 or float32, and labels
        integers from 0. An array ``class_names`` of texts, one a class, is optional.
        x_train/NAME and x_test/NAME are several inputs of an example, y_train/NAME and
        y_test/NAME several targets.
      name: name of the data set in error messages; None means "npz:" and the path.
      flip: whether a horizontal flip keeps the label; None if that is unknown.
      **how: ``task`` and ``inputs``, as for ``validate.validate``.

    Raises:
      ValueError: the file does not exist or is no npz, an array is missing, or the data
        are invalid.
    """
    name = name or f"npz:{path}"
    if not os.path.isfile(path):
        raise ValueError(
            f"data must be an existing file, got {name!r}. Check the path."
        )
    notes, identity = [], _identity([path])
    try:
        npz.read(path, ())  # refuses what is no npz
        images = _images(path)
        parts = [one for one in npz.names(path) if one.partition("/")[0] in KEYS]
        inner = [one for one in parts if "/" in one]
        small = npz.read(path, (*LABELS, NAMES, *inner))
        others = set(npz.names(path)) - {*KEYS, NAMES, *inner}
    except ValueError as error:
        raise ValueError(
            f"data must be a readable npz of plain arrays, got {name!r} ({error}). "
            "Write it with np.savez."
        ) from error
    asked = not residence.fits(npz.num_bytes(path, IMAGES))
    if asked and not all(map(source.is_lazy, images.values())):
        notes.append(
            f"{name}: the images are compressed, so all are held in memory; np.savez "
            "writes a file from which they can be read when needed."
        )
    if others:
        shown = ", ".join(repr(one) for one in sorted(others)[:9])
        notes.append(f"{name}: {len(others)} more arrays are not used, {shown}.")
    arrays = _nested(small | images, name)
    return _dataset(arrays, identity, name=name, flip=flip, notes=notes, **how)


def _nested(arrays: dict[str, np.ndarray], name: str) -> dict[str, Any]:
    """Returns arrays by split; of "x_train/NAME" a dict of arrays."""
    made: dict[str, Any] = {}
    for key, array in arrays.items():
        split, slash, inner = key.partition("/")
        if not slash:
            made[key] = array
        elif split in arrays:
            raise ValueError(
                f"data must hold {split} or {split}/NAME, got both in {name!r}. Remove "
                "one."
            )
        else:
            made.setdefault(split, {})[inner] = array
    return made


def _images(path) -> dict[str, np.ndarray]:
    """Returns the arrays of images that there are, mapped where they are large."""
    if residence.fits(npz.num_bytes(path, IMAGES)):
        return npz.read(path, IMAGES)
    found = {}
    for key in set(IMAGES) & set(npz.names(path)):
        array = npz.mapped(path, key)
        found[key] = npz.read(path, (key,))[key] if array is None else array
    return found


def read_npy(path: str | os.PathLike, **how: Any) -> dataset_lib.Dataset:
    """Reads a data set from a folder of npy files, one for each array.

    Args:
      path: the folder, with x_train.npy, y_train.npy, x_test.npy, y_test.npy and,
        optionally, class_names.npy, as in ``read_npz``.
      **how: ``task`` and ``inputs``, as for ``validate.validate``.

    Raises:
      ValueError: the folder does not exist, a file is missing or is no plain array, or
        the data are invalid.
    """
    name, path = f"npy:{path}", pathlib.Path(path)
    if not path.is_dir():
        raise ValueError(
            f"data must be an existing folder, got {name!r}. Check the path."
        )
    files = {key: path / f"{key}.npy" for key in (*KEYS, NAMES)}
    files = {key: file for key, file in files.items() if file.is_file()}
    total = sum(files[key].stat().st_size for key in IMAGES if key in files)
    fits, identity = residence.fits(total), _identity(files.values())
    arrays = {}
    for key, file in files.items():
        mode = "r" if key in IMAGES and not fits else None
        try:
            arrays[key] = np.load(file, mmap_mode=mode, allow_pickle=False)
            if not isinstance(arrays[key], np.ndarray):
                raise ValueError("it holds several arrays")
        except Exception as error:  # crafted files raise more than NumPy documents
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"data must be readable npy files of plain arrays, got {str(file)!r} "
                f"({reason}). Write it with np.save."
            ) from error
    return _dataset(arrays, identity, name=name, **how)


def _identity(files: Collection[Any]) -> str:
    """Returns what the files are now, before they are opened."""
    return facts.identity_of(sorted(map(os.path.abspath, files)))


def _dataset(
    arrays: dict[str, Any], identity: str, *, name: str, **how: Any
) -> dataset_lib.Dataset:
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        raise ValueError(
            f"data must hold {', '.join(KEYS)}, got {name!r} without "
            f"{', '.join(missing)}. Add the array."
        )
    class_names = _texts(name, arrays.pop(NAMES, np.array([], np.str_)))
    lazy = any(source.is_lazy(arrays[key]) for key in IMAGES)  # no dict is
    return validate.validate(
        **arrays,
        name=name,
        class_names=class_names,
        identity=identity if lazy else None,
        **how,
    )


def _texts(name: str, array: np.ndarray) -> list[str]:
    if array.ndim != 1 or array.dtype.kind != "U":
        raise ValueError(
            f"class_names of {name} must be texts [classes], got {array.dtype} of "
            f"shape {array.shape}. Write np.array(names, np.str_)."
        )
    return array.tolist()
