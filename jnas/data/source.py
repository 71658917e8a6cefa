"""Images that are read when they are needed, so that they need not fit in memory.

A source is indexed along its first axis, like an array, and gives arrays; a NumPy array
is one, in memory or mapped from a file. What it gives depends on the rows alone.
"""

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

PART_VALUES = 1 << 22  # of images that are handled at a time
THREADS = 16  # that decode side by side
FEW = 64  # rows that are decoded one after another


class Source(Protocol):
    """Images [N, H, W, C] that are read row by row.

    Attributes:
      shape: N, H, W, C.
      dtype: uint8 or float32.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        """Returns N."""

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Returns the images of some rows, [R, H, W, C], in their order."""


def is_lazy(images: Any) -> bool:
    """Returns whether images are read when they are needed, not held in memory.

    Args:
      images: a source.
    """
    if isinstance(images, Read):
        return True
    while isinstance(images, np.ndarray):
        if isinstance(images, np.memmap):
            return True
        images = images.base  # a view of a mapped file is one too
    return False


def num_bytes(images: Any) -> int:
    """Returns the number of bytes of all images.

    Args:
      images: a source, or a dict of arrays.
    """
    if isinstance(images, dict):
        return sum(map(num_bytes, images.values()))
    return math.prod(images.shape) * np.dtype(images.dtype).itemsize


def parts(images: Source) -> Iterator[np.ndarray]:
    """Yields all images in order, a few megabytes at a time.

    Args:
      images: a source.
    """
    size = max(1, PART_VALUES // math.prod(images.shape[1:]))
    for begin in range(0, len(images), size):
        yield np.asarray(images[begin : begin + size])


class Read:
    """A source whose rows are read by a function, one call at a time.

    Attributes:
      shape: N, H, W, C.
      dtype: of the images.
    """

    def __init__(
        self,
        read: Callable[[np.ndarray], np.ndarray],
        shape: tuple[int, ...],
        dtype: Any = np.uint8,
    ):
        """Stores the function.

        Args:
          read: i64[R], rows from 0 to N - 1 -> images [R, H, W, C].
          shape: N, H, W, C.
          dtype: of the images.
        """
        self.shape, self.dtype, self._read = tuple(shape), np.dtype(dtype), read
        self._lock = threading.Lock()

    @property
    def ndim(self) -> int:
        """Number of axes, 4."""
        return len(self.shape)

    def __len__(self) -> int:
        """Returns N."""
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Returns all images, where NumPy or JAX ask for an array."""
        del copy
        return self[:] if dtype is None else self[:].astype(dtype)

    def __getitem__(self, rows: slice | np.ndarray | int) -> np.ndarray:
        """Returns the images of some rows; of a single number, that image.

        Raises:
          IndexError: rows of another kind, or that do not exist.
          ValueError: the function has returned images of another shape or type.
        """
        if isinstance(rows, int | np.integer):
            return self[np.array([rows])][0]
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        rows = self._checked(rows)
        with self._lock:
            images = np.asarray(self._read(rows))
        wanted = (len(rows), *self.shape[1:])
        if images.shape != wanted or images.dtype != self.dtype:
            raise ValueError(
                f"images must be read as {self.dtype} of shape {wanted}, got "
                f"{images.dtype} of shape {images.shape}. Correct the function, or the "
                "shape and dtype of data.Read."
            )
        return images

    def _checked(self, rows) -> np.ndarray:
        rows = np.asarray(rows)
        if rows.dtype == bool and rows.shape == (len(self),):
            rows = np.flatnonzero(rows)
        if rows.ndim != 1 or not (rows.dtype.kind in "iu" or rows.size == 0):
            raise IndexError(
                f"rows must be a slice or integers [R], got {rows.dtype} of shape "
                f"{rows.shape}. Index the images that are read."
            )
        rows = rows.astype(np.int64)
        rows = np.where(rows < 0, rows + len(self), rows)
        if ((rows < 0) | (rows >= len(self))).any():
            raise IndexError(
                f"rows must be below {len(self)}, the number of images, got "
                f"{rows.max()}. Lower it."
            )
        return rows


def selected(images: Source, rows: np.ndarray) -> Source:
    """Returns some rows of images, without reading them.

    Args:
      images: a source.
      rows: i64[R].
    """
    shape = (len(rows), *images.shape[1:])
    return Read(lambda places: images[rows[places]], shape, images.dtype)


def mapped(
    function: Callable[[np.ndarray], np.ndarray], images: Source, shape: tuple[int, ...]
) -> Source:
    """Returns images that a function has changed, without reading them.

    Args:
      function: images [R, ...] -> images [R, ...] of the same type, each by itself.
      images: a source.
      shape: rows, columns and channels of a changed image.
    """
    whole = (len(images), *shape)
    return Read(lambda rows: function(images[rows]), whole, images.dtype)


def decoded(
    read: Callable[[int], np.ndarray], shape: tuple[int, ...], dtype: Any = np.uint8
) -> Source:
    """Returns images that are decoded one by one, in parallel, by grain's threads.

    Args:
      read: row -> image [H, W, C].
      shape: N, H, W, C. An image of another shape raises a ValueError when it is read.
      dtype: of the images.
    """

    def many(rows):
        images = np.empty((len(rows), *shape[1:]), dtype)
        for place, one in enumerate(in_parallel(read, rows)):
            if one.shape != tuple(shape[1:]):
                raise ValueError(
                    f"images must have one size, got {tuple(shape[1:])} and "
                    f"{one.shape} (index {rows[place]}). Resize them."
                )
            images[place] = one
        return images

    return Read(many, shape, dtype)


def in_parallel(function: Callable[[int], Any], rows: np.ndarray) -> Iterator[Any]:
    """Yields a function's results for some rows, in order, computed by threads.

    Those of few rows are computed one after another.

    Args:
      function: row -> result.
      rows: i64[R].

    Raises:
      Exception: what the function raises.
    """
    if len(rows) < FEW:
        yield from map(function, map(int, rows))
        return
    import grain  # takes a second, and few data sets are decoded

    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=4 * THREADS)
    calls = grain.MapDataset.source(rows).map(lambda row: (function(int(row)),))
    for (result,) in calls.to_iter_dataset(options):  # a None alone would be dropped
        yield result
