"""The sliding windows: depthwise convolution and pooling, in one place.

Everything in jnas that slides a window over each feature by itself goes through here,
so that its form can be chosen (and replaced) in one file. Two forms of the depthwise
convolution exist, and ``jax.default_backend()`` chooses between them at trace time:

* native: ``lax.conv_general_dilated`` with one group per feature, on accelerators.
* taps: k * k shifted products, summed; on CPU, where XLA's grouped convolution runs
  through a naive loop (3 to 30 times slower forward and backward at the sizes of a
  DARTS cell) and where vmap over kernels would make still more groups.

Max-pooling takes the first of equal values, as torch does, and so does its gradient.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jnas import types

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def out_size(size: int, stride: int) -> int:
    """Returns ceil(size / stride), the rows or columns after a strided window."""
    return -(-size // stride)


def _tap(padded: types.Array, row: int, column: int, size: tuple, stride: int):
    """Cuts the [B, h, w, F] that one element of a window sees at every position."""
    (h, w), (b, _, _, f) = size, padded.shape
    limits = (b, row + (h - 1) * stride + 1, column + (w - 1) * stride + 1, f)
    return lax.slice(padded, (0, row, column, 0), limits, (1, stride, stride, 1))


def _depthwise_taps(x, kernel, stride, dilation):
    k, size = kernel.shape[0], [out_size(n, stride) for n in x.shape[1:3]]
    margin = dilation * (k // 2)
    padded = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    return sum(
        _tap(padded, i * dilation, j * dilation, size, stride) * kernel[i, j]
        for i in range(k)
        for j in range(k)
    )


def _depthwise_native(x, kernel, stride, dilation):
    margin = dilation * (kernel.shape[0] // 2)
    return lax.conv_general_dilated(
        x,
        kernel[:, :, None, :],
        window_strides=(stride, stride),
        padding=((margin, margin), (margin, margin)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=DIMENSIONS,
        feature_group_count=x.shape[-1],
    )


# One traced call by this name: networks/count.py reads its shapes, whatever its form.
@functools.partial(jax.jit, static_argnames=("stride", "dilation"))
def depthwise_conv(
    x: types.Array, kernel: types.Array, *, stride: int = 1, dilation: int = 1
) -> types.Array:
    """Convolves each feature with its own k by k kernel, padded symmetrically.

    out[b, i, j, f] = sum_uv kernel[u, v, f] x[b, si + d(u - k//2), sj + d(v - k//2), f]
    with zeros outside. Differs from Flax's "SAME", which at stride 2 pads even sizes
    on one side only.

    Args:
      x: f32[B, H, W, F].
      kernel: f32[k, k, F], k odd.
      stride: step between windows, in pixels.
      dilation: step between the taps of one window, in pixels.

    Returns:
      f32[B, ceil(H / stride), ceil(W / stride), F].
    """
    on_cpu = jax.default_backend() == "cpu"
    form = _depthwise_taps if on_cpu else _depthwise_native
    return form(x, kernel, stride, dilation)


def max_pool(x: types.Array, *, window: int = 3, stride: int = 1) -> types.Array:
    """Takes the largest value of each window by window square, padded with -inf.

    Args:
      x: f32[B, H, W, F].
      window: side of the square, odd.
      stride: step between windows, in pixels.

    Returns:
      f32[B, ceil(H / stride), ceil(W / stride), F]; NaN where a window holds one.
    """
    size, m = [out_size(n, stride) for n in x.shape[1:3]], window // 2
    margins = ((0, 0), (m, m), (m, m), (0, 0))
    padded = jnp.pad(x, margins, constant_values=-jnp.inf)
    largest = None
    for i in range(window):
        for j in range(window):
            tap = _tap(padded, i, j, size, stride)
            if largest is None:
                largest = tap
            else:
                wins = (tap > largest) | jnp.isnan(tap)
                largest = jnp.where(wins, tap, largest)
    return largest


def avg_pool(
    x: types.Array,
    *,
    window: int = 3,
    stride: int = 1,
    margins: tuple[int, int] | None = None,
) -> types.Array:
    """Averages each window over the pixels inside the image (padding not counted).

    Args:
      x: f32[B, H, W, F].
      window: side of the square.
      stride: step between windows, in pixels.
      margins: rows and columns added before and after; window // 2 on both when None.

    Returns:
      f32[B, h, w, F] with h = (H + sum(margins) - window) // stride + 1.
    """
    before, after = margins or (window // 2, window // 2)
    extents = [n + before + after for n in x.shape[1:3]]
    size = [(n - window) // stride + 1 for n in extents]
    padded = jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    total = sum(
        _tap(padded, i, j, size, stride) for i in range(window) for j in range(window)
    )
    counts = [
        _pixels_inside(n, m, window, stride, before)
        for n, m in zip(x.shape[1:3], size, strict=True)
    ]
    inside = np.outer(*counts)[None, :, :, None]
    return total * jnp.asarray(1.0 / inside, x.dtype)


def _pixels_inside(size, positions, window, stride, before) -> np.ndarray:
    starts = np.arange(positions) * stride - before
    return np.minimum(starts + window, size) - np.maximum(starts, 0)
