"""LiteRT files (.tflite), written without TensorFlow.

JAX lowers the network to StableHLO, litert-converter turns that into a flatbuffer. It
is lowered as for an accelerator, with native convolutions and pooling windows; a CPU's
form of them, shifted products, would become hundreds of operations.
"""

import contextlib
import io
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jnas import types
from jnas.export import packages, tracing

SIGNATURE, IMAGE, OUTPUT = "serving_default", "image", "logits"


def write(
    path: str | os.PathLike,
    function: Callable,
    image_shape: Sequence[int],
    *,
    batch_size: int = 1,
    calibration: np.ndarray | None = None,
) -> None:
    """Writes a function of images as a LiteRT file.

    Args:
      path: of the file.
      function: f32[B, H, W, C] -> f32[B, K], its parameters closed over.
      image_shape: H, W, C.
      batch_size: B of the file; the converter takes fixed sizes alone.
      calibration: raw images f32[N, H, W, C] that set the ranges of an int8 program;
        None keeps float32.

    Raises:
      packages.MissingPackage: litert-converter, or the quantizer of int8, is missing.
    """
    data = flatbuffer(function, (batch_size, *image_shape))
    if calibration is not None:
        data = quantized(data, calibration, batch_size)
    pathlib.Path(path).write_bytes(data)


def flatbuffer(function: Callable, shape: Sequence[int]) -> bytes:
    """Returns the bytes of a LiteRT file in float32.

    Args:
      function: f32[shape] -> f32[B, K].
      shape: B, H, W, C.

    Raises:
      packages.MissingPackage: litert-converter is missing.
    """
    with _quiet():
        api = packages.needed("litert_converter.converter_api_ext")
        ir = packages.needed("litert_converter.mlir.ir")
        passes = packages.needed("litert_converter.mlir.passmanager")
    images = jax.ShapeDtypeStruct(tuple(shape), jnp.float32)
    known = tracing.replaced(function, {"window_sum": _window_sum})
    # for a platform whose convolutions are StableHLO's own
    program = export.export(jax.jit(known), platforms=("tpu",))(images)
    context = ir.Context()
    api.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(program.mlir_module())
        api.set_signature(module.operation, SIGNATURE, [IMAGE], [OUTPUT])
        config = api.ConvertToTFLConfig()
        try:
            with _quiet(show_errors=False):  # they are in the exception too
                api.run_convert_to_tfl_passes(module, passes.PassManager(), config)
                return bytes(api.export_flatbuffer_to_bytes(module.operation))
        except (ValueError, RuntimeError) as error:
            found = re.search(r"error: (.*?)(: %|\n|$)", str(error))
            text = found[1] if found else " ".join(str(error).split())
            raise ValueError(
                "model must consist of operations that litert-converter knows, got "
                f"{text[:150]}. Export onnx or stablehlo."
            ) from error


def _window_sum(x, *, window, stride, margins):
    """A convolution by ones: LiteRT computes a sum of windows as a slow loop."""
    ones = jnp.ones((window, window, 1, x.shape[-1]), x.dtype)
    return jax.lax.conv_general_dilated(
        x,
        ones,
        (stride, stride),
        (margins, margins),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def quantized(data: bytes, images: np.ndarray, batch_size: int) -> bytes:
    """Returns a LiteRT file whose weights and activations are int8.

    Input and output stay float32. The ranges of the activations are those that the
    images give, so these should be the data set's.

    Args:
      data: a LiteRT file in float32.
      images: raw, f32[N, H, W, C], N at least ``batch_size``.
      batch_size: B of the file.

    Raises:
      packages.MissingPackage: ai-edge-quantizer is missing.
    """
    quantizer = packages.needed("ai_edge_quantizer.quantizer")
    recipe = packages.needed("ai_edge_quantizer.recipe")
    if len(images) < batch_size:
        raise ValueError(
            f"calibration must hold at least {batch_size} images, got {len(images)}. "
            "Give more."
        )
    count = len(images) // batch_size * batch_size
    batches = images[:count].reshape(-1, batch_size, *images.shape[1:])
    silent = io.StringIO()  # it prints progress and sizes
    with (
        _quiet(),
        contextlib.redirect_stdout(silent),
        contextlib.redirect_stderr(silent),
    ):
        made = quantizer.Quantizer(data, recipe.static_wi8_ai8())
        for place in ("INPUT", "OUTPUT"):
            made.update_quantization_recipe(
                ".*", recipe.TFLOperationName(place), algorithm_key="no_quantize"
            )
        ranges = made.calibrate({SIGNATURE: [{IMAGE: batch} for batch in batches]})
        return bytes(made.quantize(ranges).quantized_model)


def _interpreter(data: bytes) -> Any:
    with _quiet():
        module = packages.needed("ai_edge_litert.interpreter")
        interpreter = module.Interpreter(model_content=data, num_threads=1)
        interpreter.allocate_tensors()
    return interpreter


@contextlib.contextmanager
def _quiet(show_errors: bool = True) -> Iterator[None]:
    """Hides what C++ logs of its own work; an error shows it."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except Exception:
            os.dup2(kept, 2)
            log.seek(0)
            if show_errors:
                sys.stderr.write(log.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def read(path: str | os.PathLike) -> Callable[[types.Array], np.ndarray]:
    """Reads a LiteRT file.

    Args:
      path: of the file.

    Returns:
      f32[N, H, W, C] -> f32[N, K], batch by batch of the file's fixed size, which must
      divide N.

    Raises:
      packages.MissingPackage: ai-edge-litert is missing.
    """
    interpreter = _interpreter(pathlib.Path(path).read_bytes())
    (image,) = interpreter.get_input_details()
    (output,) = interpreter.get_output_details()
    size = int(image["shape"][0])

    def call(images):
        found = []
        for begin in range(0, len(images), size):
            batch = np.asarray(images[begin : begin + size], np.float32)
            interpreter.set_tensor(image["index"], batch)
            interpreter.invoke()
            found.append(interpreter.get_tensor(output["index"]))
        return np.concatenate(found)

    return call
