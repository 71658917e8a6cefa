"""The genotype: cells described by operation names, and the rules that they obey.

An edge (0, 2) is from the input to node 2 in a cell of one input, and from the first of
two inputs to the first node in another. A genotype's space decides which: the
registered one of its name, or the one that made it.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

from jnas import registry

MAX_STATES = 64
MAX_NAME = 100
PAPERS = "papers"  # the skeleton of DARTS or NAS-Bench-201, by the number of inputs


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
      >>> Cell(edges=((0, 2, "skip_connect"),), concat=(2, 3)).concat
      (2, 3)
    """

    edges: tuple[tuple[int, int, str], ...]
    concat: tuple[int, ...]

    def __post_init__(self):
        """Checks every edge and state."""
        check(type(self.edges) is tuple, "edges", "be a tuple", self.edges)
        for i, edge in enumerate(self.edges):
            _check_edge(f"edges[{i}]", edge)
        _check_concat(self.concat)


class States(NamedTuple):
    """The states of every cell of a space, and the skeleton its cells are put into.

    Attributes:
      num_inputs: states that a cell reads, 1 or 2.
      num_nodes: states that it computes.
      skeleton: key in ``registry.SKELETONS``.
    """

    num_inputs: int
    num_nodes: int
    skeleton: str = PAPERS


@dataclasses.dataclass(frozen=True)
class Genotype:
    """An architecture: the name of its space, and its cells by name.

    ``==`` depends on the order of edges, which in papers is that of their weights;
    compare ``canonical()`` where the order should not matter.

    Attributes:
      space: the name of the space in which the architecture was found.
      cells: (name, cell) pairs, in the space's order.
      states: of the space that made it; used where the space is not registered.
      file_skeleton: the skeleton that its file names; None where it names none. Used
        where no space is known.

    Raises:
      GenotypeError: a name is not printable, there is no cell, two cells share a name,
        or the space is known and has other cells, another skeleton or no such state.
    """

    space: str
    cells: tuple[tuple[str, Cell], ...]
    states: States | None = dataclasses.field(default=None, compare=False, repr=False)
    file_skeleton: str | None = dataclasses.field(
        default=None, compare=False, repr=False
    )

    def __post_init__(self):
        """Checks the names and, where the space is known, the states."""
        check_name("space", self.space)
        if self.file_skeleton is not None:
            check_name("skeleton", self.file_skeleton)
        ok = type(self.cells) is tuple and len(self.cells) > 0
        check(ok, "cells", "be a tuple of at least one (name, Cell)", self.cells)
        for pair in self.cells:
            ok = type(pair) is tuple and len(pair) == 2 and isinstance(pair[1], Cell)
            check(ok, "cells", "hold (name, Cell) pairs", pair)
            check_name("cell name", pair[0])
        names = [name for name, _ in self.cells]
        ok = len(set(names)) == len(names)
        check(ok, "cells", "have different names", names, "Rename one.")
        _known_states(self)

    @property
    def num_inputs(self) -> int:
        """The number of inputs of each cell, 1 or 2, which the space decides.

        Of a space that is not registered, cells with an edge to state 1 have one input.
        Two kinds of cells, or cells whose every node has two edges, have two, as in
        DARTS.

        Raises:
          GenotypeError: the space is not registered and none of these holds, or a cell
            breaks a rule of its space.
        """
        return _states(self).num_inputs

    @property
    def num_nodes(self) -> int:
        """The number of nodes of each cell; of the largest where no space is known.

        Raises:
          GenotypeError: see ``num_inputs``.
        """
        return _states(self).num_nodes

    @property
    def skeleton(self) -> str:
        """Key in ``registry.SKELETONS``.

        That of the space; where none is known that of the file, or of the papers.

        Raises:
          GenotypeError: a cell breaks a rule of its space.
        """
        states = _known_states(self)
        return (self.file_skeleton or PAPERS) if states is None else states.skeleton

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


def _states(genotype: Genotype) -> States:
    """Returns the states of the space, which may be registered by now, or infers."""
    return _known_states(genotype) or _inferred_states(genotype)


def _known_states(genotype: Genotype) -> States | None:
    """Checks a genotype against its space; None where no space is known."""
    known, states = registered_cells(genotype.space), genotype.states
    if known is not None:
        kinds, states = known
        _check_kinds(genotype, kinds, states)
    if states is not None:
        _check_skeleton(genotype, states)
        first, last = states.num_inputs, states.num_inputs + states.num_nodes - 1
        for name, cell in genotype.cells:
            _check_nodes(name, cell, range(first, last + 1), genotype.space)
    return states


