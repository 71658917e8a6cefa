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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise_taps(x, kernel, stride, dilation):
    k, size = kernel.shape[0], [out_size(n, stride) for n in x.shape[1:3]]
    padded = _pad(x, dilation * (k // 2))
    return sum(
        _tap(padded, i * dilation, j * dilation, size, stride) * kernel[i, j]
        for i in range(k)
        for j in range(k)
    )


def _taps_forward(x, kernel, stride, dilation):
    return _depthwise_taps(x, kernel, stride, dilation), (x, kernel)


def _taps_backward(stride, dilation, residuals, g):
    """Keeps x alone, where autodiff would keep k * k shifted copies of it.

    The gradient of x is the convolution of g, spread over the grid of x, with the
    kernel turned by half a turn; that of the kernel is one dot product a tap.
    """
    x, kernel = residuals
    k, size = kernel.shape[0], g.shape[1:3]
    spread = [
        (0, n - (m - 1) * stride - 1, stride - 1)
        for n, m in zip(x.shape[1:3], size, strict=True)
    ]
    wide = lax.pad(g, jnp.zeros((), g.dtype), ((0, 0, 0), *spread, (0, 0, 0)))
    d_x = _depthwise_taps(wide, kernel[::-1, ::-1], 1, dilation)
    padded = _pad(x, dilation * (k // 2))
    d_kernel = [
        [
            (_tap(padded, i * dilation, j * dilation, size, stride) * g).sum((0, 1, 2))
            for j in range(k)
        ]
        for i in range(k)
    ]
    return d_x, jnp.stack([jnp.stack(row) for row in d_kernel])


_depthwise_taps.defvjp(_taps_forward, _taps_backward)


def _pad(x, margin, value=0.0):
    margins = ((0, 0), (margin, margin), (margin, margin), (0, 0))
    return jnp.pad(x, margins, constant_values=value)


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
    return _max_pool(x, window, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _max_pool(x, window, stride):
    return _max_pool_forward(x, window, stride)[0]


def _max_pool_forward(x, window, stride):
    size = [out_size(n, stride) for n in x.shape[1:3]]
    padded = _pad(x, window // 2, -jnp.inf)
    largest, winner = None, None
    for number in range(window * window):
        tap = _tap(padded, *divmod(number, window), size, stride)
        if largest is None:
            largest, winner = tap, jnp.zeros(tap.shape, jnp.int8)
            continue
        wins = (tap > largest) | jnp.isnan(tap)
        largest = jnp.where(wins, tap, largest)
        winner = jnp.where(wins, jnp.int8(number), winner)
    return largest, (winner, x.shape)


def _max_pool_backward(window, stride, residuals, g):
    """Hands each gradient to the tap that won; one byte a window is kept."""
    winner, (_, height, width, _) = residuals
    margin = window // 2
    extents = height + 2 * margin, width + 2 * margin
    total = 0
    for number in range(window * window):
        begins = divmod(number, window)
        spread = [
            (begin, n - begin - (m - 1) * stride - 1, stride - 1)
            for begin, n, m in zip(begins, extents, g.shape[1:3], strict=True)
        ]
        share = jnp.where(winner == number, g, 0)
        zero = jnp.zeros((), g.dtype)
        total += lax.pad(share, zero, ((0, 0, 0), *spread, (0, 0, 0)))
    return (total[:, margin : margin + height, margin : margin + width],)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)


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
