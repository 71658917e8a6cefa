"""The 1x1 convolution, as JAX primitives: a matrix product over all pixels.

The trilinear form (``trilinear.py``) is

    T(x, w, g) = sum_sbijio  g[s, b, i, j, o] w[s, 0, 0, i, o] x[s, b, ri, cj, i]

with stride (r, c).

* ``PRODUCT``: everywhere but on GPU. Two axes: of four, XLA on CPU transposes the image
  for the gradient.
* ``SPLIT``: on GPU, two things are different.
  - The kernel gradient sums over all pixels and has few results, so one multiprocessor
    does it all: measured on an H200, 0.6 ms at 16 features, 32x32 pixels, batch 64,
    for 4 MB that are read. So the pixels are parted, and the parts' sums added.
  - Between a stride over rows and columns and a product, XLA fuses the two, and its
    compiler ends the process in jax 0.11.2 (openxla/xla issue 47381). With a stride
    the 1x1 convolution is XLA's convolution.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jnas import types
from jnas.ops.kernels import dense, trilinear
from jnas.ops.kernels import stride as stride_lib
from jnas.ops.kernels import window_forms as forms

MAX_PARTS = 128  # about one for each multiprocessor
MIN_PIXELS = 256  # of a part
TILE = 64  # rows and columns of results that one multiprocessor computes


def _product(a, b, axes):
    """Sums products over an axis of each, set by set; a single set is no batch."""

    def one(a, b):
        return lax.dot_general(a, b, (((axes[0],), (axes[1],)), ((), ())))

    return one(a[0], b[0])[None] if len(a) == 1 else jax.vmap(one)(a, b)


def _rows(x):
    """Joins batch, rows and columns: f[S, B, H, W, F] to f[S, B H W, F]."""
    return x.reshape(len(x), -1, x.shape[-1])


def _matrices(w):
    """Drops the window: f[S, 1, 1, I, O] to f[S, I, O]."""
    return w.reshape(len(w), *w.shape[3:])


def _skip(x, stride):
    return x[:, :, :: stride[0], :: stride[1]]


def _conv(x, w, *, stride):
    x = _skip(x, stride)
    out = _product(_rows(x), _matrices(w), (1, 0))
    return out.reshape(*x.shape[:-1], w.shape[-1])


def _input_gradient(g, w, *, size, stride):
    out = _product(_rows(g), _matrices(w), (1, 1))
    out = out.reshape(*g.shape[:-1], w.shape[3])
    return forms.spread(out, size, stride)


def _kernel_gradient(x, g, *, window, stride):
    x = _rows(_skip(x, stride))
    out = _product(_rows(g), x, (0, 0)).swapaxes(1, 2)
    return out.reshape(len(x), *window, *out.shape[1:])


def _unless_strided(form, of_xla):
    """Takes XLA's convolution in place of a form where a stride is more than 1."""

    def choose(a, b, *, stride, **how):
        if stride == (1, 1):
            return form(a, b, stride=stride, **how)
        return of_xla(a, b, stride=stride, padding=(0, 0), **how)

    return choose


def count_parts(pixels: int, in_features: int, out_features: int) -> int:
    """Returns how many parts the pixels of a kernel gradient on GPU are parted into.

    Args:
      pixels: of all images, those that are read.
      in_features: F of the input.
      out_features: F of the output.

    Returns:
      A divisor of ``pixels``.
    """
    tiles = -(-in_features // TILE) * -(-out_features // TILE)
    most = min(MAX_PARTS // tiles, pixels // MIN_PIXELS)
    return max([n for n in range(1, most + 1) if pixels % n == 0], default=1)


def _kernel_gradient_split(x, g, *, window, stride):
    rows = _rows(x), _rows(g)
    sets, pixels, _ = rows[0].shape
    parts = count_parts(pixels, x.shape[-1], g.shape[-1])
    x, g = (a.reshape(sets * parts, pixels // parts, -1) for a in rows)
    sums = jnp.einsum("pni,pno->pio", x, g, preferred_element_type=_wide(x.dtype))
    # a barrier: XLA may make one product of a sum of products again
    sums = lax.optimization_barrier(sums).reshape(sets, parts, *sums.shape[1:])
    out = sums.sum(1).astype(x.dtype)
    return out.reshape(sets, *window, *out.shape[1:])


def _wide(dtype):
    """Returns the type in which parts are added: at least float32."""
    return jnp.promote_types(dtype, jnp.float32)


PRODUCT = trilinear.Form(_conv, _input_gradient, _kernel_gradient)
SPLIT = trilinear.Form(
    _unless_strided(_conv, dense.NATIVE.conv),
    _unless_strided(_input_gradient, dense.NATIVE.input_gradient),
    _unless_strided(_kernel_gradient_split, dense.NATIVE.kernel_gradient),
)


def _shape(x, w, *, stride):
    return *x[:2], *forms.out_sizes(x[2:4], stride), w[-1]


POINTWISE = trilinear.trilinear(
    "pointwise_conv",
    shape=_shape,
    kernel=lambda x, g, window: (x[0], *window, x[-1], g[-1]),
    native=PRODUCT,
    cpu=PRODUCT,
    gpu=SPLIT,
)


@stride_lib.refuse_strides
def pointwise_conv(
    x: types.Array, kernel: types.Array, *, stride: stride_lib.Stride = 1
) -> types.Array:
    """Multiplies the features of every pixel by a matrix.

    Args:
      x: f[B, H, W, I].
      kernel: f[1, 1, I, O].
      stride: step in pixels, one number or a pair for rows and columns.

    Returns:
      f[B, ceil(H / r), ceil(W / c), O].

    Raises:
      ValueError: x has not the kernel's features, or the window is not of one pixel.
    """
    trilinear.check_features(x, kernel.shape[2])
    if kernel.shape[:2] != (1, 1):
        raise ValueError(
            f"kernel must have a window of one pixel, got {kernel.shape[:2]}. Use "
            "dense_conv."
        )
    how = dict(stride=stride_lib.pair(stride))
    return POINTWISE.conv.bind(x[None], kernel[None], **how)[0]
