"""Packages that a format needs and an ordinary install of jnas does not bring."""

import importlib
from typing import Any

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


class MissingPackage(ValueError):
    """A package that is not installed; the message has the pip command."""


def needed(name: str) -> Any:
    """Imports a module that an ordinary install of jnas does not bring.

    Args:
      name: of the module; its first part is a key of ``INSTALL``.

    Raises:
      MissingPackage: it cannot be imported.
    """
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackage(
            f"{package} must be installed for this format, got no such package. Run "
            f"{INSTALL[package]}."
        ) from error
