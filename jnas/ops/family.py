"""Families: operations that are one computation with kernels of several sizes.

The operation of the largest kernels, with a smaller one's kernels in the centre of its
own and zeros around them, computes what the smaller one computes. Weight entanglement
(``networks/entangle.py``) shares the largest kernels of a family.
"""

from collections.abc import Callable


def family(name: str) -> Callable[[Callable], Callable]:
    """Returns a decorator that declares an operation a member of a family.

    Args:
      name: of the family; members may differ in the rows and columns of their kernels,
        by even numbers, and in nothing else.

    Example:
      >>> @family("mine")
      ... def mine_3x3(features, stride, *, norm, rngs):
      ...     ...
      >>> mine_3x3.family
      'mine'
    """

    def declare(make):
        make.family = name
        return make

    return declare
