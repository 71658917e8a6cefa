"""What a JAX variable is in an ONNX graph: a constant, or a view of a tensor.

A view is a tensor as ONNX stores it and, for each axis that JAX sees, the stored axes
that it is made of: one; several, merged row by row; or none, an axis of size 1. So a
transposition, a merging of axes and an axis of size 1 cost no node, and images stay in
NCHW, the order of ONNX's convolutions, whatever order JAX writes.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

Sizes = tuple[Any, ...]  # of ints and symbolic dimensions


@dataclasses.dataclass(frozen=True, eq=False)
class Constant:
    """An array that is known when the graph is written.

    Attributes:
      array: as many axes as ``shape``; size 1 where it repeats along an axis, which an
        axis of symbolic size does.
      shape: the variable's.
    """

    array: np.ndarray
    shape: Sizes

    @property
    def dtype(self) -> np.dtype:
        """Returns the dtype of the elements."""
        return self.array.dtype

    def whole(self) -> np.ndarray | None:
        """Returns the array in its full shape, or None where that is symbolic."""
        if self.array.shape == self.shape:
            return self.array
        if not is_static(self.shape):
            return None
        return np.broadcast_to(self.array, self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a tensor that the graph computes.

    Attributes:
      name: of the stored tensor.
      sizes: of its axes.
      groups: for each axis of the variable the stored axes that it is made of.
      dtype: of the elements.
    """

    name: str
    sizes: Sizes
    groups: tuple[tuple[int, ...], ...]
    dtype: np.dtype

    @property
    def shape(self) -> Sizes:
        """Returns the shape of the variable."""
        return tuple(math.prod(self.sizes[a] for a in g) for g in self.groups)

    def viewed(self, groups: Sequence[Sequence[int]]) -> "Tensor":
        """Returns another view of the same tensor."""
        return dataclasses.replace(self, groups=tuple(map(tuple, groups)))

    def axis(self, logical: int) -> int | None:
        """Returns the one stored axis of a variable's axis, None if there is not one.

        Args:
          logical: number of the variable's axis.
        """
        group = self.groups[logical]
        return group[0] if len(group) == 1 else None


Value = Constant | Tensor


def is_static(shape: Sizes) -> bool:
    """Returns whether every size is a number.

    Args:
      shape: of a variable.
    """
    return all(isinstance(size, int | np.integer) for size in shape)


def constant(array: Any, shape: Sizes | None = None) -> Constant:
    """Makes a constant.

    Args:
      array: anything that NumPy takes.
      shape: of the variable; None means the array's.
    """
    if jax.dtypes.issubdtype(getattr(array, "dtype", None), jax.dtypes.prng_key):
        return Constant(array, array.shape)  # only evaluated further, never written
    array = np.asarray(array)
    return Constant(array, array.shape if shape is None else tuple(shape))


def blocks(old: Sizes, new: Sizes) -> list[tuple[list[int], list[int]]]:
    """Pairs the axes of two shapes of one size, in the smallest blocks of equal size.

    Args:
      old: a shape.
      new: what it is reshaped to.

    Returns:
      (axes of old, axes of new) of each block; axes of size 1 are in none.

    Example:
      >>> blocks((2, 3, 4, 5), (6, 4, 1, 5))
      [([0, 1], [0]), ([2], [1]), ([3], [3])]
    """
    left = [i for i, size in enumerate(old) if not _is_one(size)]
    right = [i for i, size in enumerate(new) if not _is_one(size)]
    ends_left = list(itertools.accumulate((old[i] for i in left), lambda a, b: a * b))
    ends_right = list(itertools.accumulate((new[i] for i in right), lambda a, b: a * b))
    found, i, j = [], 0, 0
    for k, end in enumerate(ends_left):
        at = next((n for n in range(j, len(right)) if _equal(ends_right[n], end)), None)
        if at is not None:
            found.append((left[i : k + 1], right[j : at + 1]))
            i, j = k + 1, at + 1
    return found


def _is_one(size: Any) -> bool:
    return isinstance(size, int | np.integer) and size == 1


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b)
