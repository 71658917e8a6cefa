"""Tests of the networks against published counts and against each other."""

import dataclasses
import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import networks, ops, spaces
from jnas.networks import functional, mixture
from jnas.spaces import genotype_text, published
from jnas.training import program


def build(space, shape):
    """Returns a supernet and parameters."""
    net = networks.supernet(space, shape)
    return net, program.once(net.init)(jax.random.key(0))


def image(size=(8, 8), batch=2):
    """Draws images f32[batch, rows, columns, 3]."""
    return jax.random.normal(jax.random.key(7), (batch, *size, 3))


def sample(space, seed):
    """Draws an encoding."""
    return spaces.encoding.sample(jax.random.key(seed), space.sizes)


@pytest.mark.parametrize(
    "name", ["DARTS_V1", "DARTS_V2", "PC_DARTS_cifar", "PDARTS", "GDAS_V1"]
)
def test_published_counts(name):
    """Parameters, auxiliary head and MACs to the unit (36 features, 20 layers)."""
    shape = networks.Size(36, 20, 10)
    net = networks.derived(published.genotype(name), shape, auxiliary=True)
    found = networks.measure(net, (32, 32, 3))
    known = published.published(name)
    assert found == {
        "parameters": known["parameters"],
        "auxiliary_parameters": known["auxiliary"],
        "macs": known["macs"],
    }


@pytest.mark.parametrize(
    ("string", "parameters", "mega_macs"),
    [
        ("|c~0|+|c~0|c~1|+|c~0|c~1|c~2|", 1531546, 220.12),
        ("|s~0|+|s~0|s~1|+|s~0|s~1|s~2|", 73306, None),
        ("|c~0|+|none~0|c~1|+|s~0|none~1|s~2|", 559386, 78.56),
    ],
)
def test_nasbench201_counts(string, parameters, mega_macs):
    """The benchmark's own counts (16 features, 5 cells a stage)."""
    string = string.replace("c~", "nor_conv_3x3~").replace("s~", "skip_connect~")
    cell = genotype_text.from_nasbench201(string)
    found = networks.measure(
        networks.derived(cell, networks.Size(16, 5, 10)), (32, 32, 3)
    )
    assert found["parameters"] == parameters
    if mega_macs:
        assert round(found["macs"] / 1e6, 2) == mega_macs


def test_supernet_count():
    """1,930,618 parameters at 16 features, 8 layers, 10 classes."""
    net = networks.supernet(spaces.zoo.darts(), networks.Size(16, 8, 10))
    params = jax.eval_shape(net.init, jax.random.key(0))
    assert networks.count_params(params) == 1930618


def test_macs_of_a_convolution_by_hand():
    """A scan counts each turn; a grouped convolution counts its own group."""
    x = jnp.zeros((1, 6, 6, 4))
    conv = jnp.zeros((3, 3, 4, 4))

    def twice(x):
        def body(x, _):
            y = jax.lax.conv_general_dilated(
                x, conv, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            return ops.depthwise_conv(y, jnp.zeros((5, 5, 4))), None

        return jax.lax.scan(body, x, length=2)[0]

    assert networks.count_macs(twice, x) == 2 * 36 * 4 * (9 * 4 + 25)


@pytest.mark.parametrize(("name", "layers"), [("tiny", 10), ("nasbench201", 2)])
def test_one_hot_supernet_is_the_derived_network(name, layers):
    """With inherited parameters both compute the same, at an odd size, in float64.

    Some consecutive cells are equal, and stacked in one scan; others are alone.
    """
    space, shape = registry_space(name), networks.Size(2, layers, 3)
    with jax.enable_x64(True):
        net, params = build(space, shape)
        counts = {count for _, count, _ in net.layers}
        assert min(counts) == 1 < max(counts)
        encoding = sample(space, layers)
        cell = space.genotype(encoding)
        own = networks.derived(
            cell,
            shape,
            norm=ops.SEARCH,
            stem_norm=ops.STEM,
            normalise_pools=name == "tiny",
        )
        inherited = networks.inherit(net, params, cell, shape)
        x = image((7, 9)).astype(jnp.float64)
        want = jax.jit(net.apply)(params, x, space.weights(encoding))
        stats = jax.eval_shape(own.init, jax.random.key(0))[1]
        (got, _), _ = jax.jit(lambda p, x: own.apply(p, stats, x, train=True))(
            inherited, x
        )
        np.testing.assert_allclose(got, want, atol=1e-9)


def registry_space(name):
    """Returns the space of that name."""
    return getattr(spaces.zoo, name)()


def one_kind(name):
    """Returns a space of the second kind of cell alone, whose network has one layer."""
    space = registry_space(name)
    given = space.candidates
    candidates = given if isinstance(given[0], str) else given[1:]
    return dataclasses.replace(
        space, name="one_kind", cells=("cell",), candidates=candidates
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_mixture_is_the_sum_over_edges(stride):
    """Held against a plain loop over edges and candidates, in float64.

    So are its gradients, which walk the edges backwards, and the forward mode over
    them, which the exact second order takes.
    """
    names = ("none", "max_pool_3x3", "skip_connect", "dil_conv_3x3")
    pairs = [(0, 2), (1, 2), (0, 3), (2, 3)]
    edges = tuple(mixture.Edge(i, s, t, names) for i, (s, t) in enumerate(pairs))
    with jax.enable_x64(True):
        mix = mixture.mixture(
            edges,
            num_inputs=2,
            num_nodes=2,
            features=4,
            stride=stride,
            norm=ops.SEARCH,
            normalise=True,
        )
        params = program.once(mix.init)(jax.random.key(0))
        params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
        inputs = jax.random.normal(jax.random.key(1), (2, 2, 6, 6, 4), jnp.float64)
        weights = jax.random.uniform(jax.random.key(2), (4, 4), jnp.float64)
        args = params, inputs, weights

        @functools.partial(jax.jit, static_argnums=0)
        def everything(nodes, args):
            def value(*args):
                out = nodes(*args)
                return jnp.sin(out).sum(), out

            def slopes(*args):
                return jax.grad(value, (0, 1, 2), has_aux=True)(*args)[0]

            (_, out), grads = jax.value_and_grad(value, (0, 1, 2), has_aux=True)(*args)
            return out, grads, jax.jvp(slopes, args, args)[1]

        got = everything(mix.apply, args)
        want = everything(functools.partial(by_hand, mix, edges, stride), args)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), got, want
        )


