"""From a JAX function to an ONNX graph, primitive by primitive.

The function is traced with a symbolic number of images. What depends on constants alone
is computed while the graph is written; functions in functions are written in place, and
so is every step of a loop. Each primitive that is left has a writer, an entry of
``registry.ONNX``:

    @registry.ONNX.register(name="my_primitive")
    def write(graph, inputs, outputs, params):
        (x,) = map(graph.plain, inputs)
        return graph.node("Softsign", x.name, sizes=x.sizes, dtype=x.dtype)

``inputs`` are ``values.Value``, ``outputs`` the results' shapes and dtypes, ``params``
the primitive's. It returns a Value, or a list where the primitive has several results.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from jnas import registry
from jnas.export import tracing
from jnas.export.onnx import elementwise, values
from jnas.export.onnx.graph import Graph
from jnas.export.onnx.values import Constant, Value

IMAGE = "image"


def translate(function: Callable, image_shape: Sequence[int]) -> tuple[Graph, str]:
    """Writes a function of images as a graph.

    Args:
      function: f32[B, H, W, C] -> f32[B, K], for any B.
      image_shape: H, W, C.

    Returns:
      The graph and the name of its output, f32[B, K].

    Raises:
      ValueError: the function needs to know B, or uses a primitive that no writer is
        registered for.
    """
    image = tracing.images(image_shape)
    with tracing.any_number():
        program = jax.make_jaxpr(tracing.unrolled(function))(image)
    graph = Graph(IMAGE, image.shape)
    (output,) = run(graph, program, [graph.image])
    return graph, graph.plain(output).name


def run(graph: Graph, program: Any, inputs: Sequence[Value]) -> list[Value]:
    """Writes a program's nodes.

    Args:
      graph: gains them.
      program: a closed or an open jaxpr.
      inputs: of the program.

    Returns:
      Its results; those of equations that the results do not need are left out.
    """
    consts = getattr(program, "consts", ())
    jaxpr = getattr(program, "jaxpr", program)
    known = dict(zip(jaxpr.constvars, map(values.constant, consts), strict=True))
    known |= dict(zip(jaxpr.invars, inputs, strict=True))

    def read(atom):
        if isinstance(atom, core.Literal):
            return values.constant(np.asarray(atom.val, atom.aval.dtype))
        return known[atom]

    for equation in _needed(jaxpr):
        results = _write(graph, equation, [read(v) for v in equation.invars])
        known.update(zip(equation.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _needed(jaxpr: Any) -> list:
    """Returns the equations that the results depend on."""
    wanted, found = {v for v in jaxpr.outvars if not _literal(v)}, []
    for equation in reversed(jaxpr.eqns):
        if any(v in wanted for v in equation.outvars):
            found.append(equation)
            wanted.update(v for v in equation.invars if not _literal(v))
    return found[::-1]


def _literal(atom: Any) -> bool:
    return isinstance(atom, core.Literal)


def _write(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    """Writes one equation; returns its results."""
    name, params = equation.primitive.name, equation.params
    outputs = [v.aval for v in equation.outvars]
    if name in _CONTROL:
        return _CONTROL[name](graph, inputs, params)
    inside = tracing.called(equation)
    if inside is not None:
        return run(graph, inside, inputs)
    if all(isinstance(value, Constant) for value in inputs):
        found = _computed(equation, inputs, outputs)
        if found is not None:
            return found
    if name not in registry.ONNX:
        raise ValueError(
            f"model must consist of primitives that have an ONNX writer, got {name!r}. "
            f"Register one: @registry.ONNX.register(name={name!r}), see "
            "jnas.export.onnx.walk."
        )
    result = registry.ONNX[name](graph, inputs, outputs, params)
    return list(result) if isinstance(result, list | tuple) else [result]


def _computed(equation, inputs, outputs) -> list[Constant] | None:
    """Computes an equation of constants; None where its shape must be the batch's."""
    name, params = equation.primitive.name, equation.params
    arrays = [value.whole() for value in inputs]
    if all(values.is_static(out.shape) for out in outputs) and not any(
        array is None for array in arrays
    ):
        with jax.ensure_compile_time_eval():
            found = equation.primitive.bind(*arrays, **params)
        found = found if equation.primitive.multiple_results else [found]
        return [values.constant(array) for array in found]
    shape = outputs[0].shape
    if name == "broadcast_in_dim":
        sizes = [1] * len(shape)
        for axis, size in zip(
            params["broadcast_dimensions"], inputs[0].array.shape, strict=True
        ):
            sizes[axis] = size
        return [Constant(inputs[0].array.reshape(sizes), shape)]
    if name in elementwise.NAMES:
        compact = [value.array for value in inputs]
        ranks = np.broadcast_arrays(*compact)
        return [Constant(np.asarray(equation.primitive.bind(*ranks, **params)), shape)]
    if name in ("reshape", "squeeze") and inputs[0].array.size == 1:
        return [Constant(inputs[0].array.reshape([1] * len(shape)), shape)]
    return None


def _cond(graph: Graph, inputs: list[Value], params: dict) -> list[Value]:
    """Writes the branch that a constant chooses."""
    index, *operands = inputs
    if not isinstance(index, Constant):
        raise ValueError(
            "model must take the same branch for every image, got a cond whose "
            "predicate depends on the image. Write it with jnp.where."
        )
    branches = params["branches"]
    chosen = int(np.clip(index.array, 0, len(branches) - 1))
    return run(graph, branches[chosen], operands)


def _while(graph: Graph, inputs: list[Value], params: dict) -> list[Value]:
    """Refuses a loop; one of a known number of steps is a scan."""
    del graph, inputs, params
    raise ValueError(
        "model must loop a known number of times, got a while loop. Write it with "
        "jax.lax.scan, or fori_loop with constant bounds and reverse-mode gradients."
    )


@registry.ONNX.register(name="random_bits")
def _random_bits(graph, inputs, outputs, params):
    raise ValueError(
        "model must not draw random numbers, got an operation that does. Export "
        "stablehlo, or a network without it."
    )


_CONTROL = {"scan": _while, "cond": _cond, "while": _while}
