"""Factors of low rank beside convolution kernels (LoRA).

Beside a kernel W, of k by k taps, are ``lora_a``, A f32[r k, I k], and ``lora_b``,
B f32[O k, r k], for I input features, O output features and rank r. The convolution's
kernel is

    W + (B A) / r

whose product f32[O k, I k] is read row by row as [O, I, k, k], PyTorch's order. Of a
convolution of each feature by itself, with F features, A is f32[r k, F k] and B
f32[k, r k]. A starts uniform in +-1 / sqrt(I k), B at zero. Where a window has other
numbers of rows and columns, they take the places of k, and the rank is r times the
smaller.

As in the source, the rank is that of this matrix: a depthwise kernel can get any sum
already at r = 1, a 1x1 kernel one of rank r.

Source: the released code of LoRA-DARTS, https://github.com/automl/LoRA-DARTS, after Hu
et al. 2022, arXiv:2106.09685; alpha is 1, as there. Differs: there windows of different
numbers of rows and columns are refused.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jnas import types
from jnas.networks import functional

KERNEL, A, B = "kernel", "lora_a", "lora_b"  # keys of parameters


def adapt(op: functional.Functional, rank: int) -> functional.Functional:
    """Gives every convolution kernel of a module factors of low rank.

    Args:
      op: the module; kernels are its parameters ``kernel`` with three axes (rows,
        columns, features) or four (rows, columns, input and output features).
      rank: r; 0 returns the module as it is.

    Returns:
      The module, whose parameters have the factors beside their kernels. It takes
      parameters without factors, too.
    """
    if not rank or not op.has_params:
        return op

    def init(key):
        params, stats = op.init(key)
        # the kernels are those of the module without factors
        keys = (jax.random.fold_in(key, number) for number in itertools.count(1))
        return _with_factors(params, rank, keys), stats

    def apply(params, stats, x, *, train=True, key=None):
        return op.apply(merged(params), stats, x, train=train, key=key)

    return op._replace(init=init, apply=apply)


def merged(params: types.Params) -> types.Params:
    """Adds the factors to their kernels and leaves them out.

    Args:
      params: a tree of dicts; leaves may have leading axes (of edges, cells, seeds).

    Returns:
      The parameters of the same module without factors.
    """
    if not isinstance(params, dict):
        return params
    own = {name: merged(one) for name, one in params.items() if name not in (A, B)}
    if A in params:
        own[KERNEL] = _sum(params[KERNEL], params[A], params[B])
    return own


def map_adapted(
    params: types.Params, kernel: Any, factor: Any, other: Any
) -> types.Params:
    """Makes a tree that says which parameters are adapted kernels, which factors.

    Args:
      params: parameters of a network.
      kernel: value at each kernel with factors.
      factor: value at each factor.
      other: value at every other parameter.
    """
    if not isinstance(params, dict):
        return jax.tree.map(lambda _: other, params)
    found = {
        name: map_adapted(one, kernel, factor, other) for name, one in params.items()
    }
    if A in params:
        found |= {KERNEL: kernel, A: factor, B: factor}
    return found


def _with_factors(params, rank, keys) -> types.Params:
    if not isinstance(params, dict):
        return params
    own = {name: _with_factors(one, rank, keys) for name, one in params.items()}
    kernel = params.get(KERNEL)
    if kernel is not None and jnp.ndim(kernel) in (3, 4):
        rows, columns, _, features, outputs = _sizes(kernel.shape)
        width, inside = features * columns, rank * min(rows, columns)
        bound = width**-0.5
        own[A] = jax.random.uniform(
            next(keys), (inside, width), kernel.dtype, -bound, bound
        )
        own[B] = jnp.zeros((outputs * rows, inside), kernel.dtype)
    return own


def _sizes(shape: tuple) -> tuple[int, int, tuple, int, int]:
    """Returns rows, columns, (O, inputs of one output), I, and outputs of a group."""
    rows, columns, *rest = shape
    inputs, outputs = rest if len(rest) == 2 else (1, *rest)
    if inputs == 1:  # each feature by itself
        return rows, columns, (outputs, 1), outputs, 1
    return rows, columns, (outputs, inputs), inputs, outputs


def _sum(kernel, a, b) -> types.Array:
    """Computes W + (B A) / r; all three may have the same leading axes."""
    lead = a.ndim - 2
    own = kernel.shape[lead:]
    rows, columns, features, _, _ = _sizes(own)
    rank = a.shape[-2] // min(rows, columns)
    product = jnp.matmul(b, a, precision=lax.Precision.HIGHEST) / rank
    product = product.reshape(*kernel.shape[:lead], *features, rows, columns)
    order = (*range(lead), lead + 2, lead + 3, lead + 1, lead)
    return kernel + product.transpose(order).reshape(kernel.shape)
