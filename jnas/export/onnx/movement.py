"""ONNX writers of the primitives that move elements without computing."""

from collections.abc import Sequence

import numpy as np

from jnas import registry
from jnas.export.onnx import values
from jnas.export.onnx.graph import Graph
from jnas.export.onnx.values import Constant, Sizes, Tensor, Value

_END = np.iinfo(np.int64).max  # "to the end", in ONNX's Slice


def tensor(graph: Graph, value: Value) -> Tensor:
    """Returns a view; a constant becomes a tensor of the graph.

    Args:
      graph: it belongs to.
      value: a variable.
    """
    return graph.plain(value) if isinstance(value, Constant) else value


def split(graph: Graph, value: Value, axes: Sequence[int]) -> Tensor:
    """Returns a view in which each of some axes is a stored axis of its own.

    Args:
      graph: it belongs to.
      value: a variable.
      axes: numbers of the variable's axes.
    """
    view = tensor(graph, value)
    if any(view.axis(axis) is None for axis in axes):
        return graph.plain(view)
    return view


def resized(view: Tensor, name: str, changes: dict[int, object]) -> Tensor:
    """Returns the view of a tensor that differs in the sizes of some stored axes.

    Args:
      view: of the tensor before.
      name: of the tensor now.
      changes: stored axis -> size.
    """
    sizes = tuple(changes.get(axis, size) for axis, size in enumerate(view.sizes))
    return Tensor(name, sizes, view.groups, view.dtype)


@registry.ONNX.register(name="reshape")
def _reshape(graph, inputs, outputs, params):
    if params.get("dimensions") is not None:
        raise ValueError(
            "model must reshape in row-major order, got dimensions. Transpose first."
        )
    return reshape(graph, inputs[0], outputs[0].shape)


@registry.ONNX.register(name="squeeze")
def _squeeze(graph, inputs, outputs, params):
    return reshape(graph, inputs[0], outputs[0].shape)


def reshape(graph: Graph, value: Value, shape: Sizes) -> Tensor:
    """Returns a view of another shape; merged axes and those of size 1 cost no node.

    Args:
      graph: it belongs to.
      value: a variable.
      shape: of as many elements.
    """
    view = tensor(graph, value)
    groups: list[tuple[int, ...]] = [()] * len(shape)
    for old, new in values.blocks(view.shape, shape):
        stored = [a for axis in old for a in view.groups[axis]]
        if len(new) == 1:
            groups[new[0]] = tuple(stored)
        elif [view.sizes[a] for a in stored] == [shape[axis] for axis in new]:
            for axis, a in zip(new, stored, strict=True):
                groups[axis] = (a,)
        elif len(stored) == 1:
            return reshape(graph, _divided(graph, view, stored[0], shape, new), shape)
        else:
            name = graph.reshaped(graph.plain(view).name, shape)
            groups = [(axis,) for axis in range(len(shape))]
            return Tensor(name, tuple(shape), tuple(groups), view.dtype)
    lost = set(range(len(view.sizes))) - {a for g in groups for a in g}
    if lost:  # stored axes of size 1
        kept = [a for a in range(len(view.sizes)) if a not in lost]
        sizes = tuple(view.sizes[a] for a in kept)
        name = graph.reshaped(view.name, sizes)
        groups = [tuple(kept.index(a) for a in g) for g in groups]
        return Tensor(name, sizes, tuple(groups), view.dtype)
    return view.viewed(groups)


def _divided(graph, view, stored, shape, new) -> Tensor:
    """Divides one stored axis where it is, as a shuffle of channels does."""
    sizes = list(view.sizes)
    sizes[stored : stored + 1] = [shape[axis] for axis in new]
    more = len(new) - 1
    groups = [
        tuple(
            part
            for a in group
            for part in (
                range(a, a + more + 1) if a == stored else (a + more * (a > stored),)
            )
        )
        for group in view.groups
    ]
    name = graph.reshaped(view.name, sizes)
    return Tensor(name, tuple(sizes), tuple(groups), view.dtype)


@registry.ONNX.register(name="transpose")
def _transpose(graph, inputs, outputs, params):
    view = tensor(graph, inputs[0])
    return view.viewed([view.groups[axis] for axis in params["permutation"]])


@registry.ONNX.register(name="broadcast_in_dim")
def _broadcast(graph, inputs, outputs, params):
    (value, *_), (out,) = inputs, outputs
    where = params["broadcast_dimensions"]
    sizes = [1] * len(out.shape)
    for axis, size in zip(where, value.shape, strict=True):
        sizes[axis] = size
    view = reshape(graph, value, tuple(sizes))
    if tuple(sizes) == tuple(out.shape):
        return view
    name = graph.plain(view).name
    # the size 1 keeps an axis as it is, which symbolic ones are
    wanted = [1 if a == b else b for a, b in zip(sizes, out.shape, strict=True)]
    if values.is_static(wanted):
        name = graph.emit("Expand", name, graph.constant(wanted, np.int64))
    else:
        name = graph.expanded(name, wanted)
    groups = tuple((axis,) for axis in range(len(sizes)))
    return Tensor(name, tuple(out.shape), groups, out.dtype)


