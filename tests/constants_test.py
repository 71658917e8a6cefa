"""Tests of cells in which an operation reads a node that nothing reaches."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import networks, ops, spaces
from jnas.networks import cell as cell_lib
from jnas.spaces import genotype as genotype_lib
from jnas.spaces import genotype_text

OPERATIONS = spaces.zoo.nasbench201().operations
EDGES = (0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)
PLACE = cell_lib.Place(0, 2, (2, 2), False, False)


def has_constant(names):
    """Whether a norm's bias that no image reaches is part of a cell's output.

    Node by node, what its sum holds: nothing, the image, or a constant, or both.
    """
    holds = {0: {"image"}, 1: set(), 2: set(), 3: set()}
    for (source, target), name in zip(EDGES, names, strict=True):
        if name == "none":
            continue
        found = holds[source] & {"constant"}
        found |= {"image"} if "image" in holds[source] else set()
        if "conv" in name and not holds[source]:
            found = {"constant"}
        holds[target] |= found
    return "constant" in holds[3]


def strings():
    """All cells' operations, in the order of the benchmark."""
    return itertools.product(OPERATIONS, repeat=len(EDGES))


def test_their_number():
    """2,140 of the benchmark's 15,625 cells."""
    assert sum(map(has_constant, strings())) == 2140
    assert math.prod(spaces.zoo.nasbench201().sizes) == 15_625


def built(names, constants):
    """The output of a cell whose norms have random biases, in training."""
    edges = [(*edge, name) for edge, name in zip(EDGES, names, strict=True)]
    made = cell_lib.derived_cell(
        genotype_lib.Cell(tuple(edges), (3,)),
        genotype_lib.States(1, 3),
        PLACE,
        norm=ops.TRAINING,
        normalise=False,
        constants=constants,
    )
    params, stats = made.init(jax.random.key(0))
    leaves, treedef = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    leaves = [jnp.asarray(rng.normal(size=a.shape), jnp.float32) for a in leaves]
    params = jax.tree.unflatten(treedef, leaves)
    image = jnp.asarray(rng.normal(size=(2, 3, 3, 2)), jnp.float32)
    output, noted = made.apply(params, stats, [image], cell_lib.Context(), None)
    assert jax.tree.structure(noted) == jax.tree.structure(stats)
    return np.asarray(output), params


@pytest.mark.parametrize("wanted", [True, False])
def test_the_cells_that_differ(wanted):
    """Four of either kind, drawn at random: those with a constant change."""
    every = [names for names in strings() if "none" in names]
    drawn = np.random.default_rng(1).permutation(len(every))
    kind = [every[i] for i in drawn if has_constant(every[i]) == wanted][:4]
    for names in kind:
        without, _ = built(names, False)
        output, _ = built(names, True)
        assert (np.abs(output - without).max() > 1e-3) == wanted


def test_what_is_added_is_the_bias():
    """A chain whose first edge is none: the output is the last convolution's bias.

    With another convolution behind it: again its own bias, as a constant is normalised
    to zero.
    """
    names = ["none"] * 6
    names[2], names[5] = "nor_conv_1x1", "skip_connect"
    output, params = built(names, True)
    biases = [a for p, a in jax.tree.leaves_with_path(params["2"]) if "bias" in str(p)]
    np.testing.assert_allclose(output, np.broadcast_to(biases[0], output.shape))
    assert not built(names, False)[0].any()
    names[5] = "nor_conv_1x1"
    output, params = built(names, True)
    biases = [a for p, a in jax.tree.leaves_with_path(params["5"]) if "bias" in str(p)]
    want = np.broadcast_to(biases[0], output.shape)
    np.testing.assert_allclose(output, want, atol=1e-3)


def test_a_network_has_the_option():
    """Its logits change with a cell that has such a constant."""
    text = "|none~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|skip_connect~2|"
    genotype, x = genotype_text.from_nasbench201(text), jnp.ones((2, 8, 8, 3))
    size, found = networks.Size(2, 1, 3), []
    for options in ({}, {"constants": True}):
        net = networks.derived(genotype, size, **options)
        params, stats = net.init(jax.random.key(0))
        params = jax.tree.map(lambda a: a + 0.3, params)
        (outputs, _), _ = net.apply(params, stats, x, train=True, key=jax.random.key(1))
        found.append(outputs)
    assert np.abs(found[0] - found[1]).max() > 1e-3
