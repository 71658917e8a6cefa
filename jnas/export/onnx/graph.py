"""An ONNX graph under construction: its nodes, and tensors in the order one needs."""

import dataclasses
import itertools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from jnas.export.onnx import values
from jnas.export.onnx.values import Constant, Sizes, Tensor, Value


@dataclasses.dataclass
class Node:
    """One ONNX node of one output.

    Attributes:
      op: ONNX's operator.
      inputs: names of tensors and constants.
      output: name of its result.
      attributes: as written to the file: ints, dtypes, strings and lists of ints.
      notes: facts that ``folding`` needs and the file does not hold.
    """

    op: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any]
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)


class Graph:
    """Nodes in the order of computation, and the constants that they read.

    A writer of ``registry.ONNX`` calls ``laid`` to get its inputs in the order of axes
    that a node takes, and ``node`` or ``plain`` to add the node.
    """

    def __init__(self, image: str, shape: Sizes):
        """Makes a graph of one input.

        Args:
          image: name of the input, f32.
          shape: of the input; its first axis may be symbolic.
        """
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        groups = tuple((axis,) for axis in range(len(shape)))
        self.image = Tensor(image, tuple(shape), groups, np.dtype(np.float32))
        self._known: dict[Any, str] = {}
        self._numbers = itertools.count()
        self._batch: str | None = None

    def constant(self, array: Any, dtype: Any = None) -> str:
        """Returns the name of a constant; equal ones share a name.

        Args:
          array: anything that NumPy takes.
          dtype: of its elements; None keeps them.
        """
        array = np.asarray(array, dtype)
        key = (array.tobytes(), array.shape, array.dtype.str)
        if key not in self._known:
            self._known[key] = name = f"c{next(self._numbers)}"
            self.constants[name] = array
        return self._known[key]

    def emit(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node of one output and returns the output's name.

        Args:
          op: ONNX's operator.
          *inputs: names.
          **attributes: of the node.
        """
        name = f"v{next(self._numbers)}"
        self.nodes.append(Node(op, list(inputs), name, attributes))
        return name

    def note(self, **facts: Any) -> None:
        """Notes facts about the node that was added last.

        Args:
          **facts: see ``folding``.
        """
        self.nodes[-1].notes |= facts

    def keep(self, wanted: Collection[str]) -> None:
        """Drops the constants that nothing reads.

        Args:
          wanted: names that are read.
        """
        kept = {n: a for n, a in self.constants.items() if n in wanted}
        gone = set(self.constants) - set(kept)
        self.constants = kept
        self._known = {k: n for k, n in self._known.items() if n not in gone}

    def node(
        self,
        op: str,
        *inputs: str,
        sizes: Sizes,
        dtype: Any,
        groups: Sequence[Sequence[int]] | None = None,
        **attributes: Any,
    ) -> Tensor:
        """Adds a node of one output and returns a view of the output.

        Args:
          op: ONNX's operator.
          *inputs: names.
          sizes: of the output's stored axes.
          dtype: of the output.
          groups: of the view; None means that each axis is a stored one.
          **attributes: of the node.
        """
        if np.dtype(dtype).name == "bfloat16":
            raise ValueError(
                f"model must compute in float32, got bfloat16 in {op}. Build it with "
                "dtype float32: its parameters are."
            )
        if groups is None:
            groups = [(axis,) for axis in range(len(sizes))]
        name = self.emit(op, *inputs, **attributes)
        self.note(rank=len(sizes))
        return Tensor(name, tuple(sizes), tuple(map(tuple, groups)), np.dtype(dtype))

    def laid(self, value: Value, order: Sequence[int]) -> str:
        """Returns the name of a tensor whose axes are some of a variable's, in order.

        Args:
          value: the variable.
          order: numbers of its axes; the axes left out must have size 1.
        """
        if isinstance(value, Constant):
            return self._laid_constant(value, order)
        rest = [i for i in range(len(value.groups)) if i not in order]
        wanted = [a for i in (*order, *rest) for a in value.groups[i]]
        name = value.name
        if wanted != sorted(wanted):
            name = self._once("Transpose", name, perm=wanted)
        sizes = [value.shape[i] for i in order]
        if sizes != [value.sizes[a] for a in wanted]:
            name = self.reshaped(name, sizes)
        return name

    def moved(self, view: Tensor, stored: int, to: int) -> Tensor:
        """Returns the same view of a tensor one of whose stored axes has moved.

        Args:
          view: of the tensor.
          stored: number of the axis.
          to: its new number; the other axes keep their order.
        """
        if stored == to:
            return view
        order = [axis for axis in range(len(view.sizes)) if axis != stored]
        order.insert(to, stored)
        name = self._once("Transpose", view.name, perm=order)
        sizes = tuple(view.sizes[axis] for axis in order)
        groups = tuple(tuple(order.index(a) for a in g) for g in view.groups)
        return Tensor(name, sizes, groups, view.dtype)

    def plain(self, value: Value) -> Tensor:
        """Returns a tensor whose stored axes are the variable's, in its order.

        Args:
          value: the variable.
        """
        shape = value.shape
        name = self.laid(value, range(len(shape)))
        groups = tuple((axis,) for axis in range(len(shape)))
        return Tensor(name, shape, groups, value.dtype)

    def framed(self, value: Value, frame: Tensor) -> str | None:
        """Returns the name of a tensor that broadcasts against ``frame`` as stored.

        Args:
          value: a variable with the axes of ``frame``, each of equal size or of 1.
          frame: a view.

        Returns:
          The name, or None where another tensor's axes are merged in another way.
        """
        if isinstance(value, Constant):
            return self.constant(framed_constant(value.array, frame))
        if value.groups == frame.groups and value.sizes == frame.sizes:
            return value.name
        if any(len(group) > 1 for group in frame.groups):
            return None
        ordered = sorted((g[0], i) for i, g in enumerate(frame.groups) if g)
        return self.laid(value, [i for _, i in ordered])

    def reshaped(self, name: str, sizes: Sequence[Any]) -> str:
        """Returns a tensor's name after a Reshape.

        Args:
          name: of the tensor.
          sizes: its new shape; one of them may be symbolic.
        """
        if sum(not values.is_static([n]) for n in sizes) > 1:
            raise ValueError(
                "model must reshape so that one axis depends on the batch, got "
                f"{tuple(map(str, sizes))}. Keep the batch in an axis of its own."
            )
        shape = [n if values.is_static([n]) else -1 for n in sizes]
        return self._once("Reshape", name, self.constant(shape, np.int64))

    def batch(self) -> str:
        """Returns the name of i64[1], the number of images."""
        if self._batch is None:
            shape = self.emit("Shape", self.image.name)
            index = self.constant([0], np.int64)
            self._batch = self.emit("Gather", shape, index, axis=0)
        return self._batch

    def _once(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node unless the same is there; images are transposed once."""
        key = (op, inputs, repr(attributes))
        if key not in self._known:
            self._known[key] = self.emit(op, *inputs, **attributes)
        return self._known[key]

    def _laid_constant(self, value: Constant, order: Sequence[int]) -> str:
        whole = value.whole()
        if whole is not None:
            rest = [i for i in range(whole.ndim) if i not in order]
            shape = [whole.shape[i] for i in order]
            return self.constant(whole.transpose([*order, *rest]).reshape(shape))
        rest = [i for i in range(value.array.ndim) if i not in order]
        array = value.array.transpose([*order, *rest])
        array = array.reshape(array.shape[: len(order)])
        return self.expanded(self.constant(array), [value.shape[i] for i in order])

    def expanded(self, name: str, sizes: Sequence[Any]) -> str:
        """Returns a tensor's name after repeating it along the axes of size 1.

        Args:
          name: of the tensor.
          sizes: its new shape; symbolic ones must be the batch.
        """
        symbolic = self.image.sizes[0]
        for n in sizes:
            if not values.is_static([n]) and n != symbolic:
                raise ValueError(
                    f"model must repeat an array {symbolic} times, got {n} times. "
                    "Keep the batch in an axis of its own."
                )
        parts = [
            self.constant([n], np.int64) if values.is_static([n]) else self.batch()
            for n in sizes
        ]
        return self.emit("Expand", name, self.emit("Concat", *parts, axis=0))


def framed_constant(array: np.ndarray, frame: Tensor) -> np.ndarray:
    """Turns a constant so that it broadcasts against a view's stored tensor.

    Args:
      array: an axis for each axis of the view, of equal size or of 1; or none at all.
      frame: the view.
    """
    if array.ndim == 0:
        return array
    shape, order = [], []
    for group, size in zip(frame.groups, array.shape, strict=True):
        order += group
        shape += [1] * len(group) if size == 1 else [frame.sizes[a] for a in group]
    return array.reshape(shape).transpose(np.argsort(order))
