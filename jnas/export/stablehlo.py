"""StableHLO files: one compiled-anywhere program, read back with jax alone.

    from jax import export
    program = export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
    logits = program.call(images)  # raw pixels f32[N, H, W, C], any N

The file holds the program for CPU, CUDA and TPU. JAX reads files that are up to six
months older or newer than itself.
"""

import os
import pathlib
from collections.abc import Callable, Sequence

import jax
from jax import export

from jnas import types
from jnas.export import packages, tracing

PLATFORMS = ("cpu", "cuda", "tpu")


def write(
    path: str | os.PathLike, function: Callable, image_shape: Sequence[int]
) -> None:
    """Writes a function of images as a serialised StableHLO program.

    Args:
      path: of the file.
      function: f32[B, H, W, C] -> f32[B, K], its parameters closed over, for any B.
      image_shape: H, W, C.

    Raises:
      packages.MissingPackage: flatbuffers is missing.
      ValueError: the function needs to know B.
    """
    packages.needed("flatbuffers")
    with tracing.any_number():
        images = tracing.images(image_shape)
        made = export.export(jax.jit(function), platforms=PLATFORMS)(images)
    pathlib.Path(path).write_bytes(made.serialize())


def read(path: str | os.PathLike) -> Callable[[types.Array], types.Array]:
    """Reads a program that ``write`` wrote.

    Args:
      path: of the file.

    Returns:
      f32[B, H, W, C] -> f32[B, K], for any B.

    Raises:
      ValueError: it is no such file.
    """
    packages.needed("flatbuffers")
    data = bytearray(pathlib.Path(path).read_bytes())
    try:
        return jax.jit(export.deserialize(data).call)
    except Exception as error:  # flatbuffers raises struct.error, IndexError, ...
        first = " ".join(str(error).split())[:80]
        raise ValueError(
            f"path must be a file of jax.export, got {str(path)!r}: {first}. Export "
            "the model again."
        ) from error
