"""The sliding windows: depthwise convolution and pooling, as JAX primitives.

Everything in jnas that slides a window over each feature by itself goes through here.
The backend chooses the form (``window_forms.py``, ``pool_forms.py``) when a program is
lowered (``trilinear.py``). The derivatives of a
convolution are the three primitives of its trilinear form, those of a pooling pairs of
linear primitives, each the transpose of the other. So nothing but the arguments is kept
for a gradient, where autodiff through shifted slices would keep k * k copies. ``vmap``
of a convolution over kernels counts sets of kernels; it does not become a convolution
of more groups.

Max-pooling takes the first of equal values, as torch does, and so does its gradient.
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.interpreters import ad, batching

from jnas import types
from jnas.ops.kernels import pool_forms as pools
from jnas.ops.kernels import stride as stride_lib
from jnas.ops.kernels import trilinear
from jnas.ops.kernels import window_forms as forms


def _conv_shape(x, w, *, stride, dilation):
    return *x[:2], *forms.out_sizes(x[2:4], stride), x[-1]


DEPTHWISE = trilinear.trilinear(
    "depthwise_conv",
    shape=_conv_shape,
    kernel=forms.kernel_shape,
    native=forms.NATIVE,
    cpu=forms.TAPS,
    gpu=forms.UNDILATED,
)


@stride_lib.refuse_strides
def depthwise_conv(
    x: types.Array,
    kernel: types.Array,
    *,
    stride: stride_lib.Stride = 1,
    dilation: int = 1,
) -> types.Array:
    """Convolves each feature with its own k by k kernel, padded symmetrically.

    out[b, i, j, f] = sum_uv kernel[u, v, f] x[b, ri + d(u - k//2), cj + d(v - k//2), f]
    with stride (r, c), dilation d and zeros outside. Differs from Flax's "SAME", which
    at stride 2 pads even sizes on one side only.

    Args:
      x: f32[B, H, W, F].
      kernel: f32[k, k, F], k odd.
      stride: step in pixels, one number or a pair for rows and columns.
      dilation: step between the taps of one window, in pixels.

    Returns:
      f32[B, ceil(H / r), ceil(W / c), F].

    Raises:
      ValueError: x has not the kernel's features.
    """
    trilinear.check_features(x, kernel.shape[2])
    how = dict(stride=stride_lib.pair(stride), dilation=dilation)
    return DEPTHWISE.conv.bind(x[None], kernel[None], **how)[0]


def _transposed(one: core.Primitive, other: core.Primitive, size_of: Callable) -> None:
    """Declares ``other`` the transpose of ``one`` in its first argument."""

    def jvp(tangent, x, *rest, **how):
        return one.bind(tangent, *rest, **how)

    def transpose(ct, x, *rest, **how):
        none = (None,) * len(rest)
        if type(ct) is ad.Zero:
            return ad.Zero(x.aval), *none
        return other.bind(ct, *rest, **size_of(x.aval, how)), *none

    ad.defjvp(one, jvp, *[None] * (one in (PICK, PLACE)))
    ad.primitive_transposes[one] = transpose
    batching.primitive_batchers[one] = functools.partial(trilinear.batch_front, one)


def _with_size(aval, how):
    return how | {"size": tuple(aval.shape[1:3])}


def _without_size(aval, how):
    return {name: value for name, value in how.items() if name != "size"}


def _sized(g, _=None, *, size, **how):
    return *g[:-3], *size, g[-1]


def _summed(x, *, window, stride, margins):
    sizes = ((n + sum(margins) - window) // stride + 1 for n in x[1:3])
    return x[0], *sizes, x[-1]


PICK = trilinear.primitive("window_pick", lambda _, w, **how: w, pools.pick, pools.pick)
PLACE = trilinear.primitive("window_place", _sized, pools.place, pools.place)
SUM = trilinear.primitive(
    "window_sum", _summed, pools.window_sum_native, pools.window_sum
)
SPREAD = trilinear.primitive(
    "window_spread",
    _sized,
    pools.window_spread_native,
    pools.window_spread,
)
for _pair in ((PICK, PLACE), (SUM, SPREAD)):
    _transposed(*_pair, _with_size)
    _transposed(*reversed(_pair), _without_size)


def _pooled(x, *, window, stride):
    return x[0], *forms.out_sizes(x[1:3], stride), x[-1]


MAX = trilinear.primitive(
    "window_max", _pooled, pools.window_max_native, pools.window_max
)
batching.primitive_batchers[MAX] = functools.partial(trilinear.batch_front, MAX)


def _max_jvp(primals, tangents, *, window, stride):
    how = dict(window=window, stride=stride)
    largest, winner = pools.largest(*primals, **how)
    return largest, PICK.bind(*tangents, winner, **how)


ad.primitive_jvps[MAX] = _max_jvp


def max_pool(x: types.Array, *, window: int = 3, stride: int = 1) -> types.Array:
    """Takes the largest value of each window by window square, padded with -inf.

    Args:
      x: f32[B, H, W, F].
      window: side of the square, odd.
      stride: step between windows, in pixels.

    Returns:
      f32[B, ceil(H / stride), ceil(W / stride), F]; NaN where a window holds one.
    """
    return MAX.bind(x, window=window, stride=stride)


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
    margins = margins or (window // 2, window // 2)
    total = SUM.bind(x, window=window, stride=stride, margins=margins)
    counts = [
        _pixels_inside(n, m, window, stride, margins[0])
        for n, m in zip(x.shape[1:3], total.shape[1:3], strict=True)
    ]
    inside = np.outer(*counts)[None, :, :, None]
    return total * jnp.asarray(1.0 / inside, x.dtype)


def _pixels_inside(size, positions, window, stride, before) -> np.ndarray:
    starts = np.arange(positions) * stride - before
    return np.minimum(starts + window, size) - np.maximum(starts, 0)
