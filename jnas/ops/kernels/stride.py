"""The argument ``stride`` of convolutions: one number or a pair, one spelling."""

import functools
from collections.abc import Callable

Stride = int | tuple[int, int]


def pair(stride: Stride) -> tuple[int, int]:
    """Returns the steps over rows and columns.

    Args:
      stride: in pixels; one number for both.
    """
    return tuple(stride) if isinstance(stride, tuple | list) else (stride, stride)


def refuse_strides(function: Callable) -> Callable:
    """Makes a function with an argument ``stride`` refuse ``strides`` by name.

    Args:
      function: the function.

    Returns:
      The same, which raises TypeError where it is given ``strides``.
    """

    @functools.wraps(function)
    def checked(*args, **kwargs):
        if "strides" in kwargs:
            raise TypeError(
                "stride must be the argument's name, got strides. Write "
                f"stride={kwargs['strides']!r}."
            )
        return function(*args, **kwargs)

    return checked
