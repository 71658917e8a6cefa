"""Cells chosen at run time, and their costs, against each cell's own network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import networks, spaces
from jnas.training import program

NASBENCH201, TINY = spaces.zoo.nasbench201(), spaces.zoo.tiny()
SMALL = spaces.CellSpace(
    "small", ("cell",), 1, 1, ("skip_connect", "none", "nor_conv_1x1"), None, (1,)
)
SHAPES = {NASBENCH201: networks.Size(2, 1, 3), TINY: networks.Size(2, 3, 3)}
# In the order 0-1, 0-2, 1-2, 0-3, 1-3, 2-3: nothing reaches node 1 and the edges that
# leave it, node 2 reaches no output, and the output is the input.
DEAD = [0, 3, 2, 1, 4, 0]


def cells(space, count, seed):
    """Draws encodings i32[count, G]."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, space.sizes, (count, len(space.sizes)))


def drawn(shapes, seed):
    """Draws float64 for shapes, so that no scale is one and no statistic zero.

    Biases are around 4: where a ReLU made every feature zero, pixels would be equal,
    and rounding would choose which of them a max-pooling gives its gradient to.
    """
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        middle = 4 if path[-1] == jax.tree_util.DictKey("bias") else 0
        return middle + rng.normal(size=leaf.shape)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def live(space, edges):
    """The edges (from, to, operation) on a path from an input to the output.

    Removes those whose source nothing enters, or whose target nothing leaves, until
    none is left.
    """
    edges = [edge for edge in edges if edge[2] != "none"]
    while True:
        entered = {to for _, to, _ in edges} | set(range(space.num_inputs))
        left = {source for source, _, _ in edges} | set(space.concat)
        kept = [e for e in edges if e[0] in entered and e[1] in left]
        if kept == edges:
            return kept
        edges = kept


def nodes(space, tree):
    """Yields (layer, edge, operation, subtree) of each cell's every candidate."""
    for layer, parts in tree.items():
        if "nodes" in parts:
            for i, candidates in parts["nodes"].items():
                for name, own in candidates.items():
                    yield layer, (*space.edges[int(i)], name), own


def kind(space, genotype, layer):
    """The cell of a layer; of three layers the second and third are reductions."""
    number = 0 if len(space.cells) == 1 else int(layer != "layers_00")
    return genotype.cells[number][1]


def picked(space, genotype, tree):
    """The derived network's part of a switched network's tree."""
    own = {}
    for layer, parts in tree.items():
        own[layer] = dict(parts)
        if "nodes" in parts:
            own[layer]["nodes"] = {
                str(i): parts["nodes"][str(space.edges.index(edge[:2]))][edge[2]]
                for i, edge in enumerate(kind(space, genotype, layer).edges)
                if edge[2] != "none"
            }
    return own


def step(network, params, stats, x):
    """A loss, the outputs, the new statistics and the gradient of the parameters."""

    def loss(params):
        (y, _), new = network.apply(params, stats, x, train=True)
        return jnp.sin(y).sum(), (y, new)

    grad, (y, new) = jax.grad(loss, has_aux=True)(params)
    return y, new, grad


def close(got, want):
    """Float64: only the order of sums may differ."""
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-9), got, want
    )


@pytest.mark.usefixtures("few_programs")
@pytest.mark.parametrize("space", SHAPES, ids=lambda space: space.name)
def test_switched_is_the_derived_network(space):
    """Outputs, gradients and statistics of random cells, by one compiled program.

    Everything of the candidates that are not chosen, or that do nothing, stays as it
    is, and has no gradient.
    """
    shape, sample = SHAPES[space], cells(space, 2, seed=1)
    if space is NASBENCH201:
        sample = [sample[0], DEAD]
    with jax.enable_x64(True):
        build = networks.switched(space, shape)
        shapes = jax.eval_shape(build(jnp.zeros(space.shape)).init, jax.random.key(0))
        params, stats = drawn(shapes, seed=0)
        x = np.random.default_rng(2).normal(size=(3, 8, 8, 3))
        traces = []

        def compute(weights):
            traces.append(weights)
            return step(build(weights), params, stats, x)

        run = program.once(compute)
        for encoding in sample:
            genotype = space.genotype(encoding)
            y, new, grad = run(space.weights(encoding))
            pick = functools.partial(picked, space, genotype)
            own = program.once(
                functools.partial(step, networks.derived(genotype, shape))
            )
            want_y, want_new, want_grad = own(pick(params), pick(stats), x)
            close((y, pick(grad)), (want_y, want_grad))
            rest = {layer for layer in new if "nodes" not in new[layer]}
            close({n: new[n] for n in rest}, {n: want_new[n] for n in rest})
            old = {at[:2]: at[2] for at in nodes(space, stats)}
            slopes = {at[:2]: at[2] for at in nodes(space, grad)}
            for layer, edge, moved in nodes(space, new):
                cell, slope = kind(space, genotype, layer), slopes[layer, edge]
                if edge in live(space, cell.edges):
                    own_edge = str(cell.edges.index(edge))
                    close(moved, want_new[layer]["nodes"][own_edge])
                    assert all(map(np.any, jax.tree.leaves(slope)))
                else:
                    close(moved, old[layer, edge])
                    assert not any(map(np.any, jax.tree.leaves(slope)))
        assert len(traces) == 1


