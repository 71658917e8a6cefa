"""The symbolic number of images that a function is traced with."""

import contextlib
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from jax import export


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
