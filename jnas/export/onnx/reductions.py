"""ONNX writers of sums, products of matrices, and other reductions."""

import math
import string
from collections.abc import Callable

import numpy as np

from jnas import registry
from jnas.export.onnx import movement
from jnas.export.onnx.graph import Graph
from jnas.export.onnx.values import Constant, Tensor, Value

_REDUCED = {
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
    "reduce_prod": "ReduceProd",
    "reduce_sum": "ReduceSum",
}


def _without(groups: tuple, gone: set[int]) -> list[tuple[int, ...]]:
    """Numbers the stored axes anew after some are gone."""
    return [tuple(a - sum(g < a for g in gone) for a in group) for group in groups]


def _reduction(op: str) -> Callable:
    def write(graph, inputs, outputs, params):
        view, axes = movement.tensor(graph, inputs[0]), params["axes"]
        gone = sorted(a for axis in axes for a in view.groups[axis])
        kept = [g for i, g in enumerate(view.groups) if i not in axes]
        if not gone:
            return view.viewed(kept)
        how = {"keepdims": 0}
        rest = []
        if op == "ReduceSum":  # at opset 17 it alone has its axes as an input
            rest = [graph.constant(gone, np.int64)]
        else:
            how["axes"] = gone
        sizes = [n for a, n in enumerate(view.sizes) if a not in gone]
        groups = _without(kept, set(gone))
        result = graph.node(
            op, view.name, *rest, sizes=sizes, groups=groups, dtype=view.dtype, **how
        )
        graph.note(count=math.prod(view.sizes[a] for a in gone))
        return result

    return write


for _name, _op in _REDUCED.items():
    registry.ONNX.register(_reduction(_op), name=_name)


def _index_of(op: str) -> Callable:
    def write(graph, inputs, outputs, params):
        (axis,) = params["axes"]
        view = movement.split(graph, inputs[0], [axis])
        at = view.axis(axis)
        sizes = [n for a, n in enumerate(view.sizes) if a != at]
        kept = [g for i, g in enumerate(view.groups) if i != axis]
        how = dict(sizes=sizes, groups=_without(kept, {at}))
        found = graph.node(
            op, view.name, dtype=np.int64, axis=at, keepdims=0, **how
        )  # the first of equal ones, as JAX does
        dtype = outputs[0].dtype
        return graph.node("Cast", found.name, dtype=dtype, to=dtype, **how)

    return write


registry.ONNX.register(_index_of("ArgMax"), name="argmax")
registry.ONNX.register(_index_of("ArgMin"), name="argmin")


@registry.ONNX.register(name="cumsum")
def _cumsum(graph, inputs, outputs, params):
    view = movement.split(graph, inputs[0], [params["axis"]])
    axis = graph.constant(view.axis(params["axis"]), np.int64)
    how = {"reverse": int(params["reverse"])}
    return movement.resized(view, graph.emit("CumSum", view.name, axis, **how), {})


@registry.ONNX.register(name="dot_general")
def _dot_general(graph, inputs, outputs, params):
    """A product with a constant matrix is a 1x1 convolution where images are NCHW."""
    (contracted, batch), (left, right) = params["dimension_numbers"], inputs
    kernel = right.whole() if isinstance(right, Constant) else None
    if kernel is not None and kernel.ndim == 2 and len(contracted[0]) == 1:
        matrix = kernel if contracted[1][0] == 0 else kernel.T
        return _times_matrix(graph, left, contracted[0][0], matrix)
    return _einsum(graph, left, right, contracted, batch, outputs[0])


def _times_matrix(graph: Graph, left: Value, axis: int, matrix: np.ndarray) -> Tensor:
    """Multiplies one axis by a matrix; the new axis is the last."""
    view = movement.split(graph, left, [axis])
    if len(view.sizes) == 4:
        view = graph.moved(view, view.axis(axis), 1)
    stored, rank, new = view.axis(axis), len(view.sizes), matrix.shape[1]
    groups = [g for i, g in enumerate(view.groups) if i != axis]
    if rank == 4:
        weights = graph.constant(matrix.T[:, :, None, None])
        sizes = (view.sizes[0], new, *view.sizes[2:])
        how = dict(sizes=sizes, groups=[*groups, (1,)], dtype=view.dtype)
        return graph.node("Conv", view.name, weights, kernel_shape=[1, 1], **how)
    if stored != rank - 1:
        order = [i for i in range(len(view.groups)) if i != axis]
        name = graph.laid(view, [*order, axis])
        sizes = (*(view.shape[i] for i in order), new)
        groups = [(i,) for i in range(len(order))]
    else:
        name, sizes = view.name, (*view.sizes[:-1], new)
    return graph.node(
        "MatMul",
        name,
        graph.constant(matrix),
        sizes=sizes,
        groups=[*groups, (len(sizes) - 1,)],
        dtype=view.dtype,
    )


def _einsum(graph, left, right, contracted, batch, out) -> Tensor:
    """Any other product: the letters of the axes say which are summed."""
    letters = iter(string.ascii_lowercase)
    of_left = [next(letters) for _ in left.shape]
    of_right = [next(letters) for _ in right.shape]
    for pairs in (contracted, batch):
        for a, b in zip(*pairs, strict=True):
            of_right[b] = of_left[a]
    shared = [of_left[a] for a in batch[0]]
    summed = {of_left[a] for a in contracted[0]}
    free = [c for c in of_left if c not in summed and c not in shared]
    free += [c for c in of_right if c not in summed and c not in shared]
    equation = "{},{}->{}".format(*map("".join, (of_left, of_right, shared + free)))
    names = [graph.plain(v).name for v in (left, right)]
    sizes = tuple(out.shape)
    return graph.node("Einsum", *names, sizes=sizes, dtype=out.dtype, equation=equation)
