"""Which encodings are one graph: edges that do nothing, and a canonical form.

Two cells are one graph where the same operations, with the same inputs and with
parameters of their own, add up to the same outputs. So ``none`` is no edge, an edge
that nothing reaches or that reaches no output is no edge, and ``skip_connect`` is its
source itself; an operation that two nodes share is not two operations. Such cells train
alike, up to the names of their parameters and the order of sums.
"""

import itertools
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from jnas import types
from jnas.spaces import cell as cells
from jnas.spaces import encoding as encodings
from jnas.spaces import lookups

Form = tuple  # of each cell: its operations, and the terms of each output


def prune(space: cells.CellSpace, weights: types.Weights) -> types.Weights:
    """Removes the edges that cannot matter; may be jitted and vmapped.

    An edge matters where its weights are not all on ``none``, where a path of such
    edges leads to it from an input, and one from it to the cell's output.

    Args:
      space: of the cells.
      weights: f32[C, E, O].

    Returns:
      f32[C, E, O], with zeros on ``none`` and on edges that do not matter.
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


def canonical(space: cells.CellSpace, encoding: types.Encoding) -> Form:
    """Returns a form that encodings share exactly if they are one graph; on the host.

    The value of a state is a multiset of terms: the cell's inputs (-1, -2) and the
    outputs of operations. Operations are numbered in the order that gives the smallest
    form, so the form does not depend on where in the cell they stand.

    Args:
      space: of the cells.
      encoding: i32[G].

    Returns:
      For each cell ((operation, the terms of its input), ...), (terms of each output,
      ...). Hashable.

    Raises:
      ValueError: the encoding has another length, or a gene is out of its range.

    Example:
      >>> from jnas.spaces import zoo
      >>> space = zoo.nasbench201()
      >>> direct = canonical(space, [0, 0, 0, 3, 0, 0])  # a 3x3 convolution
      >>> direct
      (((('nor_conv_3x3', (-1,)),), ((0,),)),)
      >>> direct == canonical(space, [3, 0, 1, 0, 0, 1])  # and two skips
      True
    """
    genotype = space.genotype(encoding)
    return tuple(_cell_form(space, c) for _, c in genotype.cells)


def representatives(space: cells.CellSpace) -> np.ndarray:
    """Numbers the first of the encodings that are one graph with each; on the host.

    Args:
      space: of at most a million encodings.

    Returns:
      i32[N], N the number of encodings in the order of ``encoding.index``; row n holds
      the least number whose encoding is one graph with that of n.

    Raises:
      ValueError: the space is larger.
    """
    count = space.num_architectures
    if count > 1_000_000:
        raise ValueError(
            f"space must have at most 1000000 encodings to be listed, got {count}. "
            "Use canonical on those you have."
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
        # beside two inputs a cell may halve the image, where a skip has parameters
        if name != lookups.SKIP or (space.num_inputs == 2 and source < 2):
            operations.append((name, value))
            value = (len(operations) - 1,)
        states[target] = tuple(sorted(states[target] + value))
    return operations, states


def _reaching(operations: list, outputs: list) -> set[int]:
    """Numbers the operations from which an output can be reached."""
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

    Operations whose whole past looks different are told apart by it; only those that
    look alike are permuted.
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
