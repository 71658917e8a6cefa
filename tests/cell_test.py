"""Tests of jnas.spaces.cell: what a space refuses, and how it derives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import registry, spaces
from jnas.spaces import genotype as genotypes

FIELDS = {
    "name": "mine",
    "cells": ("cell",),
    "num_inputs": 2,
    "num_nodes": 2,
    "candidates": ("none", "skip_connect"),
    "num_kept": 2,
    "concat": (2, 3),
}
TWO = ("none", "a")


def derived_by_hand(space, logits):
    """Returns the edges of each cell as the paper derives them, in plain loops."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    cells = []
    for c, _ in enumerate(space.cells):
        best = []  # of each edge: (weight, operation)
        for e, _ in enumerate(space.edges):
            options = [
                (weight, name)
                for weight, name in zip(
                    weights[c, e], space.candidates_of(c, e), strict=True
                )
                if space.num_kept is None or name != "none"
            ]
            best.append(max(options, key=lambda option: option[0]))
        kept = []
        for node in range(space.num_inputs, space.num_inputs + space.num_nodes):
            into = [e for e, (_, to) in enumerate(space.edges) if to == node]
            into.sort(key=lambda e: -best[e][0])  # stable: ties keep the lower edge
            kept += sorted(into[: space.num_kept])
        cells.append(tuple((*space.edges[e], best[e][1]) for e in kept))
    return cells


def logits_with_ties(rng, shape):
    """Logits of which a softmax in any precision is exact: 0, or as good as -inf."""
    return np.where(rng.random(shape) < 0.5, 0.0, -1e9).astype(np.float32)


@pytest.mark.parametrize("name", ["tiny", "darts", "nasbench201", "s1", "s3"])
def test_discretize_is_the_papers_derivation(name):
    """Against plain loops over names, for random logits and for ties."""
    space = registry.SPACES[name]()
    rng = np.random.default_rng(0)
    random = rng.normal(size=(60, *space.shape)).astype(np.float32)
    logits = np.concatenate([random, logits_with_ties(rng, random.shape)])
    encodings = jax.jit(jax.vmap(space.discretize))(logits)
    for one, encoding in zip(logits, encodings, strict=True):
        expected = derived_by_hand(space, one.astype(np.float64))
        genotype = space.genotype(encoding)
        assert [cell.edges for _, cell in genotype.cells] == expected


def test_none_weakens_its_edge():
    """Node 3 drops state 0, whose skip_connect has the largest logit, but a rival.

    The softmax of its edge gives skip_connect e^3 / (e^3 + e^4) = .27; those from
    states 1 and 2 give it e / (e + 1) = .73.
    """
    space = spaces.CellSpace(**FIELDS)
    logits = np.zeros(space.shape, np.float32)
    logits[0, 2] = [4.0, 3.0]
    logits[0, 3:] = [0.0, 1.0]
    edges = space.genotype(space.discretize(logits)).cell("cell").edges
    assert edges[2:] == ((1, 3, "skip_connect"), (2, 3, "skip_connect"))


def test_discretize_orders_weights_too_small_for_float32():
    """Where none has all the weight, the rest still has an order."""
    space = spaces.CellSpace(**FIELDS)
    logits = np.zeros(space.shape, np.float32)
    logits[0, :, 0] = 300.0
    logits[0, 2:, 1] = [1.0, 3.0, 2.0]
    edges = space.genotype(space.discretize(logits)).cell("cell").edges
    assert edges[2:] == ((1, 3, "skip_connect"), (2, 3, "skip_connect"))


def test_strongest_compares_scores_as_they_are():
    """Scaling an edge, which a softmax would undo, changes what is kept."""
    space = spaces.CellSpace(**FIELDS)
    scores = np.full(space.shape, 0.5, np.float32)
    scores[0, 2] *= 0.9
    edges = space.genotype(space.strongest(scores)).cell("cell").edges
    assert edges[2:] == ((1, 3, "skip_connect"), (2, 3, "skip_connect"))


