"""Tests of jnas.spaces.encoding, over sizes rather than spaces."""

import functools
import itertools
import math

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from jnas.spaces import encoding

SIZES = (3, 1, 2, 5)
KEYS = jax.random.split(jax.random.key(0), 20_000)


def within_chance(counts, total, probability):
    """True where each count is within 5 standard deviations of a binomial's mean."""
    sd = math.sqrt(total * probability * (1 - probability))
    return bool(np.all(np.abs(np.array(counts) - total * probability) < 5 * sd))


@functools.cache
def compiled():
    """Returns (samples, their mutants), one a key, in one compiled program."""

    def draw(key):
        sample_key, mutate_key = jax.random.split(key)
        sample = encoding.sample(sample_key, SIZES)
        return sample, encoding.mutate(mutate_key, sample, SIZES)

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(draw))(KEYS))


def test_sample_is_uniform():
    """Every encoding of the space comes up equally often."""
    samples, _ = compiled()
    assert samples.dtype == np.int32 and samples.shape == (len(KEYS), len(SIZES))
    numbers = np.ravel_multi_index(samples.T, SIZES)
    counts = np.bincount(numbers, minlength=30)
    assert len(counts) == 30 and within_chance(counts, len(KEYS), 1 / 30)


def test_mutate_changes_one_gene_to_another_value():
    """Exactly one gene differs, and stays in its range."""
    samples, mutants = compiled()
    assert np.all(np.sum(samples != mutants, axis=1) == 1)
    assert np.all((mutants >= 0) & (mutants < np.array(SIZES)))
    assert mutants.dtype == np.int32


def test_mutate_is_uniform():
    """Genes of more than one value equally often; their other values equally often."""
    samples, mutants = compiled()
    genes = np.argmax(samples != mutants, axis=1)
    counts = np.bincount(genes, minlength=4)
    assert counts[1] == 0 and within_chance(counts[[0, 2, 3]], len(KEYS), 1 / 3)
    for gene in (0, 3):
        chosen = genes == gene
        steps = (mutants - samples)[chosen, gene] % SIZES[gene]
        counts = np.bincount(steps, minlength=SIZES[gene])
        assert counts[0] == 0
        assert within_chance(counts[1:], chosen.sum(), 1 / (SIZES[gene] - 1))


def test_mutate_needs_a_choice():
    """A space of one architecture has no mutation."""
    with pytest.raises(ValueError) as caught:
        encoding.mutate(jax.random.key(0), np.zeros(2, np.int32), (1, 1))
    assert str(caught.value) == (
        "sizes must have a gene of two values or more, got (1, 1). "
        "Use a space with a choice to search."
    )


def test_crossover_takes_each_gene_from_either_parent():
    """Each gene is independently the one's or the other's with equal chance."""
    first, second = np.zeros(2, np.int32), np.ones(2, np.int32)
    cross = jax.jit(jax.vmap(lambda key: encoding.crossover(key, first, second)))
    children = np.asarray(cross(KEYS))
    counts = np.bincount(children @ [2, 1], minlength=4)
    assert children.dtype == np.int32 and within_chance(counts, len(KEYS), 1 / 4)


@pytest.mark.parametrize("sizes", [(3, 1, 2, 5), (2,), (1, 1), (4, 4)])
def test_neighbours_are_those_at_distance_one(sizes):
    """Against the whole space listed; the rows are in order, and none twice."""
    space = np.array(list(itertools.product(*map(range, sizes))), np.int32)
    middle = space[len(space) // 2]
    rows = np.asarray(encoding.neighbours(middle, sizes))
    expected = space[np.asarray(encoding.distance(space, middle)) == 1]
    assert rows.shape == (sum(sizes) - len(sizes), len(sizes))
    assert sorted(map(tuple, rows)) == sorted(map(tuple, expected))
    changed = [(np.argmax(row != middle), *row) for row in rows]
    assert changed == sorted(changed)


def test_distance_counts_genes():
    """Broadcasts over leading axes."""
    one, many = np.array([0, 1, 2]), np.array([[0, 1, 2], [0, 2, 1], [1, 2, 3]])
    assert encoding.distance(one, many).tolist() == [0, 2, 3]


@hypothesis.given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.data())
@hypothesis.settings(deadline=None)
def test_index_round_trip(sizes, data):
    """A number of any length is read again."""
    sizes = tuple(sizes)
    number = data.draw(st.integers(0, math.prod(sizes) - 1))
    genes = encoding.from_index(number, sizes)
    assert genes.dtype == np.int32 and genes.shape == (len(sizes),)
    assert encoding.index(genes, sizes) == number


def test_index_is_mixed_radix_with_the_first_gene_slowest():
    """As NumPy numbers the cells of an array."""
    for number, genes in enumerate(itertools.product(*map(range, SIZES))):
        assert encoding.index(genes, SIZES) == number
        assert encoding.index(genes, SIZES) == np.ravel_multi_index(genes, SIZES)


@pytest.mark.parametrize("genes", [[0, 0, 0], [0, 0, 0, 5], [0, 0, -1, 0]])
def test_index_refuses_what_is_no_encoding(genes):
    """Genes too few or out of range have their message."""
    with pytest.raises(ValueError) as caught:
        encoding.index(genes, SIZES)
    assert str(caught.value) == (
        "encoding must have 4 genes, each from 0 to its size - 1, "
        f"got {genes}. Match the sizes (3, 1, 2, 5)."
    )


@pytest.mark.parametrize("number", [-1, 30])
def test_from_index_refuses_what_is_no_index(number):
    """Numbers out of range have their message."""
    with pytest.raises(ValueError, match=f"index must be from 0 to 29, got {number}. "):
        encoding.from_index(number, SIZES)


def test_jit_is_eager_and_vmap_is_loop():
    """The same key gives the same result in every way of calling."""
    samples, mutants = compiled()
    for i in range(3):
        sample_key, mutate_key = jax.random.split(KEYS[i])
        sample = encoding.sample(sample_key, SIZES)
        mutant = encoding.mutate(mutate_key, sample, SIZES)
        assert np.array_equal(sample, samples[i])
        assert np.array_equal(mutant, mutants[i])
    rows = jax.jit(jax.vmap(lambda e: encoding.neighbours(e, SIZES)))(samples[:3])
    for i in range(3):
        assert np.array_equal(rows[i], encoding.neighbours(samples[i], SIZES))
