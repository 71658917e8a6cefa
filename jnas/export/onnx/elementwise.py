"""ONNX writers of the primitives that work element by element."""

from collections.abc import Callable

import numpy as np

from jnas import registry
from jnas.export.onnx import values
from jnas.export.onnx.graph import Graph
from jnas.export.onnx.values import Constant, Tensor, Value

SAME = {  # primitives that one ONNX node of the same meaning computes
    "abs": "Abs",
    "acos": "Acos",
    "acosh": "Acosh",
    "add": "Add",
    "add_any": "Add",
    "asin": "Asin",
    "asinh": "Asinh",
    "atan": "Atan",
    "atanh": "Atanh",
    "ceil": "Ceil",
    "cos": "Cos",
    "cosh": "Cosh",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sinh": "Sinh",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tan": "Tan",
    "tanh": "Tanh",
}
OTHER = (
    "and", "atan2", "clamp", "convert_element_type", "copy", "copy_p", "erfc", "exp2",
    "expm1", "integer_pow", "is_finite", "log1p", "ne", "not", "or",
    "reduce_precision", "rem", "round", "rsqrt", "select_n", "square", "stop_gradient",
    "xor",
)  # fmt: skip
NAMES = {"max", *SAME, *OTHER}


def combine(
    graph: Graph, op: str, inputs: list[Value], shape: values.Sizes, dtype: np.dtype
) -> Tensor:
    """Adds a node that combines variables element by element.

    Args:
      graph: gains it.
      op: ONNX's operator.
      inputs: variables whose shapes are the result's, but for axes of size 1 and
        constants without axes.
      shape: of the result.
      dtype: of the result.

    Returns:
      A view in the order of axes of the first tensor that has the result's shape.
    """
    tensors = [v for v in inputs if isinstance(v, Tensor)]
    whole = [v for v in tensors if v.shape == shape]
    if whole:
        frame = max(whole, key=lambda v: len(v.sizes))
        names = [graph.framed(v, frame) for v in inputs]
        if None not in names:
            how = dict(sizes=frame.sizes, groups=frame.groups, dtype=dtype)
            result = graph.node(op, *names, **how)
            graph.note(framed=True)
            return result
    names = [_unordered(graph, v) for v in inputs]
    return graph.node(op, *names, sizes=shape, dtype=dtype)


def _unordered(graph: Graph, value: Value) -> str:
    if isinstance(value, Constant):
        return graph.constant(value.array)
    return graph.plain(value).name


def _same(op: str) -> Callable:
    def write(graph, inputs, outputs, params):
        return combine(graph, op, inputs, outputs[0].shape, outputs[0].dtype)

    return write


for _name, _op in SAME.items():
    registry.ONNX.register(_same(_op), name=_name)


@registry.ONNX.register(name="max")
def _max(graph, inputs, outputs, params):
    zero = [i for i, v in enumerate(inputs) if _is_zero(v)]
    if zero:
        inputs = [inputs[1 - zero[0]]]
    op = "Relu" if zero else "Max"
    return combine(graph, op, inputs, outputs[0].shape, outputs[0].dtype)


def _is_zero(value: Value) -> bool:
    return isinstance(value, Constant) and not value.array.any()


def _chain(graph: Graph, outputs: list, value: Value, *steps: tuple) -> Tensor:
    """Applies nodes one after another; a step is (op, constants after the value)."""
    for op, *rest in steps:
        others = [values.constant(np.asarray(r, value.dtype)) for r in rest]
        inputs = [value, *others]
        value = combine(graph, op, inputs, outputs[0].shape, value.dtype)
    return value


_STEPS = {  # primitives that are a few nodes in a row
    "erfc": (("Erf",), ("Neg",), ("Add", 1)),
    "expm1": (("Exp",), ("Add", -1)),
    "log1p": (("Add", 1), ("Log",)),
    "rsqrt": (("Sqrt",), ("Reciprocal",)),
}


def _row(steps: tuple) -> Callable:
    def write(graph, inputs, outputs, params):
        return _chain(graph, outputs, inputs[0], *steps)

    return write


for _name, _steps in _STEPS.items():
    registry.ONNX.register(_row(_steps), name=_name)


def _unchanged(graph, inputs, outputs, params):
    return inputs


for _name in ("copy", "copy_p", "stop_gradient", "optimization_barrier"):
    registry.ONNX.register(_unchanged, name=_name)


@registry.ONNX.register(name="square")
def _square(graph, inputs, outputs, params):
    shape, dtype = outputs[0].shape, outputs[0].dtype
    return combine(graph, "Mul", [*inputs, *inputs], shape, dtype)


@registry.ONNX.register(name="integer_pow")
def _integer_pow(graph, inputs, outputs, params):
    if params["y"] == 2:
        return _square(graph, inputs, outputs, params)
    return _chain(graph, outputs, inputs[0], ("Pow", params["y"]))


