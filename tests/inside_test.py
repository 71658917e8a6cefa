"""Tests of what methods see inside a supernet: cells' weights, outputs, parameters."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import networks, ops, spaces
from jnas.networks import functional, mixture, outputs

TWO = spaces.CellSpace(
    "two", ("normal", "reduce"), 2, 2,
    ("none", "skip_connect", "nor_conv_1x1", "max_pool_3x3"), 2, (2, 3),
)  # fmt: skip
ONE = spaces.CellSpace(
    "one", ("cell",), 1, 2, ("none", "skip_connect", "nor_conv_1x1"), None, (2,)
)
X = jax.random.normal(jax.random.key(7), (3, 8, 8, 3))


@functools.cache
def supernet(name, remat=False):
    """A supernet, its parameters, and random weights."""
    space, layers = {"two": (TWO, 4), "one": (ONE, 2)}[name]
    net = networks.supernet(space, networks.Size(4, layers, 3), remat=remat)
    weights = jax.random.uniform(jax.random.key(1), space.shape)
    return net, jax.jit(net.init)(jax.random.key(0)), weights


@functools.cache
def gradients(name, remat=False):
    """Of a loss in (params, layers): compiled once."""
    net, _, _ = supernet(name, remat)

    def loss(params, layers):
        return (net.inside.apply(params, X, layers) ** 2).sum()

    return jax.jit(jax.value_and_grad(loss, (0, 1)))


def layers_of(net, weights):
    """The weights of each cell, as cells of a kind share them."""
    return weights[np.array(net.inside.kinds)]


def test_the_kinds_of_cells_are_those_of_the_papers():
    """Reductions at a third and two thirds; three stages of the same cell."""
    assert supernet("two")[0].inside.kinds == (0, 1, 1, 0)
    assert supernet("one")[0].inside.kinds == (0,) * 6


@pytest.mark.parametrize(("name", "remat"), [("two", False), ("one", False),
                                             ("one", True)])  # fmt: skip
def test_equal_layers_are_the_supernet(name, remat):
    """The same loss, and the layers' gradients of a kind sum to the shared one."""
    net, params, weights = supernet(name, remat)

    def loss(params, weights):
        return (net.apply(params, X, weights) ** 2).sum()

    shared, (d_params, d_weights) = jax.jit(jax.value_and_grad(loss, (0, 1)))(
        params, weights
    )
    own, (d_own, d_layers) = gradients(name, remat)(params, layers_of(net, weights))
    np.testing.assert_allclose(own, shared, rtol=1e-6)
    # the same terms in another order: float32's rounding of the largest
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            a, b, rtol=1e-4, atol=1e-5 * max(1, np.abs(b).max())
        ),
        d_own,
        d_params,
    )
    for kind in range(len(weights)):
        total = d_layers[np.array(net.inside.kinds) == kind].sum(0)
        scale = np.abs(d_weights[kind]).max()
        np.testing.assert_allclose(total, d_weights[kind], atol=1e-5 * scale)


@pytest.mark.parametrize("name", ["two", "one"])
def test_each_row_is_that_of_its_own_layer(name):
    """Where a layer's weights of a convolution are zero, its own has no gradient."""
    net, params, weights = supernet(name)
    layers = layers_of(net, weights)
    column = net.space.candidates_of(0, 0).index("nor_conv_1x1")
    for number in range(len(layers)):
        _, (d_params, _) = gradients(name)(params, layers.at[number, :, column].set(0))
        moved = []
        for stage, count, one in net.layers:
            largest = np.zeros(count)
            for group in one.groups if one else ():
                own = d_params[stage]["nodes"][group.name]["nor_conv_1x1"]
                for leaf in jax.tree.leaves(own):
                    leaf = np.abs(leaf).reshape(count, -1)
                    largest = np.maximum(largest, leaf.max(1))
            moved += [*(largest > 0)] if one else []
        assert moved == [i != number for i in range(len(layers))]


def spread(y):
    """A statistic that tells outputs apart: their mean and mean square."""
    return jnp.stack([y.mean(), (y**2).mean()])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("partial", [1, 2])
