"""Primitives with one form per backend, and the trilinear form of a convolution.

A primitive chooses its form when a program is lowered for a platform: one form on CPU,
one on GPU, XLA's own elsewhere; the numbers are the same. As a primitive it knows its
own derivatives, in both modes and to every order, so that nothing but its arguments is
kept for a gradient.

Any convolution is one trilinear form T(x, w, g) of images x, kernels w and output
gradients g. Its derivative in g is the convolution, in x the input gradient, in w the
kernel gradient, and each of the three is linear in both of its arguments; so the three
are closed under differentiation. All arrays have a leading axis that counts sets of
kernels, which is what ``vmap`` over kernels adds to.
"""

import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from jnas import types

DIMENSIONS = ("NHWC", "HWIO", "NHWC")  # of images, kernels and results
GPUS = ("cuda", "rocm")  # JAX's names of their platforms


class Form(NamedTuple):
    """One way of computing a convolution and its two gradients.

    Attributes:
      conv: (x f[S, B, H, W, I], w f[S, kh, kw, I, ...], **how) -> f[S, B, h, w, O],
        the derivative of T in g; ``how`` is static: strides and such.
      input_gradient: (g f[S, B, h, w, O], w, *, size, **how) -> f[S, B, *size, I].
      kernel_gradient: (x, g, *, window, **how) -> f[S, *window, I, ...].
    """

    conv: Callable
    input_gradient: Callable
    kernel_gradient: Callable


def check_features(x: types.Array, features: int) -> None:
    """Raises ValueError where images have not the features of a kernel."""
    if x.shape[-1] != features:
        raise ValueError(
            f"x must have the {features} features of the kernel, got {x.shape[-1]}. "
            "Build the kernel for as many."
        )


def native_form(conv: Callable, kernel: Callable) -> Form:
    """Makes a form of a convolution and the gradients that XLA has for it.

    Args:
      conv: (x f[B, H, W, I], w f[kh, kw, I, ...], **how) -> f[B, h, w, O], of one set.
      kernel: (shapes of x and g, window) -> shape of w, with sets.
    """

    def sets(x, w, **how):
        one = functools.partial(conv, **how)
        return jax.vmap(one)(x, w) if len(x) > 1 else one(x[0], w[0])[None]

    def input_gradient(g, w, *, size, **how):
        x = jax.ShapeDtypeStruct((*g.shape[:2], *size, w.shape[3]), g.dtype)
        return jax.linear_transpose(lambda x: sets(x, w, **how), x)(g)[0]

    def kernel_gradient(x, g, *, window, **how):
        w = jax.ShapeDtypeStruct(kernel(x.shape, g.shape, window), x.dtype)
        return jax.linear_transpose(lambda w: sets(x, w, **how), w)(g)[0]

    return Form(sets, input_gradient, kernel_gradient)


class Trilinear(NamedTuple):
    """The three primitives of a trilinear form; as in ``Form``."""

    conv: core.Primitive
    input_gradient: core.Primitive
    kernel_gradient: core.Primitive


def primitive(
    name: str,
    shape: Callable,
    native: Callable,
    cpu: Callable,
    gpu: Callable | None = None,
) -> core.Primitive:
    """Makes a primitive with one form for CPU, one for GPU and one for the others.

    Args:
      name: as programs show it.
      shape: (shapes of the arguments, **how) -> shape of the result, whose dtype is
        that of the first argument.
      native: the form for all backends that have none of their own.
      cpu: the form for CPU; its keyword-only arguments are static, in every form.
      gpu: the form for GPU; ``native`` when None.
    """
    made = core.Primitive(name)
    names = inspect.signature(cpu).parameters.values()
    static = [p.name for p in names if p.kind is p.KEYWORD_ONLY]

    def abstract(first, *rest, **how):
        found = shape(first.shape, *(a.shape for a in rest), **how)
        return jax.core.ShapedArray(tuple(found), first.dtype)

    made.def_impl(jax.jit(made.bind, static_argnames=static))
    made.def_abstract_eval(abstract)
    of_platforms = {None: native, "cpu": cpu}
    if gpu is not None:
        of_platforms |= dict.fromkeys(GPUS, gpu)
    for platform, form in of_platforms.items():
        # jit: traced and lowered once, however often one program uses it
        once = jax.jit(form, static_argnames=static)
        lowering = mlir.lower_fun(once, multiple_results=False)
        mlir.register_lowering(made, lowering, platform=platform)
    return made


