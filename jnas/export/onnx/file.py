"""A graph as an ONNX file."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import types
from jnas.export import packages
from jnas.export.onnx import (  # the writers register themselves
    folding,
    gathering,
    movement,
    reductions,
    walk,
    windows,
)
from jnas.export.onnx.graph import Graph, Node

OPSET = 17  # read by onnxruntime since 1.12, of 2022
OUTPUT = "logits"
WRITERS = gathering, movement, reductions, windows


def write(
    path: str | os.PathLike, function: Callable, image_shape: Sequence[int]
) -> None:
    """Writes a function of images as an ONNX file.

    The file's input is ``image``, f32[batch, H, W, C] of raw pixels, its output
    ``logits``, f32[batch, ...], for any batch. Images are NCHW inside, and a batch norm
    of running statistics is part of the convolution before it.

    Args:
      path: of the file.
      function: f32[B, H, W, C] -> f32[B, ...], its parameters closed over.
      image_shape: H, W, C.

    Raises:
      ValueError: the function uses a primitive without a writer, see ``walk``.
      packages.MissingPackage: onnx is missing.
    """
    pathlib.Path(path).write_bytes(model(function, image_shape).SerializeToString())


def read(path: str | os.PathLike) -> Callable[[types.Array], np.ndarray]:
    """Reads an ONNX file of one input and one output, for the CPU.

    Args:
      path: of the file.

    Returns:
      f32[B, H, W, C] -> f32[B, ...].

    Raises:
      packages.MissingPackage: onnxruntime is missing.
    """
    runtime = packages.needed("onnxruntime")
    session = runtime.InferenceSession(
        pathlib.Path(path).read_bytes(), providers=["CPUExecutionProvider"]
    )
    (image,) = session.get_inputs()

    def call(images):
        return session.run(None, {image.name: np.asarray(images, np.float32)})[0]

    return call


def model(function: Callable, image_shape: Sequence[int]) -> Any:
    """Returns the onnx.ModelProto of a function of images; see ``write``.

    Args:
      function: f32[B, H, W, C] -> f32[B, ...].
      image_shape: H, W, C.
    """
    onnx = packages.needed("onnx")
    graph, output = walk.translate(function, image_shape)
    if output in graph.constants or output == graph.image.name:
        output = graph.emit("Identity", output)
    output = folding.fold(graph, output)
    like = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    rank = len(jax.eval_shape(function, like).shape)
    made = _proto(onnx, graph, output, rank)
    onnx.checker.check_model(made, full_check=True)
    return made


def _proto(onnx: Any, graph: Graph, output: str, rank: int) -> Any:
    def name(tensor):
        return OUTPUT if tensor == output else tensor

    nodes = [
        onnx.helper.make_node(
            node.op,
            list(map(name, node.inputs)),
            [name(node.output)],
            name=f"{node.op}_{number}",
            **_attributes(onnx, node),
        )
        for number, node in enumerate(graph.nodes)
    ]
    image = [n if isinstance(n, int) else str(n) for n in graph.image.sizes]
    real = onnx.TensorProto.FLOAT
    inputs = onnx.helper.make_tensor_value_info(walk.IMAGE, real, image)
    shape = [image[0], *[None] * (rank - 1)]
    outputs = onnx.helper.make_tensor_value_info(OUTPUT, real, shape)
    constants = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(array), key)
        for key, array in graph.constants.items()
    ]
    body = onnx.helper.make_graph(nodes, "jnas", [inputs], [outputs], constants)
    return onnx.helper.make_model(
        body,
        producer_name="jnas",
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=8,
    )


def _attributes(onnx: Any, node: Node) -> dict[str, Any]:
    found = dict(node.attributes)
    if "to" in found:
        found["to"] = onnx.helper.np_dtype_to_tensor_dtype(found["to"])
    return found
