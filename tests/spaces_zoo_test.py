"""The contract of every cell space in the registry, and facts of the published ones."""

import functools
import itertools
import math

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from jnas import registry, spaces
from jnas.spaces import genotype_text

SPACES = {
    name: space
    for name, space in ((name, make()) for name, make in registry.SPACES.items())
    if isinstance(space, spaces.CellSpace)
}
each_space = pytest.mark.parametrize("name", SPACES)


@functools.cache
def compiled(name):
    """Returns a program from an encoding to its weights and what they derive to."""
    space = SPACES[name]

    def there_and_back(encoding):
        weights = space.weights(encoding)
        return weights, space.discretize(weights)

    return jax.jit(there_and_back)


@each_space
@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=30, deadline=None)
def test_contract(name, data):
    """The arrows between encoding, weights and genotype agree, for any encoding."""
    space = SPACES[name]
    genes = data.draw(st.tuples(*(st.integers(0, size - 1) for size in space.sizes)))
    encoding = np.array(genes, np.int32)
    weights, derived = compiled(name)(encoding)
    assert weights.shape == space.shape and weights.dtype == np.float32
    assert np.array_equal(derived, encoding)
    check_rows(space, np.asarray(weights))
    genotype = space.genotype(encoding)
    again = space.encode(genotype)
    assert again.dtype == np.int32 and np.array_equal(again, encoding)
    assert np.array_equal(space.encode(genotype.canonical()), encoding)
    text = genotype_text.to_json(genotype)
    assert genotype_text.from_json(text, operations=space.operations) == genotype
    for c, (_, cell) in enumerate(genotype.cells):
        named = {
            (*space.edges[e], space.candidates_of(c, e)[o])
            for e, o in np.argwhere(np.asarray(weights)[c])
        }
        assert named == set(cell.edges) and len(cell.edges) == len(named)


def check_rows(space, weights):
    """Rows are one-hot or zero; each node keeps its number of them."""
    assert np.all((weights == 0) | (weights == 1))
    rows = weights.sum(axis=-1)
    assert np.all((rows == 0) | (rows == 1))
    targets = np.array([to for _, to in space.edges])
    for to in set(targets.tolist()):
        into = rows[:, targets == to]
        expected = into.shape[1] if space.num_kept is None else space.num_kept
        assert np.all(into.sum(axis=-1) == expected)


@each_space
def test_names_and_numbers(name):
    """The key is the space's name; each gene has a name and a size."""
    space = SPACES[name]
    assert space.name == name
    assert len(set(space.gene_names)) == len(space.gene_names) == len(space.sizes)
    assert space.num_architectures == math.prod(space.sizes)
    c, e, o = space.shape
    assert (c, e) == (len(space.cells), len(space.edges))
    for cell, edge in itertools.product(range(c), range(e)):
        assert len(space.candidates_of(cell, edge)) == o
        assert set(space.candidates_of(cell, edge)) <= set(space.operations)


def test_darts_has_the_papers_size():
    """C(n, 2) pairs of a node's n inputs: 1 * 3 * 6 * 10 = 180; 8 of 7 operations.

    Source: Liu et al., 2019, arXiv:1806.09055, section 3.1.1 (for one cell, 10^9).
    """
    space = spaces.zoo.darts()
    assert space.num_architectures == (180 * 7**8) ** 2
    assert space.shape == (2, 14, 8)
    assert space.edges[:5] == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def test_nasbench201_index_is_the_order_of_strings():
    """The index counts the strings' operations, the first slowest; each seventh."""
    space = spaces.zoo.nasbench201()
    names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    every = itertools.product(names, repeat=6)
    for number, (a, b, c, d, e, f) in itertools.islice(enumerate(every), 0, None, 7):
        string = f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
        genotype = space.genotype(spaces.encoding.from_index(number, space.sizes))
        assert genotype_text.to_nasbench201(genotype) == string
        assert genotype_text.from_nasbench201(string, operations=names) == genotype
        assert spaces.encoding.index(space.encode(genotype), space.sizes) == number
    assert number == 15_624 == space.num_architectures - 1


def test_robust_darts_spaces():
    """Two operations an edge, three with S3's none, as the paper describes them.

    Source: Zela et al., 2020, arXiv:1909.09656, section 3.
    """
    skip, conv = "skip_connect", "sep_conv_3x3"
    assert spaces.zoo.s1().shape == (2, 14, 2)
    assert len(set(spaces.zoo.s1().candidates[0])) > 2
    assert spaces.zoo.s2().operations == (skip, conv)
    assert spaces.zoo.s3().operations == ("none", skip, conv)
    assert spaces.zoo.s4().operations == ("noise", conv)
    sizes = {SPACES[name].sizes for name in ("s1", "s2", "s3", "s4")}
    assert sizes == {(2, 2, 3, 2, 2, 6, 2, 2, 10, 2, 2) * 2}