def test_statistics_are_those_of_candidate_after_candidate(stride, partial):
    """Each edge by a plain loop, with that edge's own parameters."""
    names = ("none", "skip_connect", "max_pool_3x3", "nor_conv_1x1")
    pairs = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    edges = tuple(
        mixture.Edge(i, *pair, names if i != 3 else names[::-1])
        for i, pair in enumerate(pairs)
    )
    one = mixture.mixture(
        edges, num_inputs=2, num_nodes=2, features=4, stride=stride,
        norm=ops.SEARCH, normalise=True,
        variant=mixture.EdgeVariant(partial=partial),
    )  # fmt: skip
    params = one.init(jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (2, 3, 6, 5, 4))
    weights = jax.random.uniform(jax.random.key(2), (5, 4))
    nodes = jax.jit(one.apply)(params, inputs, weights)
    found = jax.jit(functools.partial(outputs.statistics, one, spread))(
        params, inputs, nodes
    )
    assert found.shape == (5, 4, 2)
    states = [*inputs, *nodes]
    for edge in edges:
        step = stride if edge.source < 2 else 1
        for column, name in enumerate(edge.candidates):
            want = np.zeros(2)
            if name != "none":
                op = functional.operation(
                    name, 4 // partial, step, norm=ops.SEARCH, normalise=True
                )
                own = mixture.edge_params(one, params, edge.source, edge.target, name)
                x = states[edge.source][..., : 4 // partial]
                want = spread(op.apply(own, {}, x)[0])
            np.testing.assert_allclose(
                found[edge.index, column], want, rtol=1e-5, atol=1e-6
            )


@pytest.mark.parametrize("remat", [False, True])
def test_statistics_of_a_network_go_through_its_cells(remat):
    """The two cells of the first stage by hand, and the shape of all."""
    net, params, weights = supernet("one", remat)
    found = jax.jit(lambda params: net.inside.statistics(params, X, weights, spread))(
        params
    )
    assert found.shape == (6, *ONE.shape[1:], 2)
    stage, count, one = net.layers[0]
    assert count == 2
    stem = networks.cell_network.layers_lib.stem(1, networks.Size(4, 2, 3), ops.STEM)
    x = stem.apply(params["stem"], jax.eval_shape(stem.init, jax.random.key(0))[1],
                   X)[0]  # fmt: skip
    for number in range(count):
        own = jax.tree.map(operator.itemgetter(number), params[stage]["nodes"])
        nodes = one.apply(own, x[None], weights[0])
        want = outputs.statistics(one, spread, own, x[None], nodes)
        np.testing.assert_allclose(found[number], want, rtol=1e-4, atol=1e-5)
        x = nodes[-1]


@pytest.mark.parametrize("name", ["two", "one"])
def test_candidates_are_where_they_are_said_to_be(name):
    """Each is a subtree; its leading axes are cells and edges."""
    net, params, _ = supernet(name)
    assert len(net.inside.candidates) == len(
        {candidate.path for candidate in net.inside.candidates}
    )
    counts = {stage: count for stage, count, _ in net.layers}
    total = 0
    for one in net.inside.candidates:
        own = functools.reduce(operator.getitem, one.path, params)
        assert one.path[-1] == one.name and jax.tree.leaves(own)
        for leaf in jax.tree.leaves(own):
            assert one.axes == 1 + (counts[one.path[0]] > 1)
            if one.axes == 2:
                assert leaf.shape[0] == counts[one.path[0]]
        total += np.prod(jax.tree.leaves(own)[0].shape[: one.axes])
    # a 1x1 convolution on every edge of every cell; reductions convolve their skips
    reduced = sum(kind == 1 for kind in net.inside.kinds)
    inputs = sum(source < 2 for source, _ in TWO.edges)
    want = len(net.inside.kinds) * net.space.shape[1] + reduced * inputs
    assert total == want


def test_a_chain_has_operations_but_no_cells():
    """One instance a position."""
    space = spaces.zoo_chains.tiny_chain()
    net = networks.supernet(space, networks.Size(8, 1, 3))
    params = jax.eval_shape(net.init, jax.random.key(0))
    assert net.inside.apply is None and net.inside.statistics is None
    assert net.inside.kinds == ()
    for one in net.inside.candidates:
        own = functools.reduce(operator.getitem, one.path, params)
        assert jax.tree.leaves(own) and one.axes in (0, 1)