def trilinear(
    name: str,
    shape: Callable,
    kernel: Callable,
    native: Form,
    cpu: Form,
    gpu: Form | None = None,
) -> Trilinear:
    """Makes the three primitives of a convolution, each the others' derivatives.

    Args:
      name: the first's name; ``_input_gradient`` and ``_kernel_gradient`` follow it in
        the others'.
      shape: (shapes of x and w, **how) -> shape of the convolution.
      kernel: (shapes of x and g, window) -> shape of w.
      native: the form for all backends that have none of their own.
      cpu: the form for CPU.
      gpu: the form for GPU; ``native`` when None.
    """

    def input_shape(g, w, *, size, **how):
        return *g[:2], *size, w[3]

    def kernel_shape(x, g, *, window, **how):
        return kernel(x, g, window)

    conv, input_gradient, kernel_gradient = (
        primitive(name + suffix, *each)
        for suffix, *each in zip(
            ("", "_input_gradient", "_kernel_gradient"),
            (shape, input_shape, kernel_shape),
            native,
            cpu,
            gpu or native,
            strict=True,
        )
    )

    made = Trilinear(conv, input_gradient, kernel_gradient)
    _declare_derivatives(made)
    for each in made:
        maps_images = each is not kernel_gradient
        batching.primitive_batchers[each] = functools.partial(
            _batch_sets, each, maps_images
        )
    return made


def _declare_derivatives(made: Trilinear) -> None:
    """Declares each primitive's derivatives, which are the two others."""
    conv, input_gradient, kernel_gradient = made

    def to_conv(x, w, size=None, window=None, **how):
        return conv.bind(x, w, **how)

    def to_input(g, w, x, size=None, window=None, **how):
        return input_gradient.bind(g, w, size=tuple(x.aval.shape[2:4]), **how)

    def to_kernel(x, g, w, size=None, window=None, **how):
        return kernel_gradient.bind(x, g, window=tuple(w.aval.shape[1:3]), **how)

    # Each argument's rule: the cotangent takes the place of the output in T(x, w, g).
    ad.defbilinear(
        conv,
        lambda ct, x, w, **how: to_input(ct, w, x, **how),
        lambda ct, x, w, **how: to_kernel(x, ct, w, **how),
    )
    ad.defbilinear(
        input_gradient,
        lambda ct, g, w, **how: to_conv(ct, w, **how),
        lambda ct, g, w, **how: to_kernel(ct, g, w, **how),
    )
    ad.defbilinear(
        kernel_gradient,
        lambda ct, x, g, **how: to_input(g, ct, x, **how),
        lambda ct, x, g, **how: to_conv(x, ct, **how),
    )


def _batch_sets(primitive, maps_images, args, dims, **how):
    """Counts the mapped axis among the sets; among the images if w is not mapped."""
    if maps_images and dims[1] is None:
        images = jnp.moveaxis(args[0], dims[0], 1)
        sets, size, batch, *rest = images.shape
        out = primitive.bind(images.reshape(sets, -1, *rest), args[1], **how)
        return out.reshape(sets, size, batch, *out.shape[2:]), 1
    return batch_front(primitive, args, dims, **how)


def batch_front(primitive: core.Primitive, args: tuple, dims: tuple, **how) -> tuple:
    """Batches by merging the mapped axis with the first, the sets or the images.

    Args:
      primitive: what is mapped.
      args: its arguments.
      dims: the mapped axis of each, None where it has none.
      **how: static arguments.

    Returns:
      The result and the axis that is mapped in it.
    """
    size = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
    fronted = [
        batching.bdim_at_front(a, d, size) for a, d in zip(args, dims, strict=True)
    ]
    out = primitive.bind(*(a.reshape(-1, *a.shape[2:]) for a in fronted), **how)
    return out.reshape(size, -1, *out.shape[1:]), 0