def by_hand(mix, edges, stride, params, inputs, weights):
    """Sums every candidate of every edge, one at a time."""
    states = [*inputs, 0, 0]
    for edge in sorted(edges, key=lambda e: e.target):
        for column, name in enumerate(edge.candidates):
            step = stride if edge.source < 2 else 1
            op = functional.operation(name, 4, step, norm=ops.SEARCH, normalise=True)
            own = mixture.edge_params(mix, params, edge.source, edge.target, name)
            y, _ = op.apply(own, {}, states[edge.source])
            states[edge.target] += weights[edge.index, column] * y
    return jnp.stack(states[2:])


def test_remat_changes_nothing_and_bfloat16_little():
    """Recomputed cells give the same gradients; outputs stay float32."""
    space = one_kind("tiny").with_operations(["skip_connect", "dil_conv_3x3"])
    shape = networks.Size(2, 1, 3)
    plain, params = build(space, shape)
    weights = jnp.full(space.shape, 0.5)

    def grads(net):
        def value(params, weights):
            out = net.apply(params, image(), weights)
            return (out**2).sum(), out

        return jax.jit(jax.grad(value, (0, 1), has_aux=True))(params, weights)

    want, out = grads(plain)
    got, again = grads(networks.supernet(space, shape, remat=True))
    np.testing.assert_allclose(again, out, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), got, want)
    low, rough = grads(networks.supernet(space, shape, dtype=jnp.bfloat16))
    assert rough.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(low)} == {np.dtype("float32")}
    # bfloat16 has 8 bits: its outputs differ from these, by a few hundredths at most
    assert 1e-5 < np.abs(rough - out).max() < 0.1 * np.abs(out).max()


def test_remat_inside_a_stage_of_several_cells():
    """A scan whose body is computed again gives the same gradients."""
    names = "skip_connect", "nor_conv_1x1"
    space = spaces.CellSpace("mini", ("cell",), 1, 1, names, None, (1,))
    shape = networks.Size(2, 2, 3)
    plain, params = build(space, shape)
    again = networks.supernet(space, shape, remat=True)
    weights = jnp.full(space.shape, 0.5)

    def grads(net):
        def value(params, weights):
            return (net.apply(params, image((5, 6)), weights) ** 2).sum()

        function = jax.grad(value, (0, 1))
        assert ("remat" in str(jax.make_jaxpr(function)(params, weights))) == (
            net is again
        )
        return jax.jit(function)(params, weights)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        grads(again),
        grads(plain),
    )


def test_a_stage_does_not_grow_with_its_cells():
    """Eight and twenty layers trace to programs of one size, within a tenth."""
    space = spaces.zoo.tiny()

    def size(layers):
        net = networks.supernet(space, networks.Size(2, layers, 3))
        params = jax.eval_shape(net.init, jax.random.key(0))
        traced = jax.make_jaxpr(net.apply)(params, image(), jnp.ones(space.shape))
        return len(str(traced))

    assert size(20) < 1.1 * size(8)


def test_candidates_that_differ_from_edge_to_edge():
    """S1 has its own pair of candidates on each edge; every edge gets gradients."""
    space = one_kind("s1")
    net, params = build(space, networks.Size(2, 1, 3))
    weights = jnp.full(space.shape, 0.5)
    out, grads = jax.jit(
        jax.value_and_grad(lambda w: (net.apply(params, image(), w) ** 2).sum())
    )(weights)
    assert np.isfinite(out)
    assert (np.abs(grads) > 0).all()


