"""The forms in which a window slides: taps on CPU, undilated on GPU, native elsewhere.

A depthwise convolution is the trilinear form

    T(x, w, g) = sum_sbijfuv  g[s, b, i, j, f] w[s, u, v, f]
                              x[s, b, ri + d(u - k//2), cj + d(v - k//2), f]

of images x f[S, B, H, W, F], kernels w f[S, k, k, F] and output gradients g
f[S, B, h, w, F], with stride (r, c), dilation d and zeros outside; s counts sets of
kernels. A ``Form`` computes its three derivatives; ``windows.py`` makes primitives of
them.

* ``NATIVE``: XLA's convolution with one group per feature, and its derivatives.
* ``UNDILATED``: on GPU, XLA has no kernel for the kernel gradient of a dilated
  convolution and runs the features one after another: measured on an H200 at 16
  features, 32x32 pixels, batch 64, dilation 2, 5x5, it takes 2.4 ms, the gradient of
  the undilated convolution 0.04. So the pixels that one window sees are put next to
  each other first, which is a reordering of the image.
* ``TAPS``: on CPU, XLA runs a grouped convolution through a naive loop: measured at
  16 features, 32x32 pixels, batch 16, it takes 14.8 ms where the taps take 0.3 (3x3).
  The tricks, each measured on 2 cores:
  - The convolution is k * k shifted products of the padded images, which XLA fuses
    into one vectorised loop, as a stencil code does. Padding is a pass of its own.
  - The kernels are multiplied by the identity first. In a scan over edges they are a
    dynamic slice; XLA fuses it into the loop, which then is not vectorised (1.5 ms
    against 0.25 for 3x3), but it does not fuse a product.
  - The input gradient is the same loop with the kernel turned by 180 degrees.
  - The kernel gradient is one reduction with k * k results, so that x and g are read
    once and not k * k times (2.5 ms against 8.4 ms for 5x5), and its code is
    compiled once (0.3 s against 1.8 s).
"""

import functools
import itertools
import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from jnas import types
from jnas.ops.kernels import stride as stride_lib
from jnas.ops.kernels import trilinear


