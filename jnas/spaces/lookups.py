"""The look-up tables of a space of cells; they define the order of genes."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

NONE = "none"  # adds nothing; takes part in the softmax alone
SKIP = "skip_connect"  # the identity

Edges = tuple[tuple[int, int], ...]  # (from, to) of each edge of a cell
Candidates = tuple[tuple[tuple[str, ...], ...], ...]  # [C][E] tuples of names


class Tables(NamedTuple):
    """The look-up tables of one space, over all its cells.

    A *choice* keeps k of a group of edges: the edges into one node or, where every edge
    is kept, a single edge. There are T choices; an operation's gene has V values. A
    flat edge is cell * E + edge. Gene position -1 stands for a constant 0, appended
    after the last gene.
    """

    names: tuple[str, ...]  # [G]
    sizes: tuple[int, ...]  # [G]
    choices: np.ndarray  # i32[C * E]: the choice that an edge belongs to
    subsets: np.ndarray  # i32[T, subsets, k]: the flat edges kept; padded with -1
    values: np.ndarray  # i32[C * E, V]: the candidate for each value of its gene
    inputs: np.ndarray  # i32[T]: the position of the gene that selects the subset
    operations: np.ndarray  # i32[T, k]: the positions of the genes of operations


def build(
    cells: tuple[str, ...], edges: Edges, candidates: Candidates, num_kept: int | None
) -> Tables:
    """Builds the tables of a space whose fields have been checked.

    Args:
      cells: the names of the cells.
      edges: the edges of every cell, node after node.
      candidates: the operations of each edge of each cell.
      num_kept: the number of inputs that a node keeps; None keeps all.
    """
    k = num_kept or 1
    values = [
        [i for i, name in enumerate(names) if num_kept is None or name != NONE]
        for cell in candidates
        for names in cell
    ]
    names, sizes, choices, subsets, inputs, operations = [], [], [], [], [], []
    for choice, (input_name, operation_names, flat) in enumerate(
        _choices(cells, edges, num_kept)
    ):
        choices += [choice] * len(flat)
        subsets.append(list(itertools.combinations(flat, k)))
        if len(subsets[-1]) > 1:
            inputs.append(len(names))
            names.append(input_name)
            sizes.append(len(subsets[-1]))
        else:
            inputs.append(-1)
        operations.append(range(len(names), len(names) + k))
        names += operation_names
        sizes += [len(values[0])] * k
    most = max(map(len, subsets))
    padded = [rows + [(-1,) * k] * (most - len(rows)) for rows in subsets]
    arrays = (choices, padded, values, inputs, operations)
    return Tables(
        tuple(names), tuple(sizes), *(np.array(array, np.int32) for array in arrays)
    )


def _choices(
    cells: tuple[str, ...], edges: Edges, num_kept: int | None
) -> Iterator[tuple[str, list[str], list[int]]]:
    """Yields for each choice the names of its genes, and its flat edges."""
    for c, cell in enumerate(cells):
        first = c * len(edges)
        if num_kept is None:
            for e, (source, to) in enumerate(edges):
                yield "", [f"{cell}/{source}-{to}"], [first + e]
            continue
        for node in dict.fromkeys(to for _, to in edges):
            flat = [first + e for e, (_, to) in enumerate(edges) if to == node]
            prefix = f"{cell}/node{node}"
            names = [f"{prefix}/op{i}" for i in range(num_kept)]
            yield f"{prefix}/inputs", names, flat
