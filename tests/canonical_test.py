"""Isomorphic cells: canonical forms compared with what the networks compute."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import spaces

NASBENCH201 = spaces.zoo.nasbench201()
SMALL = spaces.CellSpace("small", ("cell",), 1, 2, NASBENCH201.operations, None, (2,))
OPERATIONS = NASBENCH201.operations
POINTS = np.array([0.37, -1.21, 2.03])  # where cells are evaluated


def live_edges(space, encoding):
    """(edge, operation) of the edges on a path from the input to the output."""
    there = [
        (edge, OPERATIONS[gene])
        for edge, gene in zip(space.edges, encoding, strict=True)
        if OPERATIONS[gene] != "none"
    ]
    paths = [[edge] for edge in there if edge[0][0] == 0]
    whole = []
    while paths:
        path = paths.pop()
        if path[-1][0][1] == space.num_nodes:
            whole.append(path)
        paths += [[*path, e] for e in there if e[0][0] == path[-1][0][1]]
    return sorted({edge for path in whole for edge in path})


def value(space, edges, numbers):
    """The output, where an operation is a sine with the parameters of its number."""
    states = [POINTS] + [np.zeros(3) for _ in range(space.num_nodes)]
    for ((source, target), name), number in sorted(
        zip(edges, numbers, strict=True), key=lambda pair: pair[0][0][1]
    ):
        x = states[source]
        if name != "skip_connect":
            kind = OPERATIONS.index(name)
            x = np.sin((1.3 + 0.7 * number + 0.11 * kind) * x + 0.5 * number + kind)
        states[target] = states[target] + x
    return states[-1]


def same(space, first, second):
    """True if some renaming of parameters makes both cells one function."""
    one, two = (live_edges(space, e) for e in (first, second))
    kinds = [[n for _, n in edges if n != "skip_connect"] for edges in (one, two)]
    if sorted(kinds[0]) != sorted(kinds[1]):
        return False

    def numbered(edges, order):
        rest = iter(order)
        return [0 if n == "skip_connect" else next(rest) for _, n in edges]

    count = len(kinds[0])
    target = value(space, one, numbered(one, range(1, count + 1)))
    return any(
        np.abs(value(space, two, numbered(two, order)) - target).max() < 1e-9
        for order in itertools.permutations(range(1, count + 1))
    )


def test_all_pairs_of_a_small_space():
    """125 cells of two nodes, each pair by brute force."""
    cells = list(itertools.product(range(5), repeat=3))
    forms = [spaces.canonical(SMALL, cell) for cell in cells]
    for (a, f), (b, g) in itertools.combinations(zip(cells, forms, strict=True), 2):
        assert (f == g) == same(SMALL, a, b), (a, b)


def test_pairs_of_nasbench201():
    """Cells of one form are one function; cells that only look alike are not."""
    rng = np.random.default_rng(0)
    first = spaces.representatives(NASBENCH201)
    shared = np.flatnonzero(first != np.arange(len(first)))

    def cell(number):
        return spaces.encoding.from_index(int(number), NASBENCH201.sizes)

    for number in rng.choice(shared, 60, replace=False):
        assert same(NASBENCH201, cell(number), cell(first[number]))
    # cells that look alike: the same operations on live edges
    groups = {}
    for number in rng.choice(np.unique(first), 1500, replace=False):
        edges = live_edges(NASBENCH201, cell(number))
        kinds = tuple(sorted(n for _, n in edges if n != "skip_connect"))
        groups.setdefault(kinds, []).append(number)
    pairs = [p for g in groups.values() for p in itertools.combinations(g, 2)]
    for i in rng.choice(len(pairs), 150, replace=False):
        a, b = map(cell, pairs[i])
        assert not same(NASBENCH201, a, b), (a, b)


def test_representatives():
    """The least of each class, which represents itself; too many are refused."""
    first = spaces.representatives(NASBENCH201)
    assert (first <= np.arange(15_625)).all() and (first[first] == first).all()
    assert len(np.unique(first)) == 5_425
    with pytest.raises(ValueError, match="at most 1000000 encodings"):
        spaces.representatives(spaces.zoo.darts())


def test_classes_of_nasbench201_by_numbers():
    """All 15,625 cells, told apart by a mean over every renaming of parameters.

    Isomorphic cells have the same mean up to the order of sums, 1e-14; others agree
    by chance alone. So the count of classes does not come from the form.
    """
    orders = [
        np.array(list(itertools.permutations(range(1, n + 1)))).T[..., None]
        for n in range(7)
    ]
    means = np.empty((15_625, len(POINTS)))
    for number, cell in enumerate(itertools.product(range(5), repeat=6)):
        edges = live_edges(NASBENCH201, cell)
        kinds = [name for _, name in edges if name != "skip_connect"]
        rest = iter(orders[len(kinds)])
        numbers = [0 if name == "skip_connect" else next(rest) for _, name in edges]
        outputs = np.cos(3 * value(NASBENCH201, edges, numbers))
        means[number] = np.atleast_2d(outputs).mean(0)
    _, first, which = np.unique(
        means.round(8), axis=0, return_index=True, return_inverse=True
    )
    assert len(first) == 5_425
    np.testing.assert_array_equal(
        first[which.ravel()], spaces.representatives(NASBENCH201)
    )


@pytest.mark.parametrize("space", [NASBENCH201, SMALL])
def test_prune_keeps_the_edges_on_paths(space):
    """Against paths followed one by one; jitted and under vmap."""
    rng = np.random.default_rng(1)
    cells = rng.integers(0, 5, (60, len(space.sizes)))
    weights = jax.vmap(space.weights)(jnp.asarray(cells))
    pruned = jax.jit(jax.vmap(lambda w: spaces.prune(space, w)))(weights)
    for cell, row, whole in zip(cells, pruned, weights, strict=True):
        kept = {edge for edge, _ in live_edges(space, cell)}
        for e, edge in enumerate(space.edges):
            wanted = whole[0, e] if edge in kept else jnp.zeros(5)
            np.testing.assert_array_equal(row[0, e], wanted)
        np.testing.assert_array_equal(row, spaces.prune(space, whole))


def test_prune_of_two_inputs_changes_nothing():
    """Every node of a DARTS cell is in its output, and each edge is reached."""
    space = spaces.zoo.tiny()
    for seed in range(5):
        encoding = spaces.encoding.sample(jax.random.key(seed), space.sizes)
        weights = space.weights(encoding)
        np.testing.assert_array_equal(spaces.prune(space, weights), weights)


def test_a_skip_of_two_inputs_may_halve_the_image():
    """There it has parameters, and is an operation; between nodes it is its source."""
    space = spaces.zoo.tiny()
    form = spaces.canonical(space, np.zeros(len(space.sizes), int))
    assert len(form) == 2
    other = np.array([1 if "op" in name else 0 for name in space.gene_names])
    assert spaces.canonical(space, other) != form
