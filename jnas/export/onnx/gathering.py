"""ONNX writers of the primitives that pick elements by number."""

import numpy as np

from jnas import registry
from jnas.export.onnx import movement, values
from jnas.export.onnx.values import Constant


@registry.ONNX.register(name="gather")
def _gather(graph, inputs, outputs, params):
    value, indices = inputs
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    if numbers.operand_batching_dims:
        raise _unknown()
    if isinstance(indices, Constant):
        if indices.array.size == len(numbers.start_index_map):
            return _window(graph, value, indices, outputs[0], numbers, sizes)
        mesh = _mesh(indices.array)
        if mesh and numbers.collapsed_slice_dims == numbers.start_index_map:
            return _grid(graph, value, mesh, outputs[0], numbers)
    return _rows(graph, value, indices, outputs[0], numbers, sizes)


def _window(graph, value, indices, out, numbers, sizes):
    """Cuts the one window that constant indices choose."""
    starts = [0] * len(sizes)
    for axis, start in zip(numbers.start_index_map, indices.array.ravel(), strict=True):
        # out of the image, JAX moves the window inside
        starts[axis] = int(np.clip(start, 0, value.shape[axis] - sizes[axis]))
    limits = [a + n for a, n in zip(starts, sizes, strict=True)]
    part = movement.cut(graph, value, starts, limits, [1] * len(sizes), sizes)
    return movement.reshape(graph, part, out.shape)


def _mesh(indices: np.ndarray) -> list[tuple[int, int, int]] | None:
    """Returns (start, step, count) of each axis where i[.., n] are a regular grid.

    A strided slice becomes such indices where the batch is symbolic.
    """
    *counts, axes = indices.shape
    if len(counts) != axes:
        return None
    found = []
    for axis, count in enumerate(counts):
        along = np.moveaxis(indices[..., axis], axis, 0).reshape(count, -1)[:, 0]
        step = int(along[1] - along[0]) if count > 1 else 1
        found.append((int(along[0]), step, count))
    lines = [start + step * np.arange(count) for start, step, count in found]
    grid = np.stack(np.meshgrid(*lines, indexing="ij"), -1)
    regular = min(step for _, step, _ in found) > 0 and (grid == indices).all()
    return found if regular else None


def _grid(graph, value, mesh, out, numbers):
    """Cuts a regular grid; its axes stand where the result has them."""
    rank = len(value.shape)
    starts, limits, steps = [0] * rank, list(value.shape), [1] * rank
    for axis, (start, step, count) in zip(numbers.start_index_map, mesh, strict=True):
        starts[axis], steps[axis] = start, step
        # a stride may end before the last pixel: take what is left of it as well
        limits[axis] = min(value.shape[axis], start + step * count)
    shape = list(value.shape)
    for axis, (_, _, count) in zip(numbers.start_index_map, mesh, strict=True):
        shape[axis] = count
    part = movement.cut(graph, value, starts, limits, steps, tuple(shape))
    others = [i for i in range(rank) if i not in numbers.collapsed_slice_dims]
    places = dict(zip(numbers.offset_dims, others, strict=True))
    rest = [i for i in range(len(out.shape)) if i not in places]
    places |= dict(zip(rest, numbers.start_index_map, strict=True))
    return part.viewed([part.groups[places[i]] for i in range(len(out.shape))])


def _rows(graph, value, indices, out, numbers, sizes):
    """Takes whole rows along one axis, as jnp.take does."""
    axes = numbers.start_index_map
    whole = [i for i, n in enumerate(sizes) if i not in axes and n == value.shape[i]]
    at = axes[0] if axes else 0
    offsets = tuple(
        i + (len(indices.shape) - 1 if i >= at else 0) for i in range(len(whole))
    )
    simple = (
        len(axes) == 1
        and numbers.collapsed_slice_dims == axes
        and len(whole) == len(sizes) - 1
        and values.is_static([sizes[at]])
        and sizes[at] == 1
        and indices.shape[-1] == 1
        and numbers.offset_dims == offsets
    )
    if not simple:
        raise _unknown()
    rows = graph.plain(movement.reshape(graph, indices, indices.shape[:-1]))
    x = graph.plain(value)
    name = graph.emit("Gather", x.name, rows.name, axis=at)
    groups = tuple((axis,) for axis in range(len(out.shape)))
    return values.Tensor(name, tuple(out.shape), groups, out.dtype)


def _unknown() -> ValueError:
    return ValueError(
        "model must index by constants or take rows along one axis, got another "
        "gather. Write it with slices, jnp.take or a one-hot product."
    )


@registry.ONNX.register(name="dynamic_slice")
def _dynamic_slice(graph, inputs, outputs, params):
    value, *starts = inputs
    if not all(isinstance(start, Constant) for start in starts):
        raise ValueError(
            "model must cut at constant places, got a slice whose start depends on the "
            "image. Use a one-hot product."
        )
    sizes = params["slice_sizes"]
    begins = []
    for start, n, size in zip(starts, value.shape, sizes, strict=True):
        at = int(start.array)
        begins.append(int(np.clip(at, 0, n - size)) if at else 0)
    limits = [a + n for a, n in zip(begins, sizes, strict=True)]
    steps = [1] * len(sizes)
    return movement.cut(graph, value, begins, limits, steps, outputs[0].shape)


@registry.ONNX.register(name="iota")
def _iota(graph, inputs, outputs, params):
    raise ValueError(
        "model must number fixed axes, got an iota whose size depends on the batch. "
        "Number pixels or features."
    )