def out_sizes(size: tuple[int, int], stride: stride_lib.Stride) -> list[int]:
    """Returns ceil(size / stride), the rows and columns after a strided window."""
    return [
        -(-n // step) for n, step in zip(size, stride_lib.pair(stride), strict=True)
    ]


def pad(x: types.Array, margin: int, value: float = 0.0) -> types.Array:
    """Adds ``margin`` pixels of ``value`` on every side of f[..., H, W, F]."""
    margins = [(0, 0)] * (x.ndim - 3) + [(margin, margin), (margin, margin), (0, 0)]
    return jnp.pad(x, margins, constant_values=value)


def tap(
    padded: types.Array,
    row: int,
    column: int,
    size: tuple[int, int],
    stride: stride_lib.Stride,
) -> types.Array:
    """Cuts out what one element of a window sees at every position.

    Args:
      padded: f[..., H, W, F].
      row: of the element in the first window.
      column: likewise.
      size: rows and columns of positions.
      stride: between positions, in pixels.

    Returns:
      f[..., *size, F].
    """
    lead, features = padded.ndim - 3, padded.shape[-1]
    steps = stride_lib.pair(stride)
    rows, columns = ((n - 1) * s + 1 for n, s in zip(size, steps, strict=True))
    begin = (0,) * lead + (row, column, 0)
    end = (*padded.shape[:lead], row + rows, column + columns, features)
    return lax.slice(padded, begin, end, (1,) * lead + (*steps, 1))


def spread(
    g: types.Array,
    size: tuple[int, int],
    stride: stride_lib.Stride,
    value: float = 0.0,
) -> types.Array:
    """Puts f[..., h, w, F] back on the grid of ``size`` pixels that it was cut from."""
    steps = stride_lib.pair(stride)
    if steps == (1, 1):
        return g
    gaps = [
        (0, n - (m - 1) * step - 1, step - 1)
        for n, m, step in zip(size, g.shape[-3:-1], steps, strict=True)
    ]
    lead = [(0, 0, 0)] * (g.ndim - 3)
    return lax.pad(g, jnp.asarray(value, g.dtype), [*lead, *gaps, (0, 0, 0)])


def _slide(x, elements, *, stride, dilation):
    """Slides a window whose elements are f[S, F], row by row, over f[S, B, H, W, F]."""
    k, size = math.isqrt(len(elements)), out_sizes(x.shape[2:4], stride)
    padded = pad(x, dilation * (k // 2))
    shape, total = (*x.shape[:2], *size, x.shape[-1]), 0
    places = itertools.product(range(0, k * dilation, dilation), repeat=2)
    for place, element in zip(places, elements, strict=True):
        scale = lax.broadcast_in_dim(element, shape, (0, 4))
        total += tap(padded, *place, size, stride) * scale
    return total


def _elements(w):
    """Cuts kernels f[S, k, k, F] into k * k elements f[S, F].

    They are multiplied by the identity, which XLA does not fuse into the loop over
    pixels.
    """
    sets, k, _, features = w.shape
    identity = np.eye(features, dtype=w.dtype)
    w = jnp.matmul(w.reshape(sets, k * k, features), identity, precision="highest")
    return [lax.index_in_dim(w, i, 1, keepdims=False) for i in range(k * k)]


def _in_float32(form):
    """Computes a form of lower precision in float32; CPUs have no fast bfloat16."""

    @functools.wraps(form)
    def wide(a, b, **how):
        dtype = jnp.promote_types(a.dtype, jnp.float32)
        return form(a.astype(dtype), b.astype(dtype), **how).astype(a.dtype)

    return wide


@_in_float32
def _conv_taps(x, w, *, stride, dilation):
    return _slide(x, _elements(w), stride=stride, dilation=dilation)


@_in_float32
def _input_gradient_taps(g, w, *, size, stride, dilation):
    wide, turned = spread(g, size, stride), _elements(w)[::-1]
    return _slide(wide, turned, stride=1, dilation=dilation)


@_in_float32
def _kernel_gradient_taps(x, g, *, window, stride, dilation):
    sets, _, *size, features = g.shape
    padded = pad(x, dilation * (window[0] // 2))
    products = [
        tap(padded, i * dilation, j * dilation, size, stride) * g
        for i, j in itertools.product(*map(range, window))
    ]
    zeros = [jnp.zeros((), g.dtype)] * len(products)
    sums = lax.reduce(products, zeros, _add_each, (1, 2, 3))
    return jnp.stack(sums, 1).reshape(sets, *window, features)


def _add_each(a, b):
    return [p + q for p, q in zip(a, b, strict=True)]


def _conv_native(x, w, *, stride, dilation):
    """The convolution of one set, f[B, H, W, F] and f[k, k, F]."""
    margin = dilation * (w.shape[0] // 2)
    return lax.conv_general_dilated(
        x,
        w[:, :, None, :],
        window_strides=stride_lib.pair(stride),
        padding=((margin, margin), (margin, margin)),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=trilinear.DIMENSIONS,
        feature_group_count=x.shape[-1],
    )


def _conv_undilated(x, w, *, stride, dilation):
    """Does what ``_conv_native`` does, by a convolution of neighbouring pixels."""
    steps = stride_lib.pair(stride)
    if any(step > 1 and step % dilation for step in steps):
        return _conv_native(x, w, stride=stride, dilation=dilation)
    # at a multiple of the dilation, windows see every dilation-th pixel alone
    skip = [dilation if step % dilation == 0 else 1 for step in steps]
    x = x[:, :: skip[0], :: skip[1]]
    phases = tuple(dilation // n for n in skip)
    rest = tuple(step // n for step, n in zip(steps, skip, strict=True))
    size = out_sizes(x.shape[1:3], rest)
    out = _conv_native(_part(x, phases), w, stride=rest, dilation=1)
    return _join(out, phases)[:, : size[0], : size[1]]


def _part(x, phases):
    """Parts f[B, H, W, F] into images of every p-th row and q-th column."""
    p, q = phases
    if phases == (1, 1):
        return x
    margins = [(0, -n % step) for n, step in zip(x.shape[1:3], phases, strict=True)]
    x = jnp.pad(x, ((0, 0), *margins, (0, 0)))
    batch, height, width, features = x.shape
    x = x.reshape(batch, height // p, p, width // q, q, features)
    x = x.transpose(0, 2, 4, 1, 3, 5)
    return x.reshape(batch * p * q, height // p, width // q, features)


def _join(x, phases):
    """Puts the images that ``_part`` made together again."""
    p, q = phases
    if phases == (1, 1):
        return x
    batch, height, width, features = x.shape
    x = x.reshape(batch // (p * q), p, q, height, width, features)
    x = x.transpose(0, 3, 1, 4, 2, 5)
    return x.reshape(batch // (p * q), height * p, width * q, features)


def kernel_shape(x: tuple, g: tuple, window: tuple[int, int]) -> tuple:
    """Returns the shape of w for the shapes of x and g."""
    return x[0], *window, x[-1]


NATIVE = trilinear.native_form(_conv_native, kernel_shape)
UNDILATED = trilinear.native_form(_conv_undilated, kernel_shape)
TAPS = trilinear.Form(_conv_taps, _input_gradient_taps, _kernel_gradient_taps)
