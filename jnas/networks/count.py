"""Parameters and multiply-accumulates, counted without computing anything.

MACs follow one rule: convolutions and linear layers only, at batch 1, in evaluation.
They are read from the traced program, so that a user's operation counts like ours.
Published FLOPs often follow other rules; compare parameters first.
"""

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jnas import types
from jnas.networks import network as network_lib


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
    return _macs(jax.make_jaxpr(function)(*args).jaxpr)


def measure(
    network: network_lib.Network, image_shape: tuple[int, int, int]
) -> dict[str, int]:
    """Counts a derived network.

    Args:
      network: as ``derived`` builds it.
      image_shape: rows, columns and channels of one image.

    Returns:
      ``parameters`` (without the auxiliary head), ``auxiliary_parameters``, ``macs``.
    """
    params, stats = jax.eval_shape(network.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    auxiliary = count_params(params.get("auxiliary", {}))
    return {
        "parameters": count_params(params) - auxiliary,
        "auxiliary_parameters": auxiliary,
        "macs": count_macs(
            lambda p, s, x, k: network.apply(p, s, x, train=False, key=k)[0][0],
            params,
            stats,
            image,
            jax.random.key(0),
        ),
    }


def _macs(jaxpr: Any) -> int:
    return sum(_equation_macs(equation) for equation in jaxpr.eqns)


def _equation_macs(equation: Any) -> int:
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
    if name in ("depthwise_conv", "dense_conv"):
        kernel = equation.invars[1].aval.shape[1:]
        return math.prod(out.shape) * (math.prod(kernel) // out.shape[-1])
    inner = [_macs(jaxpr) for jaxpr in _inner(equation.params)]
    if name == "cond":
        return max(inner)
    return sum(inner) * (equation.params["length"] if name == "scan" else 1)


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            item = getattr(item, "jaxpr", item)
            if hasattr(item, "eqns"):
                yield item
