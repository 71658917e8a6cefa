"""The space of a genotype decides its inputs and nodes; what is certain without it."""

import functools

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from jnas import networks, registry, spaces
from jnas.spaces import genotype as genotypes
from jnas.spaces import genotype_text, published

CONV, ONE, SKIP = "nor_conv_3x3", "nor_conv_1x1", "skip_connect"
SIX = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CASE = ((0, 2, CONV), (0, 3, CONV), (2, 3, ONE))  # no edge leads to node 1


def one_cell(edges, concat=(3,), space="nasbench201", name="cell"):
    """Returns a genotype of one kind of cell."""
    return genotypes.Genotype(space, ((name, genotypes.Cell(edges, concat)),))


def pair(normal, reduce=None, space="darts", names=("normal", "reduce")):
    """Returns a genotype of two kinds of cells."""
    return genotypes.Genotype(
        space, tuple(zip(names, (normal, reduce or normal), strict=True))
    )


def nodes(last, concat=None):
    """Returns a cell whose nodes 2 to last have two edges each."""
    edges = tuple((s, n, SKIP) for n in range(2, last + 1) for s in (0, 1))
    return genotypes.Cell(edges, concat or tuple(range(2, last + 1)))


def parameters(genotype, size, image=(32, 32, 3)):
    """Counts a genotype's network."""
    return networks.measure(networks.derived(genotype, size), image)["parameters"]


@functools.cache
def pairs_of_parameters():
    """Returns a function of operations that counts 1x1 and 3x3 kernels by hand."""

    def count(operations, features=4, stages=1):
        widths = [features * 2**s for s in range(3)]
        sizes = {CONV: 9, ONE: 1}
        cells = sum(
            sizes.get(op, 0) * w * w + (2 * w if op in sizes else 0)
            for w in widths
            for op in operations
        )
        stem = 27 * features + 2 * features
        blocks = sum(
            9 * f * w + 2 * w + 9 * w * w + 2 * w + f * w
            for f, w in zip(widths, widths[1:], strict=False)
        )
        head = 2 * widths[-1] + widths[-1] * 10 + 10
        return stem + stages * cells + blocks + head

    return count


def test_a_cell_without_its_first_edge():
    """It is the network of its string with ``none``, 148,098 parameters by the case."""
    genotype = one_cell(CASE)
    string = f"|none~0|+|{CONV}~0|none~1|+|{CONV}~0|none~1|{ONE}~2|"
    whole = genotype_text.from_nasbench201(string)
    assert (genotype.num_inputs, genotype.num_nodes) == (1, 3)
    size = networks.Size(8, 5, 10)
    assert parameters(genotype, size) == parameters(whole, size) == 148_098
    assert pairs_of_parameters()([CONV, CONV, ONE], 8, 5) == 148_098


@hypothesis.given(st.sets(st.integers(0, 5)), st.integers(0, 5**6 - 1))
@hypothesis.settings(max_examples=12, deadline=None)
def test_any_edges_may_be_missing(left_out, number):
    """An edge that is left out is one of ``none``, counted by hand."""
    space = spaces.zoo.nasbench201()
    encoding = spaces.encoding.from_index(number, space.sizes)
    edges = space.genotype(encoding).cell("cell").edges
    kept = tuple(e for i, e in enumerate(edges) if i not in left_out)
    expected = pairs_of_parameters()([op for _, _, op in kept])
    assert parameters(one_cell(kept), networks.Size(4, 1, 10)) == expected


def test_a_missing_edge_computes_what_none_computes():
    """Outputs are equal to the bit, with equal parameters."""
    short = one_cell(CASE)
    whole = genotype_text.from_nasbench201(genotype_text.short_form(short))
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    outputs = []
    for genotype in (short, whole.canonical(), whole):
        net = networks.derived(genotype, networks.Size(2, 1, 3))
        params, stats = net.init(jax.random.key(1))
        leaves = jax.tree.leaves(params)
        values = [np.linspace(-1, 1, leaf.size).reshape(leaf.shape) for leaf in leaves]
        params = jax.tree.unflatten(jax.tree.structure(params), values)
        (out, _), _ = net.apply(params, stats, x, train=True)
        outputs.append(out)
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


