"""Fewer nodes of the same meaning: constants move into the node before them.

A convolution takes up the multiplication and the addition that follow it, which is all
that a batch norm of running statistics is. Each rule looks at a node and at the one
node that reads it; the rules are applied until none fits.
"""

import collections
from collections.abc import Callable

import numpy as np

from jnas.export.onnx.graph import Graph, Node


def fold(graph: Graph, output: str) -> str:
    """Simplifies a graph in place.

    Args:
      graph: its nodes and constants.
      output: name of the graph's output.

    Returns:
      The name of the output after that.
    """
    folder = _Folder(graph, output)
    while folder.step():
        pass
    return folder.output


class _Folder:
    """The rules, over one graph.

    Attributes:
      output: name of the graph's output.
    """

    def __init__(self, graph: Graph, output: str):
        self.graph, self.output = graph, output
        self.makers: dict[str, Node] = {}
        self.uses: collections.Counter = collections.Counter()

    def step(self) -> bool:
        """Applies the first rule that fits to each node; returns whether any did."""
        self._drop_unused()
        self.makers = {node.output: node for node in self.graph.nodes}
        changed, kept = False, []
        renamed: dict[str, str] = {}
        for node in self.graph.nodes:
            node.inputs = [renamed.get(name, name) for name in node.inputs]
            _constant_second(self.graph, node)
            result = next((r for rule in _RULES if (r := rule(self, node))), None)
            changed |= result is not None
            if result is None or result is node:
                kept.append(node)
                continue
            renamed[node.output] = result.output
            self.uses[result.output] += self.uses[node.output] - 1
        self.graph.nodes = kept
        self.output = renamed.get(self.output, self.output)
        return changed

    def before(self, node: Node, *ops: str) -> Node | None:
        """Returns the maker of a node's first input if the node alone reads it."""
        maker = self.makers.get(node.inputs[0])
        if maker is None or maker.op not in ops or self.uses[maker.output] != 1:
            return None
        return maker

    def value(self, name: str) -> np.ndarray | None:
        """Returns a constant's array, None for a tensor."""
        return self.graph.constants.get(name)

    def _drop_unused(self) -> None:
        wanted, kept = {self.output}, []
        for node in reversed(self.graph.nodes):
            if node.output in wanted:
                kept.append(node)
                wanted.update(node.inputs)
        self.graph.nodes = kept[::-1]
        self.uses = collections.Counter(n for node in kept for n in node.inputs)
        self.uses[self.output] += 1
        self.graph.keep(wanted)

    def factor(self, node: Node, *ops: str) -> np.ndarray | None:
        """Returns the constant of a product or sum that keeps the tensor's shape."""
        if node.op not in (ops or ("Mul", "Add")) or not node.notes.get("framed"):
            return None
        return self.value(node.inputs[1])


def _constant_second(graph: Graph, node: Node) -> None:
    """Writes a quotient by a constant as a product, a difference as a sum.

    The constant comes second.
    """
    arrays = [graph.constants.get(name) for name in node.inputs]
    if node.op in ("Add", "Mul") and arrays[0] is not None and arrays[1] is None:
        node.inputs.reverse()
    second = arrays[1] if len(arrays) == 2 else None
    if second is None or arrays[0] is not None or second.dtype.kind != "f":
        return
    if node.op == "Sub":
        node.op, node.inputs[1] = "Add", graph.constant(-second)
    elif node.op == "Div" and np.all(second):
        node.op, node.inputs[1] = "Mul", graph.constant(1 / second)


def _identity(folder: _Folder, node: Node) -> Node | None:
    """x * 1 and x + 0 are x."""
    array, maker = folder.factor(node), folder.makers.get(node.inputs[0])
    if array is None or maker is None:
        return None
    neutral = 1 if node.op == "Mul" else 0
    # 1 / n * n is 1 but for a rounding
    return maker if np.allclose(array, neutral, rtol=0, atol=neutral * 3e-7) else None


def _merge(folder: _Folder, node: Node) -> Node | None:
    """(x * a) * b is x * (a b); (x + a) + b is x + (a + b)."""
    array, maker = folder.factor(node), folder.before(node, node.op)
    other = None if maker is None else folder.factor(maker)
    if array is None or other is None:
        return None
    both = other * array if node.op == "Mul" else other + array
    maker.inputs[1] = folder.graph.constant(both.astype(array.dtype))
    return maker


def _swap(folder: _Folder, node: Node) -> Node | None:
    """(x + a) * b is x * b + a b, so that sums come last."""
    array, maker = folder.factor(node, "Mul"), folder.before(node, "Add")
    other = None if maker is None else folder.factor(maker)
    if array is None or other is None:
        return None
    maker.op, maker.inputs[1] = "Mul", node.inputs[1]
    node.op = "Add"
    node.inputs[1] = folder.graph.constant((other * array).astype(array.dtype))
    return node


def _per_feature(array: np.ndarray, rank: int, axis: int) -> np.ndarray | None:
    """Returns f32[F] or f32[] of a constant that differs along one axis alone."""
    if array.size == 1 and array.ndim <= rank:
        return array.reshape(())
    full = array.reshape((1,) * (rank - array.ndim) + array.shape)
    if full.ndim != rank or full.size != full.shape[axis]:
        return None
    return full.reshape(-1)