@registry.ONNX.register(name="concatenate")
def _concatenate(graph, inputs, outputs, params):
    axis, out = params["dimension"], outputs[0]
    views = [v for v in inputs if isinstance(v, Tensor)]
    order = list(range(len(out.shape)))
    if views and all(len(group) == 1 for group in views[0].groups):
        order.sort(key=lambda i: views[0].groups[i])
    names = [graph.laid(value, order) for value in inputs]
    sizes = tuple(out.shape[i] for i in order)
    groups = [(order.index(i),) for i in range(len(order))]
    at = order.index(axis)
    return graph.node(
        "Concat", *names, sizes=sizes, groups=groups, dtype=out.dtype, axis=at
    )


@registry.ONNX.register(name="slice")
def _slice(graph, inputs, outputs, params):
    (value,), (out,) = inputs, outputs
    starts, limits = params["start_indices"], params["limit_indices"]
    steps = params["strides"] or (1,) * len(starts)
    return cut(graph, value, starts, limits, steps, out.shape)


def cut(
    graph: Graph,
    value: Value,
    starts: Sequence[int],
    limits: Sequence[int],
    steps: Sequence[int],
    shape: Sizes,
) -> Tensor:
    """Adds a Slice of the axes that change.

    Args:
      graph: gains it.
      value: a variable.
      starts: of each axis.
      limits: likewise; past the last element.
      steps: likewise.
      shape: of the result.
    """
    changed = [
        i
        for i, size in enumerate(value.shape)
        if not (
            values.is_static([starts[i]])
            and starts[i] == 0
            and limits[i] == size
            and steps[i] == 1
        )
    ]
    if not changed:
        return tensor(graph, value)
    numbers = [n for i in changed for n in (starts[i], limits[i], steps[i])]
    if not values.is_static(numbers):
        raise ValueError(
            "model must cut by fixed numbers, got a slice that depends on the batch. "
            "Keep the batch whole."
        )
    view = split(graph, value, changed)
    axes = [view.axis(i) for i in changed]
    lists = [[each[i] for i in changed] for each in (starts, limits)]
    lists += [axes, [steps[i] for i in changed]]
    names = [graph.constant(each, np.int64) for each in lists]
    name = graph.emit("Slice", view.name, *names)
    graph.note(to_the_end=all(limits[i] == value.shape[i] for i in changed))
    return resized(view, name, {view.axis(i): shape[i] for i in changed})


@registry.ONNX.register(name="rev")
def _rev(graph, inputs, outputs, params):
    view = split(graph, inputs[0], params["dimensions"])
    axes = [view.axis(axis) for axis in params["dimensions"]]
    lists = [-1] * len(axes), [-_END] * len(axes), axes, [-1] * len(axes)
    names = [graph.constant(each, np.int64) for each in lists]
    name = graph.emit("Slice", view.name, *names)
    return resized(view, name, {})


@registry.ONNX.register(name="split")
def _split(graph, inputs, outputs, params):
    axis, begin, parts = params["axis"], 0, []
    for size, out in zip(params["sizes"], outputs, strict=True):
        rank = len(out.shape)
        starts = [begin if i == axis else 0 for i in range(rank)]
        limits = list(inputs[0].shape)
        limits[axis] = begin = begin + size
        parts.append(cut(graph, inputs[0], starts, limits, [1] * rank, out.shape))
    return parts


@registry.ONNX.register(name="pad")
def _pad(graph, inputs, outputs, params):
    value, fill = inputs
    config = params["padding_config"]
    if any(interior for *_, interior in config):
        raise ValueError(
            "model must pad outside, got zeros between pixels. Use a transposed "
            "convolution's equal, resizing and a convolution."
        )
    if any(min(low, high) < 0 for low, high, _ in config):
        starts = [max(0, -low) for low, *_ in config]
        limits = [
            size - max(0, -high)
            for size, (_, high, _) in zip(value.shape, config, strict=True)
        ]
        shape = tuple(b - a for a, b in zip(starts, limits, strict=True))
        value = cut(graph, value, starts, limits, [1] * len(starts), shape)
    changed = [i for i, (low, high, _) in enumerate(config) if max(low, high) > 0]
    if not changed:
        return tensor(graph, value)
    view = split(graph, value, changed)
    pads = np.zeros((2, len(view.sizes)), np.int64)
    for i in changed:
        pads[:, view.axis(i)] = [max(0, n) for n in config[i][:2]]
    margins = graph.constant(pads.ravel())
    name = graph.emit("Pad", view.name, margins, graph.laid(fill, ()), mode="constant")
    return resized(view, name, {view.axis(i): outputs[0].shape[i] for i in changed})