@registry.ONNX.register(name="atan2")
def _atan2(graph, inputs, outputs, params):
    """Moves atan(y / x) by half a turn where x is negative; 0 where both are 0.

    A zero has no sign here: (-0, -1) gives pi, where JAX gives -pi.
    """
    (y, x), shape, dtype = inputs, outputs[0].shape, outputs[0].dtype

    def node(op, *given, like=dtype):
        given = [
            values.constant(np.asarray(one, dtype)) if isinstance(one, float) else one
            for one in given
        ]
        return combine(graph, op, given, shape, like)

    zero = [node("Equal", one, 0.0, like=np.dtype(bool)) for one in (y, x)]
    x = node("Where", zero[1], 0.0, x)  # -0 is divided by as 0
    angle = node("Atan", node("Div", y, x))
    turn = node("Where", node("Less", y, 0.0, like=np.dtype(bool)), -np.pi, np.pi)
    left = node("Less", x, 0.0, like=np.dtype(bool))
    angle = node("Add", angle, node("Where", left, turn, 0.0))
    return node("Where", node("And", *zero, like=np.dtype(bool)), 0.0, angle)


@registry.ONNX.register(name="exp2")
def _exp2(graph, inputs, outputs, params):
    two = values.constant(np.asarray(2, inputs[0].dtype))
    return combine(graph, "Pow", [two, *inputs], outputs[0].shape, outputs[0].dtype)


@registry.ONNX.register(name="round")
def _round(graph, inputs, outputs, params):
    (x,), (out,) = inputs, outputs
    if int(params["rounding_method"]) == 1:  # halves to even numbers, as ONNX does
        return _chain(graph, outputs, x, ("Round",))
    size = _chain(graph, outputs, x, ("Abs",), ("Add", 0.5), ("Floor",))
    sign = _chain(graph, outputs, x, ("Sign",))
    return combine(graph, "Mul", [size, sign], out.shape, out.dtype)


@registry.ONNX.register(name="clamp")
def _clamp(graph, inputs, outputs, params):
    least, x, most = inputs
    shape, dtype = outputs[0].shape, outputs[0].dtype
    above = _max(graph, [x, least], outputs, params)
    return combine(graph, "Min", [above, most], shape, dtype)


@registry.ONNX.register(name="rem")
def _rem(graph, inputs, outputs, params):
    # fmod: the sign of the dividend, as lax.rem
    x = combine(graph, "Mod", inputs, outputs[0].shape, outputs[0].dtype)
    graph.nodes[-1].attributes["fmod"] = 1
    return x


@registry.ONNX.register(name="ne")
def _ne(graph, inputs, outputs, params):
    equal = combine(graph, "Equal", inputs, outputs[0].shape, np.dtype(bool))
    return _chain(graph, outputs, equal, ("Not",))


@registry.ONNX.register(name="is_finite")
def _is_finite(graph, inputs, outputs, params):
    shape, dtype = outputs[0].shape, outputs[0].dtype
    both = [combine(graph, op, inputs, shape, dtype) for op in ("IsInf", "IsNaN")]
    return _chain(graph, outputs, combine(graph, "Or", both, shape, dtype), ("Not",))


def _logical(op: str) -> Callable:
    def write(graph, inputs, outputs, params):
        if outputs[0].dtype != np.dtype(bool):
            raise ValueError(
                f"model must use {op} on booleans alone, got {outputs[0].dtype}. "
                "Compare with 0 first."
            )
        return combine(graph, op, inputs, outputs[0].shape, outputs[0].dtype)

    return write


for _op in ("And", "Or", "Xor", "Not"):
    registry.ONNX.register(_logical(_op), name=_op.lower())


@registry.ONNX.register(name="select_n")
def _select(graph, inputs, outputs, params):
    which, *cases = inputs
    if which.dtype != np.dtype(bool) or len(cases) != 2:
        raise ValueError(
            f"model must select between two cases, got {len(cases)} by {which.dtype}. "
            "Write it with jnp.where."
        )
    shape, dtype = outputs[0].shape, outputs[0].dtype
    return combine(graph, "Where", [which, cases[1], cases[0]], shape, dtype)


@registry.ONNX.register(name="convert_element_type")
def _convert(graph, inputs, outputs, params):
    (x,), (out,) = inputs, outputs
    if x.dtype == out.dtype:
        return x
    cast = combine(graph, "Cast", inputs, out.shape, out.dtype)
    graph.nodes[-1].attributes["to"] = out.dtype
    return cast


@registry.ONNX.register(name="reduce_precision")
def _reduce_precision(graph, inputs, outputs, params):
    bits = params["exponent_bits"], params["mantissa_bits"]
    if bits != (8, 23):
        raise ValueError(
            f"model must keep float32's precision, got {bits} bits of exponent and "
            "mantissa. Remove reduce_precision."
        )
    return inputs
