"""What the writers share: packages that may be missing, and images to check with."""

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

INSTALL = {  # module -> the command that brings it
    "ai_edge_litert": "pip install 'ai-edge-litert>=2,<3'",
    "ai_edge_quantizer": "pip install 'ai-edge-quantizer>=0.10,<0.11'",
    # pip refuses it beside chex: it requires a package, never imported, that pins
    # typing-extensions
    "litert_converter": "pip install --no-deps litert-converter==0.5.0",
    "flatbuffers": "pip install 'flatbuffers>=24'",
    "onnx": "pip install 'onnx>=1.18,<2'",
    "onnxruntime": "pip install 'onnxruntime>=1.20,<2'",
}


def needed(name: str) -> Any:
    """Imports a module that an ordinary install of jnas does not bring.

    Args:
      name: of the module; its first part is a key of ``INSTALL``.

    Raises:
      ModuleNotFoundError: it is missing; the message has the pip command.
    """
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{package} must be installed for this format, got no such package. Run "
            f"{INSTALL[package]}."
        ) from error


def raw_images(
    key: int, image_shape: Sequence[int], *, number: int, scale: float = 255.0
) -> np.ndarray:
    """Draws images of independent pixels, f32[number, H, W, C] in 0..scale.

    Args:
      key: seed.
      image_shape: H, W, C.
      number: of images.
      scale: the largest value.
    """
    draw = np.random.default_rng(key).random((number, *image_shape), np.float32)
    return np.round(draw * 255) * np.float32(scale / 255)
