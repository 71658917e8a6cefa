"""Converts numbers and names read from files for display in a report."""

import math
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

_Item = TypeVar("_Item")

_SQUARED = 1e150  # the square of a larger number is nearly infinite


def number(value: Any) -> float | None:
    """Returns a finite number, or None for anything else; booleans are no numbers.

    Example:
      >>> [number(v) for v in (1, 0.5, None, float("nan"), True, "1", 10**400)]
      [1.0, 0.5, None, None, None, None, None]
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def short(value: float | None, digits: int = 5) -> float | int | None:
    """Rounds to significant digits, which keeps reports small.

    Example:
      >>> [short(v) for v in (0.123456789, 3349342.0, None, 0.5)]
      [0.12346, 3349342, None, 0.5]
    """
    if value is None:
        return None
    if value == int(value) and abs(value) < 1e15:
        return int(value)
    return float(f"{value:.{digits}g}")


def figure(value: float) -> float:
    """Rounds to six decimals, and what is small to six significant digits.

    Example:
      >>> [figure(v) for v in (0.123456789, -12345.678912345, 1.23456789e-8)]
      [0.123457, -12345.678912, 1.23457e-08]
    """
    return round(value, 6) if abs(value) >= 0.1 else float(f"{value:.6g}")


def words(value: float) -> str:
    """Returns four decimals, or four significant digits of what is small or large.

    Example:
      >>> [words(v) for v in (0.5, 0.0, 0.000123456, 123456789.0)]
      ['0.5000', '0.0000', '0.0001235', '1.235e+08']
    """
    plain = not value or 1e-3 <= abs(value) < 1e5
    return f"{value:.4f}" if plain else f"{value:.4g}"


def spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Returns mean and sample standard deviation; None for fewer than two values.

    Example:
      >>> spread([1.0, 3.0, 5.0]), spread([1e308, 1e308])
      ((3.0, 2.0), (1e+308, 0.0))
    """
    largest = max(map(abs, values))
    if largest > _SQUARED:  # whose sums or squares overflow
        mean, deviation = spread([value / largest for value in values])
        if deviation is not None:
            deviation = min(deviation * largest, sys.float_info.max)
        return mean * largest, deviation
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    squares = math.fsum((value - mean) ** 2 for value in values)
    return mean, math.sqrt(squares / (len(values) - 1))


def thinned(items: Sequence[_Item], most: int) -> list[_Item]:
    """Picks at most ``most`` items, evenly, the first and the last included.

    Example:
      >>> thinned(range(10), 4)
      [0, 3, 6, 9]
    """
    if len(items) <= most:
        return list(items)
    last = len(items) - 1
    return [items[round(i * last / (most - 1))] for i in range(most)]


def text(value: Any) -> str:
    """Returns text with "?" for lone surrogates, as in undecodable file names."""
    return str(value).encode(errors="replace").decode()
