"""The sliding windows: depthwise convolution and pooling, as JAX primitives.

Everything in jnas that slides a window over each feature by itself goes through here.
The backend chooses the form (``window_forms.py``, ``pool_forms.py``) when a program is
lowered: native on accelerators, taps on CPU; the numbers are the same. As primitives
they know their own derivatives, in both modes and to every order: those of a
convolution are the three primitives of its trilinear form, those of a pooling pairs of
linear primitives, each the transpose of the other. So nothing but the arguments is kept
for a gradient, where autodiff through shifted slices would keep k * k copies. ``vmap``
of a convolution over kernels counts sets of kernels; it does not become a convolution
of more groups.

Max-pooling takes the first of equal values, as torch does, and so does its gradient.
"""

import functools
import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from jnas import types
from jnas.ops import pool_forms as pools
from jnas.ops import window_forms as forms

_STATIC = ("stride", "dilation", "window", "size", "margins")


def _primitive(
    name: str, shape: Callable, native: Callable, taps: Callable
) -> core.Primitive:
    """Makes a primitive with one form for CPU and one for the other backends.

    ``shape`` gives the result's shape from those of the arguments.
    """
    primitive = core.Primitive(name)

    def abstract(first, *rest, **how):
        found = shape(first.shape, *(a.shape for a in rest), **how)
        return jax.core.ShapedArray(tuple(found), first.dtype)

    primitive.def_impl(jax.jit(primitive.bind, static_argnames=_STATIC))
    primitive.def_abstract_eval(abstract)
    for form, platform in ((native, None), (taps, "cpu")):
        # jit: traced and lowered once, however often one program slides one window
        static = inspect.getfullargspec(form).kwonlyargs
        once = jax.jit(form, static_argnames=static)
        lowering = mlir.lower_fun(once, multiple_results=False)
        mlir.register_lowering(primitive, lowering, platform=platform)
    return primitive


def _out_sizes(shape, stride):
    return [forms.out_size(n, stride) for n in shape[-3:-1]]


def _sized(g, _=None, *, size, **how):
    return *g[:-3], *size, g[-1]


CONV = _primitive(
    "depthwise_conv",
    lambda x, w, *, stride, **how: (*x[:2], *_out_sizes(x, stride), x[-1]),
    forms.NATIVE.conv,
    forms.TAPS.conv,
)
INPUT_GRADIENT = _primitive(
    "depthwise_input_gradient",
    _sized,
    forms.NATIVE.input_gradient,
    forms.TAPS.input_gradient,
)
KERNEL_GRADIENT = _primitive(
    "depthwise_kernel_gradient",
    lambda x, g, *, window, **how: (x[0], window, window, x[-1]),
    forms.NATIVE.kernel_gradient,
    forms.TAPS.kernel_gradient,
)


def _conv(x, w, like):
    return CONV.bind(x, w, stride=like["stride"], dilation=like["dilation"])


def _input_gradient(g, w, size, like):
    how = dict(stride=like["stride"], dilation=like["dilation"])
    return INPUT_GRADIENT.bind(g, w, size=tuple(size), **how)


def _kernel_gradient(x, g, window, like):
    how = dict(stride=like["stride"], dilation=like["dilation"])
    return KERNEL_GRADIENT.bind(x, g, window=window, **how)


# Each argument's rule: the cotangent takes the place of the output in T(x, w, g).
ad.defbilinear(
    CONV,
    lambda ct, x, w, **how: _input_gradient(ct, w, x.aval.shape[2:4], how),
    lambda ct, x, w, **how: _kernel_gradient(x, ct, w.aval.shape[1], how),
)
ad.defbilinear(
    INPUT_GRADIENT,
    lambda ct, g, w, **how: _conv(ct, w, how),
    lambda ct, g, w, **how: _kernel_gradient(ct, g, w.aval.shape[1], how),
)
ad.defbilinear(
    KERNEL_GRADIENT,
    lambda ct, x, g, **how: _input_gradient(g, ct, x.aval.shape[2:4], how),
    lambda ct, x, g, **how: _conv(x, ct, how),
)


def _batch_sets(primitive, args, dims, **how):
    """Counts the mapped axis among the sets; among the images if w is not mapped."""
    size = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
    if primitive is not KERNEL_GRADIENT and dims[1] is None:
        images = jnp.moveaxis(args[0], dims[0], 1)
        sets, _, batch, *rest = images.shape
        out = primitive.bind(images.reshape(sets, -1, *rest), args[1], **how)
        return out.reshape(sets, size, batch, *out.shape[2:]), 1
    return _merge_front(primitive, args, dims, **how)


def _merge_front(primitive, args, dims, **how):
    """Merges the mapped axis with the first, the sets or the images."""
    size = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
    fronted = [
        batching.bdim_at_front(a, d, size) for a, d in zip(args, dims, strict=True)
    ]
    out = primitive.bind(*(a.reshape(-1, *a.shape[2:]) for a in fronted), **how)
    return out.reshape(size, -1, *out.shape[1:]), 0


for _each in (CONV, INPUT_GRADIENT, KERNEL_GRADIENT):
    batching.primitive_batchers[_each] = functools.partial(_batch_sets, _each)


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
    return CONV.bind(x[None], kernel[None], stride=stride, dilation=dilation)[0]


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
    batching.primitive_batchers[one] = functools.partial(_merge_front, one)


def _with_size(aval, how):
    return how | {"size": tuple(aval.shape[1:3])}


def _without_size(aval, how):
    return {name: value for name, value in how.items() if name != "size"}


def _summed(x, *, window, stride, margins):
    sizes = ((n + sum(margins) - window) // stride + 1 for n in x[1:3])
    return x[0], *sizes, x[-1]


PICK = _primitive("window_pick", lambda _, w, **how: w, pools.pick, pools.pick)
PLACE = _primitive("window_place", _sized, pools.place, pools.place)
SUM = _primitive("window_sum", _summed, pools.window_sum_native, pools.window_sum)
SPREAD = _primitive(
    "window_spread",
    _sized,
    pools.window_spread_native,
    pools.window_spread,
)
for _pair in ((PICK, PLACE), (SUM, SPREAD)):
    _transposed(*_pair, _with_size)
    _transposed(*reversed(_pair), _without_size)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _max_pool(x, window, stride):
    return pools.largest(x, window=window, stride=stride)[0]


@_max_pool.defjvp
def _max_pool_jvp(window, stride, primals, tangents):
    largest, winner = pools.largest(*primals, window=window, stride=stride)
    return largest, PICK.bind(*tangents, winner, window=window, stride=stride)


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
