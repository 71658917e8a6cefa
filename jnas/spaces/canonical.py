"""Isomorphic cells: removes edges without effect, and computes a canonical form.

Two encodings are isomorphic where they compute the same graph: the same operations,
each with its own parameters, on the same inputs, summed to the same outputs. An edge
with ``none``, one that no input reaches, or one that reaches no output is removed;
``skip_connect`` is replaced by its source. One operation whose result two nodes use
differs from two operations. Isomorphic cells are equivalent in training, up to the
names of their parameters and the order of sums. In a space that is not one of cells
each encoding is isomorphic to itself alone.
"""

import itertools
import math
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from jnas import types
from jnas.spaces import cell as cells
from jnas.spaces import encoding as encodings
from jnas.spaces import lookups, rows

Form = tuple  # for each cell: its operations, and the terms of each output


def prune(space: cells.CellSpace, weights: types.Weights) -> types.Weights:
    """Removes the edges without effect on the output; may be jitted and vmapped.

    An edge has an effect if it has weight on an operation other than ``none``, and if a
    path of such edges leads from an input to it and another from it to the cell's
    output.

    Args:
      space: the space of the cells.
      weights: f32[C, E, O].

    Returns:
      f32[C, E, O], with zeros on ``none`` and on edges without effect.
    """
    num_cells = len(space.cells)
    named = ~space.where(lookups.NONE)
    weights = jnp.where(named, weights, 0)
    present = (weights != 0).any(-1)  # bool[C, E]
    num_states = space.num_inputs + space.num_nodes
    never = jnp.zeros(num_cells, bool)
    reached = [~never] * space.num_inputs + [never] * space.num_nodes
    needed = [never | (state in space.concat) for state in range(num_states)]
    for e, (source, target) in enumerate(space.edges):  # node after node
        reached[target] |= present[:, e] & reached[source]
    for e, (source, target) in reversed(list(enumerate(space.edges))):
        needed[source] |= present[:, e] & needed[target]
    live = [reached[source] & needed[target] for source, target in space.edges]
    return jnp.where(jnp.stack(live, 1)[..., None], weights, 0)


def is_empty(space: rows.Space, encoding: types.Encoding) -> bool:
    """Returns whether a cell has no path from an input to its output; on the host.

    Its network gives the same outputs for every image.

    Args:
      space: the space of the encoding.
      encoding: i32[G].
    """
    if not rows.has_edges(space):
        return False
    pruned = np.asarray(prune(space, space.weights(encoding)))
    return bool((pruned.sum((1, 2)) == 0).any())


def canonical(space: rows.Space, encoding: types.Encoding) -> Form:
    """Returns a form that is equal exactly for isomorphic encodings; on the host.

    The value of a state is a multiset of terms: the cell's inputs (-1, -2) and the
    outputs of operations. Operations are numbered in the order that gives the smallest
    form, so the form does not depend on their positions in the cell.

    Args:
      space: the space of the encoding.
      encoding: i32[G].

    Returns:
      For each cell ((operation, the terms of its input), ...), (terms of each output,
      ...). Hashable.

    Raises:
      ValueError: the encoding has a wrong length, or a gene is out of its range.

    Example:
      >>> from jnas.spaces import zoo
      >>> space = zoo.nasbench201()
      >>> direct = canonical(space, [0, 0, 0, 3, 0, 0])  # a 3x3 convolution
      >>> direct
      (((('nor_conv_3x3', (-1,)),), ((0,),)),)
      >>> direct == canonical(space, [3, 0, 1, 0, 0, 1])  # the same and two skips
      True
    """
    genotype = space.genotype(encoding)
    if not rows.has_edges(space):
        return genotype.choices
    return tuple(_cell_form(space, c) for _, c in genotype.cells)


def representatives(space: rows.Space) -> np.ndarray:
    """Returns for each encoding the index of its first isomorphic one; on the host.

    Args:
      space: a space of at most a million encodings.

    Returns:
      i32[N] over all N encodings in the order of ``encoding.index``; entry n is the
      smallest index whose encoding is isomorphic to encoding n.

    Raises:
      ValueError: the space has more than a million encodings.
    """
    count = math.prod(space.sizes)
    if count > 1_000_000:
        raise ValueError(
            f"space must have at most 1000000 encodings to be listed, got {count}. "
            "Call canonical on single encodings instead."
        )
    first: dict[Form, int] = {}
    rows = np.empty(count, np.int32)
    for number in range(count):
        form = canonical(space, encodings.from_index(number, space.sizes))
        rows[number] = first.setdefault(form, number)
    return rows


def _cell_form(space: cells.CellSpace, cell) -> Form:
    operations, states = _values(space, cell)
    outputs = [states[i] for i in cell.concat]
    live = sorted(_reaching(operations, outputs))
    forms = (
        _numbered(operations, outputs, order) for order in _orders(operations, live)
    )
    return min(forms)


def _values(space: cells.CellSpace, cell) -> tuple[list, list]:
    """Returns operations (name, terms of the input), and the terms of each state."""
    operations: list[tuple[str, tuple[int, ...]]] = []
    states: list[tuple[int, ...]] = [(-1 - i,) for i in range(space.num_inputs)]
    states += [()] * space.num_nodes
    for source, target, name in sorted(cell.edges, key=lambda e: (e[1], e[0])):
        value = states[source]
        if name == lookups.NONE or not value:
            continue
        # a cell with two inputs may halve the image, and then a skip has parameters
        if name != lookups.SKIP or (space.num_inputs == 2 and source < 2):
            operations.append((name, value))
            value = (len(operations) - 1,)
        states[target] = tuple(sorted(states[target] + value))
    return operations, states


def _reaching(operations: list, outputs: list) -> set[int]:
    """Returns the numbers of the operations that an output depends on."""
    live: set[int] = set()
    todo = [term for value in outputs for term in value]
    while todo:
        term = todo.pop()
        if term >= 0 and term not in live:
            live.add(term)
            todo += operations[term][1]
    return live


def _orders(operations: list, live: list[int]) -> Iterator[list[int]]:
    """Yields the orders of operations that may give the smallest form.

    Operations are sorted by the expression that computes their input; only those with
    equal expressions are permuted.
    """

    def past(term):
        if term < 0:
            return str(term)
        name, value = operations[term]
        return f"{name}({','.join(sorted(map(past, value)))})"

    alike: dict[str, list[int]] = {}
    for term in live:
        alike.setdefault(past(term), []).append(term)
    groups = [alike[text] for text in sorted(alike)]
    for turned in itertools.product(*map(itertools.permutations, groups)):
        yield [term for group in turned for term in group]


def _numbered(operations: list, outputs: list, order: list[int]) -> Form:
    number = {term: i for i, term in enumerate(order)}

    def renamed(value):
        return tuple(sorted(number.get(term, term) for term in value))

    listed = tuple((operations[t][0], renamed(operations[t][1])) for t in order)
    return listed, tuple(map(renamed, outputs))