@pytest.mark.parametrize("name", ["tiny", "nasbench201"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_discretize_stays_valid(name, value):
    """Logits that are no numbers, all or some, give a valid encoding."""
    space = registry.SPACES[name]()
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(8, *space.shape)).astype(np.float32)
    logits[0] = value
    logits[1:, ..., 1] = np.where(rng.random(logits[1:, ..., 1].shape) < 0.5, value, 0)
    for encoding in jax.jit(jax.vmap(space.discretize))(logits):
        space.genotype(encoding)


def test_jit_is_eager_and_vmap_is_loop():
    """Weights and derivation are the same in every way of calling."""
    space = spaces.zoo.tiny()
    keys = jax.random.split(jax.random.key(0), 3)
    logits = jax.vmap(lambda key: jax.random.normal(key, space.shape))(keys)
    encodings = jax.jit(jax.vmap(space.discretize))(logits)
    weights = jax.jit(jax.vmap(space.weights))(encodings)
    for i in range(3):
        eager = space.discretize(logits[i])
        assert eager.dtype == jnp.int32 and np.array_equal(eager, encodings[i])
        assert np.array_equal(space.weights(eager), weights[i])


def test_gene_names():
    """One gene for the subset where there is a choice, one for each kept input."""
    assert spaces.zoo.tiny().gene_names[:5] == (
        "normal/node2/op0",
        "normal/node2/op1",
        "normal/node3/inputs",
        "normal/node3/op0",
        "normal/node3/op1",
    )
    assert spaces.zoo.tiny().sizes == (3, 3, 3, 3, 3) * 2


def test_subsets_are_in_lexicographic_order():
    """The values of node 3's inputs are 0-1, 0-2, 1-2; of one kept input 0, 1, 2."""
    space = spaces.CellSpace(**FIELDS)
    assert space.gene_names[2] == "cell/node3/inputs"
    pairs = []
    for value in range(3):
        cell = space.genotype([0, 0, value, 0, 0]).cell("cell")
        pairs.append([source for source, to, _ in cell.edges if to == 3])
    assert pairs == [[0, 1], [0, 2], [1, 2]]
    single = spaces.CellSpace(**FIELDS | {"num_kept": 1})
    assert single.sizes == (2, 1, 3, 1)
    cells = [single.genotype([1, 0, value, 0]).cell("cell") for value in range(3)]
    assert [cell.edges[1][0] for cell in cells] == [0, 1, 2]


def test_every_encoding_is_another_architecture():
    """All genotypes of a small space of unequal candidates are distinct, and counted.

    By hand: 2 * 2 for node 2; 3 pairs * 2 * 2 for node 3.
    """
    lists = tuple((f"a{e}", "none", f"b{e}") for e in range(5))
    space = spaces.CellSpace(**FIELDS | {"candidates": (lists,)})
    assert space.num_architectures == 4 * 12
    assert space.operations[:4] == ("a0", "none", "b0", "a1")
    everything = itertools.product(*map(range, space.sizes))
    found = {space.genotype(genes): genes for genes in everything}
    assert len(found) == space.num_architectures
    for genotype, genes in found.items():
        assert tuple(space.encode(genotype)) == genes
        rows = np.asarray(space.weights(np.array(genes)))
        names = {
            (*space.edges[e], space.candidates_of(0, e)[o])
            for _, e, o in np.argwhere(rows)
        }
        assert names == set(genotype.cell("cell").edges)


LISTS = "candidates must be names, or 1 tuples of 5 tuples of names, got "
BAD_SPACES = [
    ({"name": ""}, "name must be printable text, got ''."),
    ({"cells": ()}, "cells must be a tuple of at least one name, got ()."),
    ({"cells": ("a", "a")}, "cells must have different names, got ('a', 'a')."),
    ({"num_inputs": 3}, "num_inputs must be an integer from 1 to 2, got 3."),
    ({"num_nodes": True}, "num_nodes must be an integer from 1 to 32, got True."),
    ({"num_kept": 3}, "num_kept must be an integer from 1 to 2, got 3."),
    (
        {"num_inputs": 1, "concat": (2,)},
        "num_kept must be an integer from 1 to 1, got 2.",
    ),
    ({"concat": (1, 2)}, "concat must be a tuple of nodes from 2 to 3, got (1, 2)."),
    ({"concat": (3, 2)}, "concat must be increasing, got (3, 2)."),
    ({"concat": ()}, "concat must be a tuple of nodes from 2 to 3, got ()."),
    (
        {"candidates": ["a"]},
        "candidates must be a tuple of at least one name, got ['a'].",
    ),
    ({"candidates": ("a", "a")}, "candidates must differ, got ('a', 'a')."),
    ({"candidates": ("a", 1)}, "candidates must be tuples of names, got ('a', 1)."),
    (
        {"candidates": ("none",)},
        "candidates must hold more than 'none', got ('none',).",
    ),
    ({"candidates": ((TWO,) * 4,)}, LISTS + f"{((TWO,) * 4,)}."),
    (
        {"candidates": ((TWO,) * 4 + (("a",),),)},
        "candidates must be equally many on every edge, got ('a',).",
    ),
    (
        {"candidates": ((TWO,) * 4 + (("a", "b"),),)},
        "candidates must hold 'none' on every edge or on none where num_kept is set, "
        "got ('a', 'b').",
    ),
]


@pytest.mark.parametrize("changes, message", BAD_SPACES)
def test_bad_space(changes, message):
    """Each field's rule has its message."""
    with pytest.raises(ValueError) as caught:
        spaces.CellSpace(**FIELDS | changes)
    assert str(caught.value) == f"{message} Correct the space."


def test_none_on_some_edges_is_fine_where_every_edge_is_kept():
    """Each edge's gene is over all of its own candidates."""
    lists = (TWO,) * 4 + (("a", "b"),)
    space = spaces.CellSpace(**FIELDS | {"candidates": (lists,), "num_kept": None})
    assert space.sizes == (2,) * 5


EDGES = ((0, 2, "a"), (1, 2, "a"), (0, 3, "a"), (2, 3, "b"))
BAD_GENOTYPES = {
    "cells": (
        {"cells": ("normal",)},
        {},
        "cells must be ('normal',), got ('cell',).",
    ),
    "concat": (
        {},
        {"concat": (3,)},
        "cell cell must concatenate (2, 3), got (3,).",
    ),
    "one edge twice": (
        {},
        {"edges": (*EDGES[:3], (0, 3, "b"))},
        "cell cell must have each edge once, got (0, 3).",
    ),
    "an edge beyond": (
        {},
        {"edges": (*EDGES, (0, 4, "a"))},
        "cell cell must have edges among 0-2, 1-2, 0-3, 1-3, 2-3, got (0, 4).",
    ),
    "operation": (
        {},
        {"edges": (*EDGES[:3], (2, 3, "c"))},
        "cell cell's operation on 2-3 must be one of a, b, got 'c'.",
    ),
    "none": (
        {},
        {"edges": (*EDGES[:3], (2, 3, "none"))},
        "cell cell's operation on 2-3 must be one of a, b, got 'none'.",
    ),
    "too few inputs": (
        {},
        {"edges": EDGES[:3]},
        "cell cell must give node 3 2 inputs, got 1.",
    ),
    "too many inputs": (
        {},
        {"edges": (*EDGES, (1, 3, "a"))},
        "cell cell must give node 3 2 inputs, got 3.",
    ),
    "an edge missing": (
        {"num_kept": None},
        {},
        "cell cell must have edge 1-3, got 'none there'.",
    ),
}


@pytest.mark.parametrize("name", BAD_GENOTYPES)
def test_encode_refuses(name):
    """Each way in which a space cannot hold a genotype has its message."""
    of_space, of_cell, message = BAD_GENOTYPES[name]
    fields = FIELDS | {"candidates": ("none", "a", "b")} | of_space
    space = spaces.CellSpace(**fields)
    cell = genotypes.Cell(**{"edges": EDGES, "concat": (2, 3)} | of_cell)
    with pytest.raises(genotypes.GenotypeError) as caught:
        space.encode(genotypes.Genotype("mine", (("cell", cell),)))
    expected = f"{message} Use a space that contains this genotype."
    assert str(caught.value) == expected


def test_genotype_refuses_what_is_no_encoding():
    """A gene out of range is no genotype."""
    with pytest.raises(ValueError, match="encoding must have 5 genes"):
        spaces.CellSpace(**FIELDS).genotype([0, 0, 3, 0, 0])


def test_spaces_are_hashable_and_equal_by_value():
    """A space can be a static argument of jit."""
    assert spaces.zoo.darts() == spaces.zoo.darts()
    assert hash(spaces.zoo.s1()) == hash(spaces.zoo.s1())
    assert spaces.zoo.s1() != spaces.zoo.s2()
