"""Parameters and multiply-accumulates, counted without computing anything.

MACs follow one rule: convolutions and linear layers only, at batch 1, in evaluation.
They are read from the traced program, so that a user's operation counts like ours.
Published FLOPs often follow other rules; compare parameters first.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jnas import types
from jnas.networks import network as network_lib

CONVOLUTIONS = ("dense_conv", "depthwise_conv", "pointwise_conv")  # primitives of ops


def count_params(params: types.Params) -> int:
    """Returns the number of values in a pytree of arrays or their shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def count_macs(function: Any, *args: Any) -> int:
    """Counts multiply-accumulates of the convolutions and products in a function.

    A scan's body counts as often as it runs; of a conditional, the larger branch.

    Args:
      function: traced, never run.
      *args: arrays or ShapeDtypeStructs.

    Returns:
      Multiply-accumulates of one call.
    """
    return _total(jax.make_jaxpr(function)(*args).jaxpr, _macs)


def count_elementwise(function: Any, *args: Any) -> int:
    """Counts what norms and ReLUs compute: two for each value of one, one of the other.

    In evaluation a norm is a product and a sum of each value, a ReLU a maximum. Many
    published FLOPs are ``count_macs`` and these. Counted are products and maxima that
    give arrays of four axes, so a user's own operation counts by them alone.

    Args:
      function: traced, never run.
      *args: arrays or ShapeDtypeStructs.

    Returns:
      Operations of one call.
    """
    return _total(jax.make_jaxpr(function)(*args).jaxpr, _elementwise)


def measure(
    network: network_lib.Network,
    image_shape: Any,
    *,
    norms: bool = False,
) -> dict[str, int]:
    """Counts a derived network, or a baseline.

    Args:
      network: as ``derived`` builds it.
      image_shape: rows, columns and channels of one image; the shape of another
        input, or a dict of shapes.
      norms: whether ``macs_with_norms`` is counted too.

    Returns:
      ``parameters`` (without the auxiliary head), ``auxiliary_parameters``, ``macs``;
      ``macs_with_norms`` is ``macs`` and what ``count_elementwise`` counts.
    """
    params, stats = jax.eval_shape(network.init, jax.random.key(0))
    image = abstract(image_shape)
    named = params if isinstance(params, dict) else {}
    auxiliary = count_params(named.get("auxiliary", {}))
    traced = jax.make_jaxpr(
        lambda p, s, x, k: network.apply(p, s, x, train=False, key=k)[0][0]
    )(params, stats, image, jax.random.key(0)).jaxpr
    macs = _total(traced, _macs)
    return {
        "parameters": count_params(params) - auxiliary,
        "auxiliary_parameters": auxiliary,
        "macs": macs,
    } | ({"macs_with_norms": macs + _total(traced, _elementwise)} if norms else {})


def abstract(image_shape: Any) -> Any:
    """Returns the shapes of one example as a batch, f32[1, ...], or i32 of ``Whole``.

    Args:
      image_shape: as for ``measure``.
    """
    if isinstance(image_shape, dict):
        return {name: abstract(shape) for name, shape in image_shape.items()}
    whole = isinstance(image_shape, types.Whole)
    return jax.ShapeDtypeStruct((1, *image_shape), jnp.int32 if whole else jnp.float32)


def _total(jaxpr: Any, rule: Callable[[Any], int | None]) -> int:
    """Sums a rule over all equations; where it gives None, over what is inside one."""
    total = 0
    for equation in jaxpr.eqns:
        own = rule(equation)
        if own is None:
            inner = [_total(each, rule) for each in _inner(equation.params)]
            several = equation.primitive.name == "cond"
            own = max(inner) if several else sum(inner)
            own *= equation.params["length"] if equation.primitive.name == "scan" else 1
        total += own
    return total


def _macs(equation: Any) -> int | None:
    name, out = equation.primitive.name, equation.outvars[0].aval
    if name == "dot_general":
        contracted, _ = equation.params["dimension_numbers"][0]
        shape = equation.invars[0].aval.shape
        return math.prod(out.shape) * math.prod(shape[d] for d in contracted)
    if name == "conv_general_dilated":
        spec = equation.params["dimension_numbers"].rhs_spec
        kernel = equation.invars[1].aval.shape
        per_output = math.prod(kernel) // kernel[spec[0]]
        return math.prod(out.shape) * per_output
    if name in CONVOLUTIONS:
        kernel = equation.invars[1].aval.shape[1:]
        return math.prod(out.shape) * (math.prod(kernel) // out.shape[-1])
    return None


def _elementwise(equation: Any) -> int | None:
    name = equation.primitive.name
    if name in CONVOLUTIONS:
        return 0  # its products are multiply-accumulates
    weight = {"mul": 2, "max": 1}.get(name)  # a norm's product and sum, a ReLU
    shape = getattr(equation.outvars[0].aval, "shape", ())
    # a norm's own scale has four axes too, and one value a feature
    if weight and len(shape) == 4 and math.prod(shape) > shape[-1]:
        return weight * math.prod(shape)
    return None


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item
