"""CellSpace: spaces of cells, whose nodes sum operations applied to earlier states.

Conversions between encoding, mixing weights and genotype are look-ups in the tables of
``lookups.py``, so that they compile to a few gathers in every space.
"""

import dataclasses
import functools
import math
import reprlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jnas import types
from jnas.spaces import encoding as encodings
from jnas.spaces import genotype as genotypes
from jnas.spaces import lookups as lookup_tables


@dataclasses.dataclass(frozen=True)
class CellSpace:
    """A space of cells.

    State 0 (and 1) is the cell's input; each node adds one state, computed from any of
    the earlier states. With ``num_kept=k`` a node keeps k inputs: one gene selects the
    subset, in lexicographic order, and is left out where only one subset exists; then
    one gene for each kept input selects its operation, ``none`` excluded. With
    ``num_kept=None`` every edge is kept and its gene may also select ``none``.

    Attributes:
      name: the space's name, written into its genotypes.
      cells: the names of the cells.
      num_inputs: 1 or 2.
      num_nodes: the number of intermediate nodes.
      candidates: the names of the operations, the same on every edge; or [C][E] tuples
        of names, equally many on each edge.
      num_kept: the number of inputs that a node keeps; None keeps all.
      concat: the nodes that are concatenated to the cell's output.
      skeleton: key in ``registry.SKELETONS``, the network that its cells are put into.

    Raises:
      ValueError: a field breaks one of these rules.

    Example:
      >>> space = CellSpace("mine", ("cell",), 1, 2, ("none", "conv"), None, (2,))
      >>> space.edges, space.gene_names, space.sizes
      (((0, 1), (0, 2), (1, 2)), ('cell/0-1', 'cell/0-2', 'cell/1-2'), (2, 2, 2))
    """

    supernet = "cells"  # key in registry.SUPERNETS

    name: str
    cells: tuple[str, ...]
    num_inputs: int
    num_nodes: int
    candidates: tuple[Any, ...]
    num_kept: int | None
    concat: tuple[int, ...]
    skeleton: str = genotypes.PAPERS

    def __post_init__(self):
        """Checks every field."""
        _check_names(self.name, self.cells)
        genotypes.check_name("skeleton", self.skeleton)
        _check_int("num_inputs", self.num_inputs, 1, 2)
        _check_int("num_nodes", self.num_nodes, 1, 32)
        if self.num_kept is not None:
            _check_int("num_kept", self.num_kept, 1, self.num_inputs)
        _check_concat(self.concat, self.num_inputs, self.num_nodes)
        _check_candidates(self.candidates, len(self.cells), len(self.edges))
        if self.num_kept is not None:
            _check_none(self._lists)

    @functools.cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(from, to) of each edge, node after node."""
        last = self.num_inputs + self.num_nodes
        return tuple(
            (source, to) for to in range(self.num_inputs, last) for source in range(to)
        )

    def with_operations(self, names: Sequence[str]) -> "CellSpace":
        """Returns the space with other candidates, the same on every edge.

        Args:
          names: names of the operations; may include ``none``.

        Raises:
          ValueError: the names break a rule of the class.
        """
        return dataclasses.replace(self, candidates=tuple(names))

    def without_none(self) -> "CellSpace":
        """Returns the space without the candidate ``none``.

        Where ``num_kept`` is set, the encodings stay the same: ``none`` is no value of
        a gene, it only takes part in the softmax.
        """
        lists = tuple(
            tuple(tuple(n for n in names if n != lookup_tables.NONE) for names in edges)
            for edges in self._lists
        )
        alike = isinstance(self.candidates[0], str)
        return dataclasses.replace(self, candidates=lists[0][0] if alike else lists)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, E, O), the shape of logits and weights."""
        return len(self.cells), len(self.edges), len(self._lists[0][0])

    @property
    def choices(self) -> tuple[tuple[tuple[str, ...], ...], ...]:
        """[C][E] tuples of names: like the weights without their last axis."""
        return self._lists

    @property
    def row_names(self) -> tuple[tuple[str, ...], ...]:
        """[C][E] names of the edges: ``normal/0->2``."""
        edges = [f"{source}->{to}" for source, to in self.edges]
        return tuple(tuple(f"{name}/{edge}" for edge in edges) for name in self.cells)

    @property
    def operations(self) -> tuple[str, ...]:
        """Every candidate's name once, in order of appearance."""
        names = (name for cell in self._lists for edge in cell for name in edge)
        return tuple(dict.fromkeys(names))

    def candidates_of(self, cell: int, edge: int) -> tuple[str, ...]:
        """Returns the names of one edge's operations, in the order of the last axis."""
        return self._lists[cell][edge]

    def where(self, name: str) -> np.ndarray:
        """Returns bool[C, E, O], true where the candidate is the named operation."""
        return np.array(
            [[[n == name for n in names] for names in edges] for edges in self._lists]
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of values of each gene."""
        return self.lookups.sizes

    @property
    def gene_names(self) -> tuple[str, ...]:
        """A name for each gene: ``normal/node3/inputs``, ``cell/0-1``."""
        return self.lookups.names

    @property
    def num_architectures(self) -> int:
        """The number of encodings; each has a genotype of its own."""
        return math.prod(self.sizes)

    def weights(self, encoding: types.Encoding) -> types.Weights:
        """Converts an encoding to mixing weights; may be jitted and vmapped.

        Args:
          encoding: i32[G].

        Returns:
          f32[C, E, O]: a one-hot row on each kept edge, zero rows elsewhere.
        """
        tables, (c, e, o) = self.lookups, self.shape
        genes = jnp.append(jnp.asarray(encoding), 0)
        subsets = genes[tables.inputs]
        edges = jnp.asarray(tables.subsets)[np.arange(len(subsets)), subsets]
        operations = jnp.asarray(tables.values)[edges, genes[tables.operations]]
        empty = jnp.zeros((c * e, o), jnp.float32)
        return empty.at[edges, operations].set(1.0).reshape(c, e, o)

    def discretize(self, logits: types.Logits) -> types.Encoding:
        """Derives an architecture as DARTS does; may be jitted and vmapped.

        The softmax runs over all candidates. Each node keeps the ``num_kept`` edges
        whose best operation other than ``none`` has the largest weight, and on each
        edge that operation: ``none`` is never selected, but its share of the softmax
        lowers the edge's rank. Ties keep the lower edge and the lower operation. With
        ``num_kept=None`` each edge keeps the operation of its largest logit, including
        ``none``.

        Args:
          logits: f32[C, E, O].

        Returns:
          i32[G], valid even where logits are NaN.

        Source: Liu et al., 2019, arXiv:1806.09055, section 2.4. Differs: compares
        logarithms, so that weights too small for float32 still have an order.
        """
        return self.strongest(jax.nn.log_softmax(logits, axis=-1))

    def strongest(self, scores: types.Array) -> types.Encoding:
        """Derives an architecture from scores, without a softmax.

        For methods whose scores are not softmax weights: products with edge weights,
        sigmoids, accuracies. The rules are those of ``discretize``.

        Args:
          scores: f32[C, E, O].

        Returns:
          i32[G].
        """
        tables, (c, e, o) = self.lookups, self.shape
        rows = jnp.asarray(scores).reshape(c * e, o)
        rows = jnp.take_along_axis(rows, jnp.asarray(tables.values), axis=1)
        best = jnp.argmax(rows, axis=1).astype(jnp.int32)
        kept = _strongest_edges(jnp.max(rows, axis=1), tables)
        # argmax takes the first: the kept subset comes before the padding with -1.
        chosen = jnp.all(kept[tables.subsets], axis=2)
        subsets = jnp.argmax(chosen, axis=1).astype(jnp.int32)
        edges = jnp.asarray(tables.subsets)[np.arange(len(subsets)), subsets]
        genes = jnp.zeros(len(tables.sizes) + 1, jnp.int32)
        genes = genes.at[tables.inputs].set(subsets)
        return genes.at[tables.operations].set(best[edges])[:-1]

    def genotype(self, encoding: types.Encoding) -> genotypes.Genotype:
        """Converts an encoding to a genotype; on the host.

        Args:
          encoding: i32[G].

        Raises:
          ValueError: the encoding has a wrong length, or a gene is out of its range.
        """
        number = encodings.index(encoding, self.sizes)  # checks every gene
        genes = np.append(encodings.from_index(number, self.sizes), 0)
        tables, edges = self.lookups, [[] for _ in self.cells]
        for choice, subset in enumerate(genes[tables.inputs]):
            kept = tables.subsets[choice, subset]
            values = tables.values[kept, genes[tables.operations[choice]]]
            for flat, value in zip(kept, values, strict=True):
                cell, edge = divmod(int(flat), len(self.edges))
                name = self._lists[cell][edge][value]
                edges[cell].append((*self.edges[edge], name))
        cells = (genotypes.Cell(tuple(kept), self.concat) for kept in edges)
        named = tuple(zip(self.cells, cells, strict=True))
        states = genotypes.States(self.num_inputs, self.num_nodes, self.skeleton)
        return genotypes.Genotype(self.name, named, states)

    def encode(self, genotype: genotypes.Genotype) -> np.ndarray:
        """Converts a genotype to its encoding; on the host.

        Neither the order of edges nor the space named in the genotype matters: any
        space that contains its cells can encode it.

        Args:
          genotype: the genotype to encode.

        Returns:
          i32[G].

        Raises:
          GenotypeError: the space does not contain the genotype's cells.
        """
        names = tuple(name for name, _ in genotype.cells)
        _accept(names == self.cells, "cells", f"be {self.cells}", names)
        tables = self.lookups
        genes = np.zeros(len(tables.sizes) + 1, np.int32)
        values = {}
        for i, (_, cell) in enumerate(genotype.cells):
            values |= self._read(i, cell)
        for choice, subsets in enumerate(tables.subsets):
            kept = [flat for flat in sorted(values) if tables.choices[flat] == choice]
            self._accept_number(choice, kept)
            subset = np.flatnonzero((subsets == kept).all(axis=1))[0]
            genes[tables.inputs[choice]] = subset
            genes[tables.operations[choice]] = [values[flat] for flat in kept]
        return genes[:-1]

    @functools.cached_property
    def _lists(self) -> tuple[tuple[tuple[str, ...], ...], ...]:
        if isinstance(self.candidates[0], str):
            return ((self.candidates,) * len(self.edges),) * len(self.cells)
        return self.candidates

    @functools.cached_property
    def lookups(self) -> lookup_tables.Tables:
        """The arrays that map genes to edges and operations."""
        return lookup_tables.build(self.cells, self.edges, self._lists, self.num_kept)

    def _read(self, index: int, cell: genotypes.Cell) -> dict[int, int]:
        """Returns the gene value of each flat edge of a cell."""
        name = self.cells[index]
        rule = f"concatenate {self.concat}"
        _accept(cell.concat == self.concat, f"{name} cell", rule, cell.concat)
        values = {}
        for source, to, operation in cell.edges:
            ends = (source, to)
            rule = f"have edges among {_join(self.edges)}"
            _accept(ends in self.edges, f"{name} cell", rule, ends)
            edge = self.edges.index(ends)
            flat = index * len(self.edges) + edge
            _accept(flat not in values, f"{name} cell", "have each edge once", ends)
            names = [self._lists[index][edge][i] for i in self.lookups.values[flat]]
            where = f"{name} cell's operation on {source}-{to}"
            rule = f"be one of {', '.join(names)}"
            _accept(operation in names, where, rule, operation)
            values[flat] = names.index(operation)
        return values

    def _accept_number(self, choice: int, kept: list[int]) -> None:
        cell, edge = divmod(int(self.lookups.subsets[choice, 0, 0]), len(self.edges))
        source, node = self.edges[edge]
        where = f"{self.cells[cell]} cell"
        if self.num_kept is None:
            _accept(len(kept) == 1, where, f"have edge {source}-{node}", "none there")
        rule = f"give node {node} {self.num_kept} inputs"
        _accept(len(kept) == (self.num_kept or 1), where, rule, len(kept))


def _strongest_edges(
    strengths: types.Array, tables: lookup_tables.Tables
) -> types.Array:
    """Marks the k edges of each choice with the largest scores; ties: lower edge."""
    order = np.arange(len(tables.choices))
    rivals = tables.choices[:, None] == tables.choices
    stronger = strengths > strengths[:, None]
    equal = (strengths == strengths[:, None]) & (order < order[:, None])
    rank = jnp.sum(rivals & (stronger | equal), axis=1)
    return rank < tables.operations.shape[1]


def _check_names(name: Any, cells: Any) -> None:
    _check(_is_name(name), "name", "be printable text", name)
    ok = type(cells) is tuple and cells and all(map(_is_name, cells))
    _check(ok, "cells", "be a tuple of at least one name", cells)
    _check(len(set(cells)) == len(cells), "cells", "have different names", cells)


def _is_name(name: Any) -> bool:
    """True for a name that is allowed in a genotype."""
    return (
        isinstance(name, str)
        and name.isprintable()
        and 0 < len(name) <= genotypes.MAX_NAME
    )


def _check_int(name: str, value: Any, low: int, high: int) -> None:
    ok = type(value) is int and low <= value <= high
    _check(ok, name, f"be an integer from {low} to {high}", value)


def _check_concat(concat: Any, first: int, num_nodes: int) -> None:
    nodes = range(first, first + num_nodes)
    ok = type(concat) is tuple and concat
    ok = ok and all(type(node) is int and node in nodes for node in concat)
    rule = f"be a tuple of nodes from {nodes[0]} to {nodes[-1]}"
    _check(ok, "concat", rule, concat)
    rising = list(concat) == sorted(set(concat))
    _check(rising, "concat", "be increasing", concat)


def _check_candidates(candidates: Any, num_cells: int, num_edges: int) -> None:
    ok = type(candidates) is tuple and candidates
    _check(ok, "candidates", "be a tuple of at least one name", candidates)
    lists = [candidates]
    if not isinstance(candidates[0], str):
        ok = len(candidates) == num_cells and all(
            type(cell) is tuple and len(cell) == num_edges for cell in candidates
        )
        rule = f"be names, or {num_cells} tuples of {num_edges} tuples of names"
        _check(ok, "candidates", rule, candidates)
        lists = [names for cell in candidates for names in cell]
    for names in lists:
        ok = type(names) is tuple and names and all(map(_is_name, names))
        _check(ok, "candidates", "be tuples of names", names)
        _check(len(set(names)) == len(names), "candidates", "differ", names)
        rule = "be equally many on every edge"
        _check(len(names) == len(lists[0]), "candidates", rule, names)


def _check_none(lists: tuple) -> None:
    """Checks that every edge's gene has equally many values."""
    edges = [names for cell in lists for names in cell]
    has_none = [lookup_tables.NONE in names for names in edges]
    ok = all(has_none) or not any(has_none)
    without = edges[has_none.index(False)] if not ok else None
    rule = f"hold {lookup_tables.NONE!r} on every edge or on none where num_kept is set"
    _check(ok, "candidates", rule, without)
    ok = edges[0] != (lookup_tables.NONE,)
    _check(ok, "candidates", f"hold more than {lookup_tables.NONE!r}", edges[0])


def _check(condition: Any, name: str, rule: str, value: Any) -> None:
    if not condition:
        raise ValueError(
            f"{name} must {rule}, got {reprlib.repr(value)}. Correct the space."
        )


def _accept(condition: bool, name: str, rule: str, value: Any) -> None:
    if not condition:
        raise genotypes.GenotypeError(
            f"{name} must {rule}, got {reprlib.repr(value)}. "
            "Use a space that contains this genotype."
        )


def _join(edges: lookup_tables.Edges) -> str:
    return ", ".join(f"{source}-{to}" for source, to in edges)