def _into_convolution(folder: _Folder, node: Node) -> Node | None:
    """A product or a sum after a convolution becomes its kernel and its bias."""
    array, conv = folder.factor(node), folder.before(node, "Conv")
    each = None if array is None else _per_feature(array, 4, 1)
    if conv is None or each is None or not _absorbs(folder, conv):
        return None
    _absorb(folder, conv, node.op, each)
    return conv


def _into_convolutions(folder: _Folder, node: Node) -> Node | None:
    """The same after convolutions whose features are joined, as FactorizedReduce's."""
    array, joined = folder.factor(node), folder.before(node, "Concat")
    each = None if array is None else _per_feature(array, 4, 1)
    if joined is None or each is None or joined.attributes["axis"] != 1:
        return None
    makers = [folder.makers.get(name) for name in joined.inputs]
    for maker in makers:
        if maker is None or maker.op != "Conv" or not _absorbs(folder, maker):
            return None
        if folder.uses[maker.output] != 1:
            return None
    ends = np.cumsum([len(folder.value(maker.inputs[1])) for maker in makers])
    each = np.broadcast_to(each, ends[-1:])
    for maker, part in zip(makers, np.split(each, ends[:-1]), strict=True):
        _absorb(folder, maker, node.op, part)
    return joined


def _absorbs(folder: _Folder, conv: Node) -> bool:
    return all(folder.value(name) is not None for name in conv.inputs[1:])


def _absorb(folder: _Folder, conv: Node, op: str, each: np.ndarray) -> None:
    """Changes a convolution's constants so that its result is multiplied or raised."""
    weights, *bias = (folder.value(name) for name in conv.inputs[1:])
    bias = bias[0] if bias else np.zeros(len(weights), weights.dtype)
    each = np.broadcast_to(each, bias.shape)
    if op == "Mul":
        weights, bias = weights * each[:, None, None, None], bias * each
    else:
        bias = bias + each
    names = [folder.graph.constant(a.astype(weights.dtype)) for a in (weights, bias)]
    conv.inputs = [conv.inputs[0], *names]


def _into_product(folder: _Folder, node: Node) -> Node | None:
    """A product after MatMul goes into the matrix; a sum makes it a Gemm."""
    array, maker = folder.factor(node), folder.before(node, "MatMul")
    matrix = None if maker is None else folder.value(maker.inputs[1])
    if array is None or matrix is None:
        return None
    rank = maker.notes["rank"]
    each = _per_feature(array, rank, rank - 1)
    if each is None or node.op == "Add" and rank != 2:
        return None
    if node.op == "Mul":
        maker.inputs[1] = folder.graph.constant((matrix * each).astype(matrix.dtype))
        return maker
    bias = np.broadcast_to(each, matrix.shape[1:])
    maker.op, maker.inputs = "Gemm", [*maker.inputs, folder.graph.constant(bias)]
    return maker


def _mean(folder: _Folder, node: Node) -> Node | None:
    """A sum divided by its number of terms is a mean."""
    array, total = folder.factor(node, "Mul"), folder.before(node, "ReduceSum")
    count = None if total is None else total.notes.get("count")
    if array is None or not isinstance(count, int):
        return None
    if not np.allclose(array * count, 1, rtol=0, atol=3e-7):
        return None
    axes = folder.value(total.inputs[1])
    total.op, total.inputs = "ReduceMean", total.inputs[:1]
    total.attributes = {"axes": axes.tolist(), "keepdims": 0}
    return total


def _cut_twice(folder: _Folder, node: Node) -> Node | None:
    """A Slice of a Slice of the same axes is one."""
    first = folder.before(node, "Slice") if node.op == "Slice" else None
    if first is None:
        return None
    one, two = ([folder.value(n) for n in each.inputs[1:]] for each in (first, node))
    if any(a is None for a in (*one, *two)) or (one[2] != two[2]).any():
        return None
    if min((*one[0], *one[1], *one[3], *two[0], *two[1], *two[3])) < 0:
        return None
    start, step = one[0] + two[0] * one[3], one[3] * two[3]
    end = np.minimum(one[1], one[0] + two[1] * one[3])
    names = [folder.graph.constant(a) for a in (start, end, one[2], step)]
    first.inputs = [first.inputs[0], *names]
    first.notes["to_the_end"] &= node.notes["to_the_end"]
    return first


def _strided(folder: _Folder, node: Node) -> Node | None:
    """A 1x1 convolution of every second pixel is one of stride 2."""
    whole = node.op == "Conv" and node.attributes.get("kernel_shape") == [1, 1]
    cut = folder.before(node, "Slice") if whole else None
    if cut is None or any(node.attributes.get("pads", ())):
        return None
    starts, ends, axes, steps = (folder.value(n) for n in cut.inputs[1:])
    strides = dict(zip(axes.tolist(), steps.tolist(), strict=True))
    if any(starts) or set(strides) - {2, 3} or min(steps) < 1:
        return None
    if not cut.notes.get("to_the_end"):
        return None
    old = node.attributes.get("strides", [1, 1])
    new = [old[i] * strides.get(i + 2, 1) for i in range(2)]
    node.attributes |= {"strides": new}
    node.inputs[0] = cut.inputs[0]
    return node


_RULES: tuple[Callable, ...] = (
    _identity,
    _merge,
    _swap,
    _into_convolution,
    _into_convolutions,
    _into_product,
    _mean,
    _cut_twice,
    _strided,
)