@functools.cache
def three_cells():
    """Three cells of one edge: (weights, key, rate) -> outputs; the same, derived."""
    shape, encodings = networks.Size(2, 1, 3), np.arange(3)[:, None]
    build = networks.switched(SMALL, shape)
    weights = jax.vmap(SMALL.weights)(encodings)
    shapes = jax.eval_shape(build(weights[0]).init, jax.random.key(0))
    params, stats = drawn(shapes, seed=3)
    x = jax.random.normal(jax.random.key(0), (6, 4, 4, 3))

    def outputs(network, params, stats, key, rate):
        how = dict(train=True, key=key, drop_path_rate=rate)
        return network.apply(params, stats, x, **how)[0][0]

    def run(weights, key, rate):
        return outputs(build(weights), params, stats, key, rate)

    def own(encoding, key, rate):
        genotype = SMALL.genotype(encoding)
        pick = functools.partial(picked, SMALL, genotype)
        network = networks.derived(genotype, shape)
        return outputs(network, pick(params), pick(stats), key, rate)

    return weights, encodings, program.once(run), own


@pytest.fixture
def small():
    """Gives the three cells, and computes them in float64."""
    with jax.enable_x64(True):
        yield three_cells()


def test_drop_path_falls_on_operations_but_the_identity(small):
    """With one key the same examples as in the derived network."""
    weights, encodings, run, own = small
    key = jax.random.key(5)
    kept = [np.asarray(run(w, key, 0.0)) for w in weights]
    dropped = [np.asarray(run(w, key, 0.5)) for w in weights]
    np.testing.assert_array_equal(dropped[0], kept[0])
    np.testing.assert_array_equal(dropped[1], kept[1])
    assert np.abs(dropped[2] - kept[2]).max() > 0.01
    wanted = program.once(functools.partial(own, encodings[2]))(key, 0.5)
    close(dropped[2], wanted)


def test_no_weights_are_none_and_vmap_is_loop(small):
    """A row of zeros is an edge that is not there; cells side by side are the same."""
    weights, _, run, _ = small
    key = jax.random.key(0)
    alone = [np.asarray(run(w, key, 0.0)) for w in weights]
    np.testing.assert_array_equal(run(0 * weights[0], key, 0.0), alone[1])
    together = program.once(jax.vmap(run, (0, None, None)))(weights, key, 0.0)
    close(together, np.stack(alone))
    # the three cells do differ
    assert min(np.abs(alone[i] - alone[i - 1]).max() for i in range(3)) > 0.01


def reached(space, genotype):
    """True where each operation reads a state that an input leads to."""
    for _, cell in genotype.cells:
        there = set(range(space.num_inputs))
        for source, to, name in sorted(cell.edges, key=lambda edge: edge[1]):
            if name != "none":
                if source not in there:
                    return False
                there.add(to)
    return True


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (NASBENCH201, networks.Size(4, 2, 10)),
        (TINY, networks.Size(3, 4, 10)),
        (spaces.zoo.tiny().with_operations(["skip_connect", "dil_conv_3x3"]),
         networks.Size(2, 3, 5)),
    ],
    ids=["nasbench201", "tiny", "other"],
)  # fmt: skip
def test_edge_costs_are_those_of_the_derived_network(space, shape):
    """Parameters of every cell; MACs where nothing stands idle; at an odd size."""
    image, sample = (9, 7, 3), cells(space, 4, seed=4)
    costs = networks.option_costs(space, shape, image)
    weights = jax.vmap(space.weights)(jnp.asarray(sample))
    found = {n: jax.jit(jax.vmap(c.of))(weights) for n, c in costs.items()}
    wholly = 0
    for i, encoding in enumerate(sample):
        genotype = space.genotype(encoding)
        want = networks.measure(networks.derived(genotype, shape), image)
        for name, cost in costs.items():
            # whole numbers below 2**24 have no rounding in float32
            assert int(cost.of(weights[i])) == int(found[name][i])
        assert int(found["parameters"][i]) == want["parameters"]
        if reached(space, genotype):
            wholly += 1
            assert int(found["macs"][i]) == want["macs"]
        else:
            assert int(found["macs"][i]) >= want["macs"]
    assert wholly


def test_an_edge_that_nothing_reaches_is_counted():
    """A 3x3 convolution of F features in each stage, by hand."""
    shape = networks.Size(4, 2, 10)
    costs = networks.option_costs(NASBENCH201, shape, (8, 8, 3))
    encoding = [0, 0, 3, 1, 0, 0]  # node 1 is empty, and a convolution reads it
    weights = NASBENCH201.weights(np.array(encoding))
    network = networks.derived(NASBENCH201.genotype(encoding), shape)
    want = networks.measure(network, (8, 8, 3))
    # features double as rows and columns halve: 9 F F H W is the same in each stage
    idle = 3 * shape.num_layers * 9 * 4 * 4 * 8 * 8
    assert int(costs["macs"].of(weights)) == want["macs"] + idle


def test_edge_costs_of_a_published_cell():
    """NAS-Bench-201's own counts of its cell of 3x3 convolutions alone."""
    costs = networks.option_costs(NASBENCH201, networks.Size(16, 5, 10), (32, 32, 3))
    weights = NASBENCH201.weights(np.full(6, 3))
    assert int(costs["parameters"].of(weights)) == 1_531_546
    assert round(float(costs["macs"].of(weights)) / 1e6, 2) == 220.12
