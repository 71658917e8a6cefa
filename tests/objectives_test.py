"""Objectives: from scratch as alone, proxies as defined, costs as counted, combined."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, networks, ops, registry, spaces, testing
from jnas.discrete import objectives
from jnas.networks import mixture as mixture_lib
from jnas.training import devices, optimizers, program
from jnas.training import scratch as scratch_lib

SPACE = spaces.CellSpace(
    "mini",
    ("cell",),
    1,
    2,
    ("none", "skip_connect", "nor_conv_1x1", "avg_pool_3x3"),
    None,
    (2,),
)
SHAPE = networks.Size(2, 1, 3, channels=1)
CELLS = jnp.array([[2, 0, 2], [0, 3, 1], [2, 2, 1], [0, 0, 0]], jnp.int32)
AUGMENT = data.Augment((0.4,), (0.3,), crop_padding=1)


@functools.cache
def images(count, seed):
    """Images of three classes that differ in brightness, as the data set holds them."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    x = rng.uniform(0, 1, (count, 4, 4, 1)) * 0.5 + 0.25 * labels[:, None, None, None]
    return jnp.asarray(x, jnp.float32), jnp.asarray(labels, jnp.int32)


def normalised(count, seed):
    """The same, normalised."""
    x, labels = images(count, seed)
    return data.normalise(x, AUGMENT), labels


@functools.cache
def scratch(way):
    """The objective of two epochs, compiled; validation and test part."""
    return jax.jit(
        objectives.scratch(
            SPACE,
            SHAPE,
            images(24, 0),
            [images(15, 1), images(12, 2)],
            augment=AUGMENT,
            num_epochs=2,
            batch_size=8,
            over_members=way,
        )
    )


def alone(key, encoding):
    """Trains one genotype's own network by the training loop, from matched values."""
    train_key, test_key = jax.random.split(key)
    genotype = SPACE.genotype(encoding)
    network = networks.derived(genotype, SHAPE)
    whole = networks.switched(SPACE, SHAPE)(SPACE.weights(encoding))

    def init(key):
        made = []
        for tree in whole.init(key):
            own = dict(tree)
            for name, layer in tree.items():
                if name.startswith("layers") and "nodes" in layer:
                    own[name] = layer | {
                        "nodes": {
                            str(i): layer["nodes"][str(SPACE.edges.index(e[:2]))][e[2]]
                            for i, e in enumerate(genotype.cells[0][1].edges)
                            if e[2] != "none"
                        }
                    }
            made.append(own)
        return tuple(made)

    rate = optimizers.cosine_by_epoch(
        start=0.1, end=0.0, num_epochs=2, steps_per_epoch=3
    )
    trained = scratch_lib.training(
        network._replace(init=init),
        optimizer=optimizers.momentum_sgd(
            rate, weight_decay=5e-4, clip_norm=None, nesterov=True
        ),
        augment=AUGMENT,
        num_examples=24,
        batch_size=8,
        num_epochs=2,
        drop_path_rate=0.0,
    )
    state, _ = program.run(trained, trained.init(train_key), (images(24, 0),))
    return [
        scratch_lib.evaluate(
            test_key,
            network,
            state.inner.params,
            state.inner.stats,
            *part,
            augment=AUGMENT,
            batch_size=8,
        )
        for part in (images(15, 1), images(12, 2))
    ]


def test_a_population_from_scratch_is_each_cell_alone():
    """Every member's scores are those of its own network in the training loop."""
    key = jax.random.key(3)
    scores = scratch(devices.in_turn)(key, CELLS)
    assert scores.shape == (4, 2)
    keys = jax.random.split(key, 4)
    for number in (0, 2):
        wanted = alone(keys[number], CELLS[number])
        np.testing.assert_allclose(scores[number], wanted, atol=1e-6)
    # a cell without any edge gives one class to every image
    assert float(scores[3, 0]) == pytest.approx(1 / 3)


def test_members_together_and_in_turn_agree():
    """Both ways over members give the same accuracies, up to an image at the border."""
    key = jax.random.key(5)
    found = [scratch(way)(key, CELLS) for way in (devices.in_turn, devices.together)]
    np.testing.assert_allclose(*found, atol=1.01 / 12)


def test_members_do_not_depend_on_each_other():
    """A member's score is that of its place in the keys, whoever stands beside it."""
    key = jax.random.key(3)
    other = CELLS.at[1:].set(CELLS[0])
    found = [scratch(devices.in_turn)(key, cells)[0] for cells in (CELLS, other)]
    np.testing.assert_array_equal(*found)


