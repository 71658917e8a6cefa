"""The genotype: cells described by operation names, and the rules that they obey."""

import dataclasses
from typing import Any

MAX_STATES = 64
MAX_NAME = 100


class GenotypeError(ValueError):
    """Raised for a genotype that breaks a rule; its message is one printable line."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell: its edges, and the states that are concatenated to its output.

    Attributes:
      edges: (from, to, operation), in any order; duplicates count as two edges.
      concat: the nodes that are concatenated to the output, in increasing order.

    Raises:
      GenotypeError: an edge or a state that breaks a rule.

    Example:
      >>> Cell(edges=((0, 2, "skip_connect"),), concat=(2, 3)).num_nodes
      2
    """

    edges: tuple[tuple[int, int, str], ...]
    concat: tuple[int, ...]

    def __post_init__(self):
        """Checks every edge and state."""
        check(type(self.edges) is tuple, "edges", "be a tuple", self.edges)
        for i, edge in enumerate(self.edges):
            _check_edge(f"edges[{i}]", edge)
        _check_concat(self.concat, self.num_inputs)

    @property
    def num_inputs(self) -> int:
        """1 where an edge leads to state 1, as in NAS-Bench-201, else 2."""
        return 1 if any(to == 1 for _, to, _ in self.edges) else 2

    @property
    def num_nodes(self) -> int:
        """The number of nodes, up to the largest state in edges and concat."""
        largest = max([*self.concat, *(to for _, to, _ in self.edges)])
        return largest - self.num_inputs + 1


@dataclasses.dataclass(frozen=True)
class Genotype:
    """An architecture: the name of its space, and its cells by name.

    ``==`` depends on the order of edges, which in papers is that of their weights;
    compare ``canonical()`` where the order should not matter.

    Attributes:
      space: the name of the space in which the architecture was found.
      cells: (name, cell) pairs, in the space's order.

    Raises:
      GenotypeError: a name is not printable, there is no cell, or two cells share a
        name.
    """

    space: str
    cells: tuple[tuple[str, Cell], ...]

    def __post_init__(self):
        """Checks the names."""
        check_name("space", self.space)
        ok = type(self.cells) is tuple and len(self.cells) > 0
        check(ok, "cells", "be a tuple of at least one (name, Cell)", self.cells)
        for pair in self.cells:
            ok = type(pair) is tuple and len(pair) == 2 and isinstance(pair[1], Cell)
            check(ok, "cells", "hold (name, Cell) pairs", pair)
            check_name("cell name", pair[0])
        names = [name for name, _ in self.cells]
        ok = len(set(names)) == len(names)
        check(ok, "cells", "have different names", names, "Rename one.")

    def cell(self, name: str) -> Cell:
        """Returns the cell of that name.

        Raises:
          GenotypeError: there is no cell of that name.
        """
        cells = dict(self.cells)
        rule = f"be one of {_show(list(cells))}"
        check(name in cells, "cell", rule, name, "Use one of these names.")
        return cells[name]

    def canonical(self) -> "Genotype":
        """Returns the same architecture with edges sorted by (to, from, operation)."""
        return dataclasses.replace(
            self,
            cells=tuple(
                (name, Cell(tuple(sorted(cell.edges, key=_by_target)), cell.concat))
                for name, cell in self.cells
            ),
        )


def _check_edge(where: str, edge: Any) -> None:
    ok = type(edge) is tuple and len(edge) == 3
    check(ok, where, "be [from, to, operation]", edge)
    source, target, operation = edge
    for end, state in (("from", source), ("to", target)):
        ok = type(state) is int and 0 <= state < MAX_STATES
        rule = f"have an integer `{end}` from 0 to {MAX_STATES - 1}"
        check(ok, where, rule, state)
    check(source < target, where, "have `from` below `to`", edge)
    check_name(f"{where}'s operation", operation)


def _check_concat(concat: Any, num_inputs: int) -> None:
    ok = type(concat) is tuple and len(concat) > 0
    check(ok, "concat", "be a list of at least one state", concat)
    for state in concat:
        ok = type(state) is int and num_inputs <= state < MAX_STATES
        rule = f"hold integers from {num_inputs} to {MAX_STATES - 1}"
        check(ok, "concat", rule, state)
    rising = all(a < b for a, b in zip(concat, concat[1:], strict=False))
    check(rising, "concat", "be increasing", concat, "Sort it.")


def check_name(what: str, name: Any) -> None:
    """Raises GenotypeError unless name is 1 to MAX_NAME printable characters."""
    ok = isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable()
    check(ok, what, f"be 1 to {MAX_NAME} printable characters", name, "Rename it.")


class Plain(str):
    """Text that is shown without quotes in an error message."""


def check(
    condition: Any, name: str, rule: str, value: Any, todo: str = "Correct it."
) -> None:
    """Raises GenotypeError, "name must rule, got value. todo", unless condition."""
    if not condition:
        raise error(name, rule, value, todo)


def error(name: str, rule: str, value: Any, todo: str = "Correct it.") -> GenotypeError:
    """Returns the error "name must rule, got value. todo" as one printable line."""
    name, rule, todo = escape(name), escape(rule), escape(todo)
    return GenotypeError(f"{name} must {rule}, got {_show(value)}. {todo}")


def _show(value: Any) -> str:
    """Returns the value in printable ASCII, its middle left out where it is long."""
    try:
        text = ascii(value)[1:-1] if isinstance(value, Plain) else ascii(value)
    except (ValueError, RecursionError):  # an int of over 4300 digits, or a cycle
        return "a value too long to show"
    return text if len(text) <= 80 else f"{text[:50]}...{text[-20:]}"


def escape(text: str) -> str:
    """Returns the text; unprintable characters are written as escapes."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _by_target(edge: tuple[int, int, str]) -> tuple[int, int, str]:
    source, target, operation = edge
    return target, source, operation
