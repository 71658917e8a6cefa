"""How a function of images is traced: with any number of images, without loops."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import export
from jax.extend import core

from jnas import types

_INSIDE = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # params that hold a function's program
_CALLS = {  # primitives that do nothing but call it
    "checkpoint",
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
    "jit",
    "pjit",
    "remat",
    "remat2",
}


def images(image_shape: Sequence[int]) -> jax.ShapeDtypeStruct:
    """Returns the shape f32[batch, H, W, C] of any number of images.

    Args:
      image_shape: H, W, C.
    """
    (batch,) = export.symbolic_shape("batch")
    return jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32)


@contextlib.contextmanager
def any_number() -> Iterator[None]:
    """Explains the error of a function that needs to know the number of images.

    Raises:
      ValueError: the function cannot be traced with a symbolic number.
    """
    try:
        yield
    except (TypeError, jax.errors.JAXTypeError, NotImplementedError) as error:
        first = " ".join(str(error).split())[:120]
    except ValueError as error:
        if "_DimExpr" not in str(error) and "symbolic" not in str(error):
            raise
        first = " ".join(str(error).split())[:120]
    else:
        return
    raise ValueError(
        f"model must be a function of any number of images, got {first!r}. Write "
        "x.shape[0], not len(x), and no condition on it; or export tflite, whose batch "
        "is fixed."
    )


def unrolled(function: Callable) -> Callable[[types.Array], types.Array]:
    """Returns the function whose loops of a known number of steps are written out.

    A network's equal cells are one loop, which other programs cannot hold, and
    functions in functions are written in place.

    Args:
      function: of images.
    """

    def call(x):
        with jax.disable_jit():  # while it is traced
            return function(x)

    return call


def called(equation: Any) -> Any:
    """Returns the program of an equation that only calls it; None of any other.

    Args:
      equation: of a jaxpr.
    """
    if equation.primitive.name not in _CALLS:
        return None
    params = equation.params
    return next(params[p] for p in _INSIDE if hasattr(params.get(p), "eqns"))


def replaced(function: Callable, rules: Mapping[str, Callable]) -> Callable:
    """Returns the function with some primitives computed in another way.

    Args:
      function: of images.
      rules: name of a primitive -> (inputs, **params) -> its result.
    """

    def call(x):
        program = jax.make_jaxpr(unrolled(function))(x)
        (result,) = _evaluate(program, [x], rules)
        return result

    return call


def _evaluate(program: Any, inputs: Sequence[Any], rules: Mapping) -> list[Any]:
    jaxpr = getattr(program, "jaxpr", program)
    known = dict(zip(jaxpr.constvars, getattr(program, "consts", ()), strict=True))
    known |= dict(zip(jaxpr.invars, inputs, strict=True))

    def read(atom):
        return atom.val if isinstance(atom, core.Literal) else known[atom]

    for equation in jaxpr.eqns:
        values, inside = [read(v) for v in equation.invars], called(equation)
        primitive, params = equation.primitive, equation.params
        if inside is not None:
            results = _evaluate(inside, values, rules)
        elif primitive.name in rules:
            results = [rules[primitive.name](*values, **params)]
        else:
            results = primitive.bind(*values, **params)
            results = results if primitive.multiple_results else [results]
        known.update(zip(equation.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]
