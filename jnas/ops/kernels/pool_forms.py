"""The forms of pooling windows over f[B, H, W, F], and their transposes.

Max-pooling remembers which element of a window won, in one byte; its gradient puts
values back by looking, for each pixel, which windows it won: a gather, which XLA fuses
into one loop, where autodiff of k * k slices would add k * k padded images. That form
serves every backend; where no gradient is taken, accelerators take the maximum, and the
sums, of windows by XLA's own reduction.
"""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

from jnas import types
from jnas.ops.kernels import window_forms as forms


def largest(
    x: types.Array, *, window: int, stride: int
) -> tuple[types.Array, types.Array]:
    """Finds the largest value under each window, outside counting as -inf.

    Args:
      x: f[B, H, W, F].
      window: side, odd.
      stride: in pixels.

    Returns:
      f[B, h, w, F], NaN where the window holds one, and the element's number in its
      window, i8[B, h, w, F], the first of equal ones.
    """
    size = forms.out_sizes(x.shape[1:3], stride)
    padded = forms.pad(x, window // 2, -jnp.inf)
    value = forms.tap(padded, 0, 0, size, stride)
    winner = jnp.zeros(value.shape, jnp.int8)
    for number in range(1, window * window):
        rival = forms.tap(padded, *divmod(number, window), size, stride)
        wins = (rival > value) | jnp.isnan(rival)
        value = jnp.where(wins, rival, value)
        winner = jnp.where(wins, jnp.int8(number), winner)
    return value, winner


def window_max(x: types.Array, *, window: int, stride: int) -> types.Array:
    """Returns the values of ``largest``, f[B, h, w, F]."""
    return largest(x, window=window, stride=stride)[0]


def window_max_native(x: types.Array, *, window: int, stride: int) -> types.Array:
    """Does what ``window_max`` does by XLA's own reduction over windows."""
    sides, steps = (1, window, window, 1), (1, stride, stride, 1)
    margin = (window // 2, window // 2)
    padding = ((0, 0), margin, margin, (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, sides, steps, padding)


def pick(
    x: types.Array, winner: types.Array, *, window: int, stride: int
) -> types.Array:
    """Picks the value of each window that ``largest`` found in another image."""
    padded, taps = forms.pad(x, window // 2), []
    for number in range(window * window):
        place = divmod(number, window)
        value = forms.tap(padded, *place, winner.shape[1:3], stride)
        taps.append(jnp.where(winner == number, value, 0))
    return sum(taps)


def place(
    g: types.Array,
    winner: types.Array,
    *,
    size: tuple[int, int],
    window: int,
    stride: int,
) -> types.Array:
    """Puts each window's value back where ``pick`` took it: a gather, no scatter."""
    last = window - 1
    g = forms.pad(forms.spread(g, size, stride), window // 2)
    winner = forms.pad(forms.spread(winner, size, stride, -1), window // 2, -1)
    taps = []
    for number in range(window * window):
        row, column = divmod(number, window)
        at = last - row, last - column, size, 1
        taps.append(jnp.where(forms.tap(winner, *at) == number, forms.tap(g, *at), 0))
    return sum(taps)


def window_sum(
    x: types.Array, *, window: int, stride: int, margins: tuple[int, int]
) -> types.Array:
    """Sums each window over f[B, H, W, F] with ``margins`` zeros before and after."""
    extents = [n + sum(margins) for n in x.shape[1:3]]
    size = [(n - window) // stride + 1 for n in extents]
    padded = jnp.pad(x, ((0, 0), margins, margins, (0, 0)))
    elements = itertools.product(range(window), repeat=2)
    return sum(forms.tap(padded, *element, size, stride) for element in elements)


def window_spread(
    g: types.Array,
    *,
    size: tuple[int, int],
    window: int,
    stride: int,
    margins: tuple[int, int],
) -> types.Array:
    """Gives each pixel the sum of f[B, h, w, F] over the windows that hold it."""
    before, last = margins[0], window - 1
    positions = [n + sum(margins) - last for n in size]
    padded = forms.pad(forms.spread(g, positions, stride), last)
    elements = itertools.product(range(window), repeat=2)
    return sum(forms.tap(padded, before + i, before + j, size, 1) for i, j in elements)


def window_sum_native(
    x: types.Array, *, window: int, stride: int, margins: tuple[int, int]
) -> types.Array:
    """Does what ``window_sum`` does by XLA's own reduction over windows."""
    sides, steps = (1, window, window, 1), (1, stride, stride, 1)
    padding = ((0, 0), margins, margins, (0, 0))
    return lax.reduce_window(x, 0.0, lax.add, sides, steps, padding)


def window_spread_native(
    g: types.Array,
    *,
    size: tuple[int, int],
    window: int,
    stride: int,
    margins: tuple[int, int],
) -> types.Array:
    """Does what ``window_spread`` does by the transpose of XLA's own reduction."""

    def total(x):
        return window_sum_native(x, window=window, stride=stride, margins=margins)

    x = jax.ShapeDtypeStruct((len(g), *size, g.shape[-1]), g.dtype)
    return jax.linear_transpose(total, x)(g)[0]