def test_random_candidates_need_a_key():
    """S4 holds noise: it asks for a key, and repeats with the same one."""
    space = one_kind("s4")
    net, params = build(space, networks.Size(2, 1, 3))
    weights = jnp.full(space.shape, 0.5)
    with pytest.raises(ValueError, match="key must be given"):
        net.apply(params, image(), weights)
    run = jax.jit(lambda key: net.apply(params, image(), weights, key=key))
    first, again, other = (run(jax.random.key(s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


def test_supernet_is_pure_and_vmaps():
    """Seeds by vmap are seeds one by one; the same call gives the same bits."""
    space = one_kind("tiny")
    net = networks.supernet(space, networks.Size(2, 1, 3))
    params = program.once(jax.vmap(net.init))(jax.random.split(jax.random.key(0), 2))
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(1), (2, *space.shape)))
    together = jax.jit(jax.vmap(net.apply, (0, None, 0)))(params, image(), weights)
    one = jax.jit(net.apply)
    for s in range(2):
        own = jax.tree.map(operator.itemgetter(s), params)
        alone = one(own, image(), weights[s])
        np.testing.assert_allclose(together[s], alone, atol=1e-5)
        np.testing.assert_array_equal(alone, one(own, image(), weights[s]))


def test_derived_network_trains_and_evaluates():
    """Statistics move in training alone; evaluation treats images one by one."""
    cell = published.genotype("DARTS_V2")
    net = networks.derived(cell, networks.Size(2, 3, 3), auxiliary=True)
    params, stats = program.once(net.init)(jax.random.key(0))
    (out, aux), moved = jax.jit(
        lambda *a: net.apply(*a, train=True, key=jax.random.key(1), drop_path_rate=0.3)
    )(params, stats, image((16, 16), 3))
    assert out.shape == aux.shape == (3, 3)
    different = [
        bool((a != b).any())
        for a, b in zip(jax.tree.leaves(stats), jax.tree.leaves(moved), strict=True)
    ]
    assert all(different)
    evaluate = jax.jit(lambda *a: net.apply(*a, train=False))
    (all_at_once, none), same = evaluate(params, moved, image((16, 16), 3))
    assert none is None
    jax.tree.map(np.testing.assert_array_equal, same, moved)
    others = image((16, 16), 3).at[1:].set(0)
    (first, _), _ = evaluate(params, moved, others)
    np.testing.assert_allclose(all_at_once[0], first[0], atol=1e-5)


def test_drop_path_keeps_the_mean_and_the_identity():
    """Dropped examples are zero, the others scaled by 1 / keep."""
    x = jnp.ones((4000, 1, 1, 1))
    y = ops.drop_path(jax.random.key(0), x, 0.25)
    # a binomial of 4000 draws at .75 has a deviation of .007
    assert abs(float((y > 0).mean()) - 0.75) < 0.03
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.75], rtol=1e-6)


@pytest.mark.parametrize("size", [0, -1, 10_001])
def test_shape_is_checked(size):
    """A size out of its range is refused with its name."""
    with pytest.raises(
        ValueError, match=f"features must be from 1 to 10000, got {size}"
    ):
        networks.Size(size, 3, 10)


def test_auxiliary_needs_pixels():
    """An image that is too small for the auxiliary head is refused in words."""
    net = networks.derived(
        published.genotype("DARTS_V2"), networks.Size(2, 3, 3), auxiliary=True
    )
    apply = functools.partial(net.apply, train=True, key=jax.random.key(0))
    like = jax.eval_shape(net.init, jax.random.key(0))
    jax.eval_shape(apply, *like, image((16, 16)))
    with pytest.raises(ValueError, match="auxiliary must read at least 2x2 pixels"):
        jax.eval_shape(apply, *like, image((4, 4)))


def test_a_random_operation_is_counted_and_evaluated():
    """A cell of noise has MACs, and evaluates with a key."""
    space = spaces.zoo.s4()
    noisy = space.genotype(np.zeros(len(space.sizes), int))
    net = networks.derived(noisy, networks.Size(2, 3, 3))
    assert any(op == "noise" for _, c in noisy.cells for _, _, op in c.edges)
    assert networks.measure(net, (8, 8, 3))["macs"] > 0
    params, stats = program.once(net.init)(jax.random.key(0))
    run = jax.jit(lambda key: net.apply(params, stats, image(), train=False, key=key))
    (first, _), _ = run(jax.random.key(0))
    (again, _), _ = run(jax.random.key(0))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("build", "fan_in"),
    [
        (lambda rngs: ops.Conv(16, 32, (3, 3), rngs=rngs), 144),
        (lambda rngs: ops.DepthwiseConv(512, 5, rngs=rngs), 25),
    ],
)
def test_kernels_start_as_torch_does(build, fan_in):
    """Uniform in +-1 / sqrt(fan_in): bounds, and deviation of bound / sqrt(3)."""
    params, _ = functional.functional(build).init(jax.random.key(0))
    kernel = np.asarray(params["kernel"])
    bound = fan_in**-0.5
    assert np.abs(kernel).max() <= bound and np.abs(kernel).max() > 0.99 * bound
    # thousands of draws: the deviation is within 3 % of its value
    np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.03)