REFUSED = {
    "darts, range(2, 8)": (
        lambda: pair(nodes(5, (2, 3, 4, 5, 6, 7))),
        "cells.normal.concat must hold nodes from 2 to 5, those of space 'darts', "
        "got 6. Correct the cell, or its space.",
    ),
    "darts, [2, 3, 4, 6]": (
        lambda: pair(nodes(5), nodes(5, (2, 3, 4, 6))),
        "cells.reduce.concat must hold nodes from 2 to 5, those of space 'darts', "
        "got 6. Correct the cell, or its space.",
    ),
    "darts, an input": (
        lambda: pair(nodes(5, (1, 2))),
        "cells.normal.concat must hold nodes from 2 to 5, those of space 'darts', "
        "got 1. Correct the cell, or its space.",
    ),
    "darts, an edge to an input": (
        lambda: pair(genotypes.Cell(((0, 1, SKIP),), (2,))),
        "cells.normal.edges[0] must lead to a node from 2 to 5, those of space "
        "'darts', got (0, 1, 'skip_connect'). Correct the cell, or its space.",
    ),
    "darts, a node too many": (
        lambda: pair(nodes(6, (5,))),
        "cells.normal.edges[8] must lead to a node from 2 to 5, those of space "
        "'darts', got (0, 6, 'skip_connect'). Correct the cell, or its space.",
    ),
    "darts, one kind": (
        lambda: one_cell((), (2,), "darts", "normal"),
        "cells must be normal, reduce, those of space 'darts', got normal. Correct "
        "them, or the space.",
    ),
    "darts, swapped": (
        lambda: pair(nodes(5), names=("reduce", "normal")),
        "cells must be normal, reduce, those of space 'darts', got reduce, normal. "
        "Correct them, or the space.",
    ),
    "nasbench201, a node too many": (
        lambda: one_cell(((0, 4, SKIP),)),
        "cells.cell.edges[0] must lead to a node from 1 to 3, those of space "
        "'nasbench201', got (0, 4, 'skip_connect'). Correct the cell, or its space.",
    ),
    "nasbench201, concat": (
        lambda: one_cell(CASE, (3, 4)),
        "cells.cell.concat must hold nodes from 1 to 3, those of space 'nasbench201', "
        "got 4. Correct the cell, or its space.",
    ),
    "another space of that name": (
        lambda: spaces.CellSpace("darts", ("normal", "reduce"), 1, 2, (SKIP,), None,
                                 (2,)).genotype([0] * 6),
        "num_inputs must be 2, as registered for space 'darts', got 1. Rename the "
        "space.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_registered_space_does_not_have(name):
    """States and kinds of cells that do not exist are refused at once."""
    make, message = REFUSED[name]
    with pytest.raises(genotypes.GenotypeError) as caught:
        make()
    assert str(caught.value) == message


CELLS = [n for n, make in registry.SPACES.items() if make().supernet == "cells"]


@pytest.mark.parametrize("name", CELLS)
def test_every_registered_space(name):
    """Its own numbers, for its genotypes and for those read from their text."""
    space = registry.SPACES[name]()
    for seed in range(3):
        drawn = spaces.encoding.sample(jax.random.key(seed), space.sizes)
        genotype = space.genotype(drawn)
        read = genotype_text.from_json(genotype_text.to_json(genotype))
        for one in (genotype, read, read.canonical()):
            found = one.num_inputs, one.num_nodes
            assert found == (space.num_inputs, space.num_nodes)


UNKNOWN = {
    "an edge to node 1": (one_cell(((0, 1, SKIP), (1, 3, SKIP)), space="mine"), (1, 3)),
    "two kinds": (pair(genotypes.Cell(((0, 2, SKIP),), (2,)), space="mine"), (2, 1)),
    "two edges a node": (
        genotypes.Genotype("mine", (("cell", nodes(4, (4,))),)),
        (2, 3),
    ),
    "NASNet": (published.genotype("NASNet"), (2, 5)),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_certain_without_a_space(name):
    """An edge to state 1 means one input; DARTS' conventions mean two."""
    genotype, states = UNKNOWN[name]
    assert genotype.space not in list(registry.SPACES)
    assert (genotype.num_inputs, genotype.num_nodes) == states


UNCERTAIN = {
    "the case": one_cell(CASE, space="mine"),
    "one edge of six left out": one_cell(
        tuple((*edge, SKIP) for edge in SIX[1:]), space="mine"
    ),
    "one edge": one_cell(((0, 2, SKIP),), (2,), "mine"),
    "parallel edges": one_cell(((0, 2, SKIP), (0, 2, CONV)), (2,), "mine"),
}


@pytest.mark.parametrize("name", UNCERTAIN)
def test_what_is_not_certain_without_a_space(name):
    """It could be of either kind, so no network or picture is made of it."""
    genotype = UNCERTAIN[name]
    with pytest.raises(genotypes.GenotypeError) as caught:
        networks.derived(genotype, networks.Size(2, 3, 3))
    assert str(caught.value) == (
        "space must be registered, as no edge tells whether its cells have one input "
        "or two inputs, got 'mine'. Name the file that registers it with --plugins."
    )


def test_nodes_that_no_edge_leads_to():
    """Without a space they do not exist, and cells in the wrong order are refused."""
    rule = "cells.normal.concat must hold nodes that an edge leads to"
    with pytest.raises(genotypes.GenotypeError, match=rule):
        _ = pair(nodes(5, (2, 3, 4, 6)), space="mine").num_nodes
    swapped = pair(nodes(3), space="mine", names=("reduce", "normal"))
    with pytest.raises(genotypes.GenotypeError, match="must be normal, then reduce"):
        _ = swapped.num_inputs


def test_a_space_that_is_registered_later(monkeypatch):
    """A plug-in's space decides from then on, also for genotypes that exist."""
    early = one_cell(CASE, space="late")
    wrong = one_cell(CASE, (3, 4), space="late")
    with pytest.raises(genotypes.GenotypeError, match="space must be registered"):
        _ = early.num_inputs

    def late():
        return spaces.CellSpace("late", ("cell",), 1, 3, (SKIP,), None, (3,))

    entries = registry.SPACES._entries | {"late": late}
    monkeypatch.setattr(registry.SPACES, "_entries", entries)
    assert (early.num_inputs, early.num_nodes) == (1, 3)
    with pytest.raises(genotypes.GenotypeError, match="nodes from 1 to 3, those of"):
        _ = wrong.num_nodes


def test_a_space_that_is_never_registered():
    """Its own genotypes know its states; a text of them does not."""
    space = spaces.CellSpace("mine", ("cell",), 2, 3, (SKIP, CONV), 1, (4,))
    genotype = space.genotype([0] * len(space.sizes))
    assert (genotype.num_inputs, genotype.num_nodes) == (2, 3)
    assert genotype.canonical().num_inputs == 2
    read = genotype_text.from_json(genotype_text.to_json(genotype))
    assert read == genotype and hash(read) == hash(genotype)
    with pytest.raises(genotypes.GenotypeError, match="space must be registered"):
        _ = read.num_inputs


def test_a_registered_space_of_another_kind(monkeypatch):
    """One without cells decides nothing."""
    entries = registry.SPACES._entries | {"sizes": lambda: object()}
    monkeypatch.setattr(registry.SPACES, "_entries", entries)
    assert pair(nodes(3), space="sizes").num_inputs == 2
