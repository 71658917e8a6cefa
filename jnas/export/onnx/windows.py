"""ONNX writers of convolutions and pooling windows: JAX's own and those of jnas.ops."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jnas import registry
from jnas.export.onnx import elementwise, values
from jnas.export.onnx.graph import Graph
from jnas.export.onnx.values import Constant, Tensor, Value

Margins = Sequence[tuple[int, int]]  # zeros before and after rows and columns


def convolution(
    graph: Graph,
    image: Value,
    kernel: Value,
    out: Any,
    *,
    image_axes: Sequence[int],
    kernel_axes: Sequence[int],
    out_axes: Sequence[int],
    strides: Sequence[int],
    margins: Margins,
    dilations: Sequence[int],
    groups: int,
) -> Tensor:
    """Adds a Conv.

    Args:
      graph: gains it.
      image: its axes but for those of ``image_axes`` have size 1.
      kernel: likewise with ``kernel_axes``.
      out: shape and dtype of the result.
      image_axes: batch, features, rows, columns.
      kernel_axes: output features, input features of a group, rows, columns.
      out_axes: as ``image_axes``, of the result.
      strides: in pixels.
      margins: zeros around the image.
      dilations: step between the kernel's taps, in pixels.
      groups: of features.
    """
    names = graph.laid(image, image_axes), graph.laid(kernel, kernel_axes)
    views: list[tuple[int, ...]] = [()] * len(out.shape)
    for stored, axis in enumerate(out_axes):
        views[axis] = (stored,)
    return graph.node(
        "Conv",
        *names,
        sizes=tuple(out.shape[axis] for axis in out_axes),
        groups=views,
        dtype=out.dtype,
        kernel_shape=[kernel.shape[axis] for axis in kernel_axes[2:]],
        strides=list(strides),
        pads=_pads(margins),
        dilations=list(dilations),
        group=groups,
    )


def _pads(margins: Margins) -> list[int]:
    """Orders margins as ONNX does: all that come before, then all after."""
    return [before for before, _ in margins] + [after for _, after in margins]


def _one_set(name: str, kernel: Value) -> None:
    if kernel.shape[0] != 1:
        raise ValueError(
            f"model must not map {name} over kernels, got {kernel.shape[0]} sets. "
            "Apply the layers one after another."
        )


@registry.ONNX.register(name="dense_conv")
def _dense(graph, inputs, outputs, params):
    return _all_features(graph, "dense_conv", inputs, outputs, params)


@registry.ONNX.register(name="pointwise_conv")
def _pointwise(graph, inputs, outputs, params):
    how = params | {"padding": (0, 0)}
    return _all_features(graph, "pointwise_conv", inputs, outputs, how)


def _all_features(graph, name, inputs, outputs, params):
    image, kernel = inputs
    _one_set(name, kernel)
    return convolution(
        graph,
        image,
        kernel,
        outputs[0],
        image_axes=(1, 4, 2, 3),
        kernel_axes=(4, 3, 1, 2),
        out_axes=(1, 4, 2, 3),
        strides=params["stride"],
        margins=[(n, n) for n in params["padding"]],
        dilations=(1, 1),
        groups=1,
    )


@registry.ONNX.register(name="depthwise_conv")
def _depthwise(graph, inputs, outputs, params):
    image, kernel = inputs
    _one_set("depthwise_conv", kernel)
    dilation, margins = params["dilation"], []
    for size in kernel.shape[1:3]:
        margins.append((dilation * (size // 2),) * 2)
    return convolution(
        graph,
        image,
        kernel,
        outputs[0],
        image_axes=(1, 4, 2, 3),
        kernel_axes=(3, 0, 1, 2),  # the one set stands for a group's one feature
        out_axes=(1, 4, 2, 3),
        strides=params["stride"],
        margins=margins,
        dilations=(dilation, dilation),
        groups=image.shape[-1],
    )


@registry.ONNX.register(name="conv_general_dilated")
def _conv(graph, inputs, outputs, params):
    numbers = params["dimension_numbers"]
    rule = ""
    if len(numbers.lhs_spec) not in (3, 4):
        rule = f"of series or images, got {len(numbers.lhs_spec) - 2} spatial axes"
    elif set(params["lhs_dilation"]) != {1}:
        rule = f"of whole pixels, got lhs_dilation={params['lhs_dilation']}"
    elif params["batch_group_count"] != 1:
        rule = f"of one batch, got batch_group_count={params['batch_group_count']}"
    elif min(n for pair in params["padding"] for n in pair) < 0:
        rule = f"with margins of at least 0, got {params['padding']}"
    if rule:
        raise ValueError(
            f"model must have convolutions {rule}. Write it with jnas.ops.dense_conv."
        )
    return convolution(
        graph,
        *inputs,
        outputs[0],
        image_axes=numbers.lhs_spec,
        kernel_axes=numbers.rhs_spec,
        out_axes=numbers.out_spec,
        strides=params["window_strides"],
        margins=params["padding"],
        dilations=params["rhs_dilation"],
        groups=params["feature_group_count"],
    )


def _pool(graph, op, image, axes, out, window, strides, margins, **more) -> Tensor:
    """Adds a pooling node over two axes, the third and fourth of ``axes``."""
    name = graph.laid(image, axes)
    if any(max(pair) >= side for pair, side in zip(margins, window, strict=True)):
        # runtimes refuse margins as wide as the window
        fill = graph.constant(-np.inf if op == "MaxPool" else 0, out.dtype)
        pads = graph.constant([0, 0, *_pads(margins)[:2], 0, 0, *_pads(margins)[2:]])
        name = graph.emit("Pad", name, pads, fill, mode="constant")
        margins = [(0, 0)] * 2
    views: list[tuple[int, ...]] = [()] * len(out.shape)
    for stored, axis in enumerate(axes):
        views[axis] = (stored,)
    return graph.node(
        op,
        name,
        sizes=tuple(out.shape[axis] for axis in axes),
        groups=views,
        dtype=out.dtype,
        kernel_shape=list(window),
        strides=list(strides),
        pads=_pads(margins),
        **more,
    )


@registry.ONNX.register(name="window_max")
def _window_max(graph, inputs, outputs, params):
    window, stride = params["window"], params["stride"]
    margins = [(window // 2, window // 2)] * 2
    how = (outputs[0], [window] * 2, [stride] * 2, margins)
    return _pool(graph, "MaxPool", inputs[0], (0, 3, 1, 2), *how)


@registry.ONNX.register(name="window_sum")
def _window_sum(graph, inputs, outputs, params):
    """An average over the pixels inside, times their number.

    The networks divide by that number: then the two factors leave one AveragePool.
    """
    window, stride, margins = (params[n] for n in ("window", "stride", "margins"))
    how = (outputs[0], [window] * 2, [stride] * 2, [margins] * 2)
    mean = _pool(
        graph, "AveragePool", inputs[0], (0, 3, 1, 2), *how, count_include_pad=0
    )
    counts = [
        pixels_inside(size, positions, window, stride, margins[0])
        for size, positions in zip(
            inputs[0].shape[1:3], outputs[0].shape[1:3], strict=True
        )
    ]
    inside = np.outer(*counts)[None, :, :, None].astype(outputs[0].dtype)
    return _times(graph, mean, inside)


def _times(graph: Graph, view: Tensor, array: np.ndarray) -> Tensor:
    factor = values.constant(array)
    return elementwise.combine(graph, "Mul", [view, factor], view.shape, view.dtype)


def pixels_inside(
    size: int, positions: int, window: int, stride: int, before: int
) -> np.ndarray:
    """Counts the pixels of the image under a window, at each of its positions.

    Args:
      size: of the image along one axis.
      positions: of the window.
      window: its side.
      stride: between positions.
      before: zeros before the image.
    """
    starts = np.arange(positions) * stride - before
    return np.minimum(starts + window, size) - np.maximum(starts, 0)


def _reduce_window(graph, inputs, outputs, params, op, **more) -> Tensor:
    """Adds JAX's own pooling window, over any two axes."""
    image, window = inputs[0], params["window_dimensions"]
    sliding = [i for i, n in enumerate(window) if n != 1]
    sliding += [i for i in range(len(window) - 1, -1, -1) if i not in sliding]
    lead = [i for i in range(len(window)) if i not in sliding[:2]]
    dilations = params["window_dilation"]
    plain = all(
        params["window_strides"][i] == 1 and params["padding"][i] == (0, 0)
        for i in lead
    )
    known = len(window) == 4 and all(window[i] == 1 for i in lead) and plain
    undilated = {*params["base_dilation"], *(dilations if more else ())} == {1}
    if isinstance(image, Constant) or not known or not undilated:
        raise ValueError(
            "model must pool over two axes of four, without dilation, got a window "
            f"{window}. Write it with jnas.ops.max_pool or avg_pool."
        )
    rows, columns = sorted(sliding[:2])
    strides, margins = (
        [params[name][i] for i in (rows, columns)]
        for name in ("window_strides", "padding")
    )
    if op == "MaxPool":
        more["dilations"] = [dilations[i] for i in (rows, columns)]
    sides = [window[rows], window[columns]]
    axes = (*lead, rows, columns)
    return _pool(graph, op, image, axes, outputs[0], sides, strides, margins, **more)


@registry.ONNX.register(name="reduce_window_max")
def _reduce_window_max(graph, inputs, outputs, params):
    return _reduce_window(graph, inputs, outputs, params, "MaxPool")


@registry.ONNX.register(name="reduce_window_sum")
def _reduce_window_sum(graph, inputs, outputs, params):
    mean = _reduce_window(
        graph, inputs, outputs, params, "AveragePool", count_include_pad=1
    )
    return _times(graph, mean, np.float32(np.prod(params["window_dimensions"])))