def _check_kinds(genotype: Genotype, kinds: tuple[str, ...], states: States) -> None:
    """Checks the cells' names, and that the space that made them is the registered."""
    found = tuple(name for name, _ in genotype.cells)
    rule = f"be {', '.join(kinds)}, those of space {genotype.space!r}"
    todo = "Correct them, or the space."
    check(found == kinds, "cells", rule, Plain(", ".join(found)), todo)
    own = genotype.states or states
    rule = f"be {states.num_inputs}, as registered for space {genotype.space!r}"
    ok = own.num_inputs == states.num_inputs
    check(ok, "num_inputs", rule, own.num_inputs, "Rename the space.")


def _check_skeleton(genotype: Genotype, states: States) -> None:
    """Checks that the space, its maker and the file agree on the skeleton."""
    made = genotype.states.skeleton if genotype.states else states.skeleton
    rule = f"be {states.skeleton!r}, that of space {genotype.space!r}"
    todo = "Rename the space."
    check(made == states.skeleton, "skeleton", rule, made, todo)
    own = genotype.file_skeleton or states.skeleton
    todo = "Correct the file, or name the space that it is of."
    check(own == states.skeleton, "skeleton", rule, own, todo)


def registered_cells(space: str) -> tuple[tuple[str, ...], States] | None:
    """Returns the names of a registered space's cells, and their states.

    Args:
      space: its name.

    Returns:
      None where no space of cells is registered under that name.
    """
    return _cells_of(registry.SPACES[space]) if space in list(registry.SPACES) else None


@functools.lru_cache(maxsize=64)
def _cells_of(make: Any) -> tuple[tuple[str, ...], States] | None:
    space = make()
    if not all(hasattr(space, n) for n in ("cells", "num_inputs", "num_nodes")):
        return None  # a space of another kind
    skeleton = getattr(space, "skeleton", PAPERS)
    return tuple(space.cells), States(space.num_inputs, space.num_nodes, skeleton)


def _check_nodes(name: str, cell: Cell, nodes: range, space: str) -> None:
    """Checks that edges lead to nodes, and that nodes are concatenated."""
    where = f"from {nodes[0]} to {nodes[-1]}, those of space {space!r}"
    todo = "Correct the cell, or its space."
    for i, edge in enumerate(cell.edges):
        place, rule = f"cells.{name}.edges[{i}]", f"lead to a node {where}"
        check(edge[1] in nodes, place, rule, edge, todo)
    for state in cell.concat:
        rule = f"hold nodes {where}"
        check(state in nodes, f"cells.{name}.concat", rule, state, todo)


def _inferred_states(genotype: Genotype) -> States:
    """Reads the states off the edges where they are certain, or DARTS' conventions."""
    edges = [edge for _, cell in genotype.cells for edge in cell.edges]
    paired = all(map(_is_paired, dict(genotype.cells).values()))
    one = any(to == 1 for _, to, _ in edges)
    todo = "Name the file that registers it with --plugins."
    rule = (
        "be registered, as no edge tells whether its cells have one input or two inputs"
    )
    ok = one or paired or len(genotype.cells) > 1
    check(ok, "space", rule, genotype.space, todo)
    names = [name for name, _ in genotype.cells]
    rule = "be normal, then reduce"
    check(names != ["reduce", "normal"], "cells", rule, names, "Swap them.")
    for name, cell in genotype.cells:
        entered = {to for _, to, _ in cell.edges}
        for state in cell.concat:
            rule = f"hold nodes that an edge leads to, as space {genotype.space!r} is "
            rule += "not registered"
            check(state in entered, f"cells.{name}.concat", rule, state, todo)
    num_inputs = 1 if one else 2
    return States(num_inputs, max(to for _, to, _ in edges) - num_inputs + 1)


def _is_paired(cell: Cell) -> bool:
    """True where each node from 2 on has two edges, from different states."""
    last = max(cell.concat)
    pairs = sorted({(to, source) for source, to, _ in cell.edges})
    nodes = [node for node in range(2, last + 1) for _ in "ab"]
    return [to for to, _ in pairs] == nodes and len(pairs) == len(cell.edges)


def _check_concat(concat: Any) -> None:
    ok = type(concat) is tuple and len(concat) > 0
    check(ok, "concat", "be a list of at least one state", concat)
    for state in concat:
        ok = type(state) is int and 1 <= state < MAX_STATES
        rule = f"hold integers from 1 to {MAX_STATES - 1}"
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
