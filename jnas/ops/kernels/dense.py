"""The dense convolution, as JAX primitives, fast inside compiled loops on CPU as well.

XLA's CPU compiler rewrites a convolution whose axes are not in its preferred order
(images NHWC, kernels HWIO) into one whose axes are, and sends it to a fast library; but
it rewrites in a program's outermost computation alone. The two gradients of a
convolution are written with other orders. Inside a loop, where every step of jnas runs,
they then fall to a naive nest of loops: measured at 16 features, 32x32 pixels, batch
64, the kernel gradient of a 3x3 takes 334 ms there, the input gradient 38 ms. The
``ORDERED`` form transposes the axes itself and takes 4.4 and 2.1 ms. On
accelerators the ``NATIVE`` form leaves the choice to XLA.

The trilinear form (``trilinear.py``) is

    T(x, w, g) = sum_sbijuvio  g[s, b, i, j, o] w[s, u, v, i, o] x[s, b, ri + u - p,
                               cj + v - q, i]

with stride (r, c), margins (p, q) and zeros outside.
"""

import functools

import jax.numpy as jnp
from jax import lax

from jnas import types
from jnas.ops.kernels import stride as stride_lib
from jnas.ops.kernels import trilinear


def _plain(x, w, stride, padding, **dilations):
    """One convolution in the order of axes that is fast on every backend."""
    return lax.conv_general_dilated(
        x, w, stride, padding, dimension_numbers=trilinear.DIMENSIONS, **dilations
    )


def _each_set(function, *args):
    """Maps over the sets, one after another; a single set is not a loop."""
    if len(args[0]) == 1:
        return function(*(a[0] for a in args))[None]
    return lax.map(lambda each: function(*each), args)


def _one(x, w, *, stride, padding):
    """The convolution of one set."""
    return _plain(x, w, stride, [(margin, margin) for margin in padding])


def _conv(x, w, *, stride, padding):
    return _each_set(functools.partial(_one, stride=stride, padding=padding), x, w)


def _input_gradient(g, w, *, size, stride, padding):
    """The convolution of g, spread by the stride, the kernel turned by 180 degrees."""
    margins = [
        (k - 1 - p, n + p - (m - 1) * s - 1)
        for k, p, n, m, s in zip(
            w.shape[1:3], padding, size, g.shape[2:4], stride, strict=True
        )
    ]

    def one(g, w):
        turned = jnp.flip(w, (0, 1)).swapaxes(2, 3)
        return _plain(g, turned, (1, 1), margins, lhs_dilation=stride)

    return _each_set(one, g, w)


def _kernel_gradient(x, g, *, window, stride, padding):
    """The convolution whose features are the images and whose kernel is g."""
    margins = [
        (p, (m - 1) * s + k - p - n)
        for k, p, n, m, s in zip(
            window, padding, x.shape[2:4], g.shape[2:4], stride, strict=True
        )
    ]

    def one(x, g):
        x, g = x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)
        out = _plain(x, g, (1, 1), margins, rhs_dilation=stride)
        return out.transpose(1, 2, 0, 3)

    return _each_set(one, x, g)


def _kernel_shape(x, g, window):
    return x[0], *window, x[-1], g[-1]


NATIVE = trilinear.native_form(_one, _kernel_shape)
ORDERED = trilinear.Form(_conv, _input_gradient, _kernel_gradient)


def _shape(x, w, *, stride, padding):
    sizes = (
        (n + 2 * p - k) // s + 1
        for n, p, k, s in zip(x[2:4], padding, w[1:3], stride, strict=True)
    )
    return *x[:2], *sizes, w[-1]


DENSE = trilinear.trilinear(
    "dense_conv",
    shape=_shape,
    kernel=_kernel_shape,
    native=NATIVE,
    cpu=ORDERED,
)


@stride_lib.refuse_strides
def dense_conv(
    x: types.Array,
    kernel: types.Array,
    *,
    stride: stride_lib.Stride = 1,
    padding: tuple[int, int] | None = None,
) -> types.Array:
    """Convolves all features with all features, padded symmetrically.

    Args:
      x: f[B, H, W, I].
      kernel: f[kh, kw, I, O].
      stride: step in pixels, one number or a pair for rows and columns.
      padding: zeros on each side of rows and columns; half the kernel when None.

    Returns:
      f[B, (H + 2 p - kh) // r + 1, (W + 2 q - kw) // c + 1, O].

    Raises:
      ValueError: x has not the kernel's features.
    """
    trilinear.check_features(x, kernel.shape[2])
    if padding is None:
        padding = tuple(k // 2 for k in kernel.shape[:2])
    how = dict(stride=stride_lib.pair(stride), padding=tuple(padding))
    return DENSE.conv.bind(x[None], kernel[None], **how)[0]
