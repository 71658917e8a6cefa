"""How a function of images is traced: with any number of images, without loops."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
from jax import export

from jnas import types


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