@functools.cache
def apart(encoding, **norm):
    """The switched network of one cell, and what its first key initialises."""
    kind = ops.Norm(**norm)
    network = networks.switched(SPACE, SHAPE, norm=kind, stem_norm=kind)
    bound = network(SPACE.weights(np.array(encoding)))
    key = jax.random.split(jax.random.key(7), 1)[0]
    init_key, op_key = jax.random.split(key)
    params, stats = program.once(bound.init)(init_key)

    def outputs(params, x):
        return bound.apply(params, stats, x, train=True, key=op_key)[0][0]

    return params, outputs


def scored(objective):
    """The objective's score of the first cell under a known key."""
    return float(jax.jit(objective)(jax.random.key(7), CELLS[:1])[0, 0])


def kernels(tree):
    """The kernels of a tree, found by their number of axes."""
    return [
        np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree) if leaf.ndim > 1
    ]


BATCH = dict(affine=True, running=False)


def test_gradient_proxies_are_their_formulas():
    """Gradient norm and SNIP against sums over an independent gradient."""
    x, labels = normalised(9, 0)
    params, outputs = apart((2, 0, 2), **BATCH)

    def loss(params):
        log_p = jax.nn.log_softmax(outputs(params, x))
        return -log_p[jnp.arange(9), labels].mean()

    grads = jax.jit(jax.grad(loss))(params)
    norm = np.sqrt(sum((g**2).sum() for g in kernels(grads)))
    assert scored(objectives.grad_norm(SPACE, SHAPE, x, labels)) == pytest.approx(
        norm, rel=1e-4
    )
    pairs = zip(kernels(grads), kernels(params), strict=True)
    product = sum(np.abs(g * w).sum() for g, w in pairs)
    assert scored(objectives.snip(SPACE, SHAPE, x, labels)) == pytest.approx(
        product, rel=1e-4
    )


def test_synflow_counts_each_kernel_once():
    """R is of degree one in each layer: sum w dR/dw of a layer is R, biases apart."""
    params, outputs = apart((2, 0, 2), affine=True, running=False, active=False)
    positive = jax.tree.map(jnp.abs, params)

    def total(scale):
        # all kernels but the chosen one's alternatives scaled by one number
        scaled = jax.tree.map(lambda w: w * scale if w.ndim > 1 else w, positive)
        return outputs(scaled, jnp.ones((1, 4, 4, 1))).sum()

    slope = float(jax.jit(jax.grad(total))(1.0))
    found = scored(objectives.synflow(SPACE, SHAPE, (4, 4, 1)))
    assert found == pytest.approx(np.log(slope), rel=1e-5)


def test_jacobian_covariance_is_numpys():
    """Against numpy's corrcoef and general eigenvalues, in float64."""
    x, _ = normalised(6, 0)
    params, outputs = apart((2, 0, 2), **BATCH)
    rows = jax.jit(jax.grad(lambda x: outputs(params, x).sum()))(x).reshape(6, -1)
    values = np.linalg.eigvals(np.corrcoef(np.asarray(rows, np.float64))).real + 1e-5
    wanted = -(np.log(values) + 1 / values).sum()
    found = scored(objectives.jacobian_covariance(SPACE, SHAPE, x))
    # 1 / v of the smallest eigenvalues magnifies float32's rounding
    assert found == pytest.approx(wanted, rel=0.02)


def test_naswot_needs_units():
    """A network without a recorded ReLU has nothing to compare."""
    space = registry.SPACES["tiny_chain"]()
    size = networks.Size(2, 1, 3)
    proxy = objectives.naswot(space, size, jnp.ones((4, 8, 8, 3)))
    with pytest.raises(ValueError, match="naswot must have networks with a ReLU"):
        proxy(jax.random.key(0), jnp.zeros((1, len(space.sizes)), jnp.int32))


def test_naswot_compares_every_unit():
    """K's diagonal is the number of ReLU units, and K is a sum over units."""
    batch = 5
    x, _ = normalised(batch, 0)
    norm = ops.Norm(affine=True, running=False, recorded=batch)
    network = networks.switched(SPACE, SHAPE, norm=norm, stem_norm=norm)
    bound = network(SPACE.weights(np.array([2, 0, 2])))
    init_key, _ = jax.random.split(jax.random.split(jax.random.key(7), 1)[0])
    params, stats = program.once(bound.init)(init_key)
    _, stats = jax.jit(lambda *a: bound.apply(*a, train=True))(params, stats, x)
    total = sum(np.asarray(leaf) for leaf in jax.tree.leaves(stats))
    # two convolutions of each stage read 2x4x4, 4x2x2, 8x1x1 units; a residual block's
    # two read what comes in and what goes on, the head reads the last stage
    inside = 2 * (2 * 16 + 4 * 4 + 8)
    blocks = (2 * 16 + 4 * 4) + (4 * 4 + 8)
    np.testing.assert_allclose(np.diag(total), inside + blocks + 8)
    wanted = np.log(np.abs(np.linalg.det(total.astype(np.float64))))
    found = scored(objectives.naswot(SPACE, SHAPE, x))
    assert found == pytest.approx(wanted, rel=1e-3)


