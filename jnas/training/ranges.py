"""Ranges of the numbers that a tuning varies: read from text, drawn, kept inside."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jnas import registry, types
from jnas.training import recipe

_EXAMPLE = "learning_rate:log:1e-3:0.5,drop_path_rate:0:0.4"
_BELOW_ONE = ("momentum", "drop_path_rate", "label_smoothing", "ema_decay")


class Range(NamedTuple):
    """Values that a number may take.

    Attributes:
      name: of the number, a field of ``recipe.Numbers``.
      low: smallest value.
      high: largest value.
      log: whether the logarithm is drawn uniformly.
    """

    name: str
    low: float
    high: float
    log: bool = False

    def at(self, share: types.Array) -> types.Array:
        """Returns the value at a share from 0 to 1 of the range."""
        if not self.log:
            return self.inside(self.low + share * (self.high - self.low))
        ratio = math.log(self.high / self.low)
        return self.inside(self.low * jnp.exp(share * ratio))

    def inside(self, value: types.Array) -> types.Array:
        """Returns a value moved into the range."""
        return jnp.clip(value, self.low, self.high)


def parse(texts: Sequence[str]) -> tuple[Range, ...]:
    """Reads ranges as ``--tune`` has them.

    Args:
      texts: each ``name:low:high`` or ``name:log:low:high``.

    Raises:
      ValueError: another form, a name that cannot be tuned or is given twice, or a
        range that is empty or outside what the number may be.

    Example:
      >>> parse(["learning_rate:log:1e-3:0.5"])
      (Range(name='learning_rate', low=0.001, high=0.5, log=True),)
    """
    if not texts:
        raise ValueError(
            f"tune must name at least one range, got none. Write --tune={_EXAMPLE}."
        )
    found = tuple(_read(text.strip()) for text in texts)
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"tune must name each number once, got {name} twice. Leave one out."
            )
    return found


def _read(text: str) -> Range:
    name, *rest = text.split(":")
    log = rest[:1] == ["log"]
    bounds = rest[1:] if log else rest
    known = recipe.Numbers._fields
    if name not in known:
        raise ValueError(
            f"tune must name some of {', '.join(known)}, got {name!r}. "
            f"{registry.nearest(name, known) or 'Choose one of them.'}".rstrip()
        )
    try:
        low, high = map(float, bounds)
    except ValueError:
        raise ValueError(
            "tune must hold name:low:high or name:log:low:high, got "
            f"{text!r}. Write --tune={_EXAMPLE}."
        ) from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"tune must give {name} finite bounds, the lower one first, got {text!r}. "
            f"Write {name}:LOW:HIGH."
        )
    if log and low <= 0:
        raise ValueError(
            f"tune must give {name} a lower bound above 0 where it is log, got "
            f"{text!r}. Raise it or leave log out."
        )
    most = 1 if name in _BELOW_ONE else math.inf
    if low < 0 or high >= most:
        below = " and below 1" if name in _BELOW_ONE else ""
        raise ValueError(
            f"tune must keep {name} at least 0{below}, got {text!r}. Change the bounds."
        )
    if name == "clip_norm" and low == 0:
        raise ValueError(
            f"tune must keep clip_norm above 0, which disables clipping, got {text!r}. "
            "Raise the lower bound."
        )
    return Range(name, low, high, log)


def draw(key: types.Key, ranges: Sequence[Range], count: int) -> dict[str, types.Array]:
    """Draws numbers uniformly, in the logarithm where the range says so.

    Args:
      key: consumed.
      ranges: of the numbers.
      count: number T of trials.

    Returns:
      name -> f32[T].
    """
    return {
        one.name: one.at(jax.random.uniform(jax.random.fold_in(key, i), (count,)))
        for i, one in enumerate(ranges)
    }