def test_the_record_of_a_relu_is_brute_force():
    """Pairs of images and units are counted one by one."""
    relu = ops.activation(ops.Norm(True, False, recorded=3))
    x = jax.random.normal(jax.random.key(0), (3, 2, 2, 2))
    y = relu(x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    flat = np.asarray(x).reshape(3, -1) > 0
    wanted = [[(a == b).sum() for b in flat] for a in flat]
    np.testing.assert_array_equal(relu.agreement[...], wanted)


def test_costs_are_those_of_the_derived_network():
    """Parameters and MACs of a cell all of whose edges are reached; negative."""
    cells = np.array([[2, 1, 2], [2, 3, 3]])
    for kind in ("parameters", "macs"):
        objective = objectives.cost(SPACE, SHAPE, (4, 4, 1), kind=kind)
        scores = jax.jit(objective)(jax.random.key(0), jnp.asarray(cells))
        for score, cell in zip(scores[:, 0], cells, strict=True):
            network = networks.derived(SPACE.genotype(cell), SHAPE)
            assert -score == networks.measure(network, (4, 4, 1))[kind]
    with pytest.raises(ValueError, match="kind must be one of parameters, macs"):
        objectives.cost(SPACE, SHAPE, (4, 4, 1), kind="flops")


def test_latency_is_measured_once_a_cell():
    """Seconds are positive, negated, and remembered."""
    objective = objectives.latency(SPACE, SHAPE, (4, 4, 1), num_repeats=3)
    cells = jnp.stack([CELLS[1], CELLS[1]])
    first, second = objective(jax.random.key(0), cells)[:, 0]
    assert first == second < 0 and not objective.jittable


def test_combinators():
    """Columns side by side, a weighted penalty, a bound, a mean over keys."""

    def score(key, encodings):
        noise = jax.random.uniform(key, (len(encodings), 1))
        return encodings[:, :1] + noise

    def cost(key, encodings):
        del key
        return -encodings[:, 1:2].astype(jnp.float32)

    cells, key = jnp.array([[3, 1], [4, 2]]), jax.random.key(0)
    both = objectives.beside(cost, cost)(key, cells)
    np.testing.assert_array_equal(both, [[-1, -1], [-2, -2]])
    low = objectives.penalised(cost, cost, weight=0.5)(key, cells)
    np.testing.assert_allclose(low, [[-1.5], [-3]])
    bound = objectives.constrained(cost, cost, least=-1)(key, cells)
    np.testing.assert_array_equal(bound, [[-1], [-np.inf]])
    many = objectives.averaged(score, num_seeds=64)(key, cells)
    # 64 uniform draws have a mean of 0.5 with a deviation of 0.036
    np.testing.assert_allclose(many[:, 0] - cells[:, 0], 0.5, atol=0.15)
    with pytest.raises(ValueError, match="num_seeds must be at least 1"):
        objectives.averaged(score, num_seeds=0)


def test_objectives_keep_their_contract():
    """Scores f32[P, M], the same for the same key."""
    x, _ = normalised(6, 0)
    testing.check_objective(objectives.naswot(SPACE, SHAPE, x), SPACE.sizes)
    testing.check_objective(objectives.cost(SPACE, SHAPE, (4, 4, 1)), SPACE.sizes)


def test_one_shot_is_the_supernet_at_one_hot_weights():
    """With matching parameters both networks give the same outputs and scores."""
    big = networks.supernet(SPACE, SHAPE)
    small = networks.one_shot(SPACE, SHAPE)
    params, own = (
        program.once(net.init)(jax.random.key(i)) for i, net in enumerate((big, small))
    )
    for (name, _, mixture), layer in zip(
        big.layers, [own[n] for n, _, _ in big.layers], strict=True
    ):
        if mixture is None:
            own[name] = params[name]
            continue
        for i, (source, target) in enumerate(SPACE.edges):
            layer["nodes"][str(i)] = {
                op: mixture_lib.edge_params(
                    mixture, params[name]["nodes"], source, target, op
                )
                for op in layer["nodes"][str(i)]
            }
    own |= {name: params[name] for name in ("stem", "classifier")}
    x, labels = normalised(9, 0)
    found = [
        jax.jit(objectives.one_shot_accuracy(SPACE, net, p, x, labels))(
            jax.random.key(0), CELLS
        )
        for net, p in ((big, params), (small, own))
    ]
    np.testing.assert_allclose(*found, atol=1e-6)
    weights = jax.vmap(SPACE.weights)(CELLS[:3])
    outputs = [
        jax.jit(jax.vmap(net.apply, (None, None, 0)))(p, x, weights)
        for net, p in ((big, params), (small, own))
    ]
    np.testing.assert_allclose(*outputs, atol=1e-5)
