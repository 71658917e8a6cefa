"""Tests of GAEA's forms: edges on a simplex, samples of theta, none left out."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas import data, gradient, networks, pieces, registry, spaces, types
from jnas.gradient import losses, methods, mixing, one_hot, relaxations, resolve
from jnas.training import optimizers, program

TINY = spaces.zoo.tiny()
CHAIN = spaces.zoo_chains.tiny_chain()
MINI = spaces.CellSpace(
    "mini", ("cell",), 1, 2, ("none", "skip_connect", "nor_conv_1x1"), None, (2,)
)


def nodes_of(space):
    """Returns the numbers of the edges into each node."""
    targets = [target for _, target in space.edges]
    return [np.flatnonzero(np.array(targets) == node) for node in sorted(set(targets))]


def normalised(values, floor=0.0):
    """Divides a row by its sum, after a floor."""
    values = np.maximum(values, floor)
    return values / values.sum(-1, keepdims=True)


@pytest.mark.parametrize(
    "space", [TINY, spaces.zoo.nasbench201()], ids=lambda s: s.name
)
def test_edges_pass_the_gradient_of_their_weights(space):
    """The value is edge_weights', the gradient the loss's in them, node by node."""
    rng = np.random.default_rng(0)
    edges, slope = (jnp.asarray(rng.normal(size=space.shape[:2])) for _ in range(2))
    weights, back = jax.vjp(lambda a: mixing.simplex_edge_weights(space, a), edges)
    np.testing.assert_allclose(weights, mixing.edge_weights(space, edges), rtol=1e-6)
    want = np.array(slope, np.float64)
    for own in nodes_of(space):
        want[:, own] -= want[:, own].mean(-1, keepdims=True)
    np.testing.assert_allclose(back(slope)[0], want, atol=1e-6)


def test_operations_and_edges_descend_as_in_the_released_code():
    """theta and beta's own updates in float64, against logits in the validation loss.

    Two classes, of which the first scores u = <a, theta beta>: the loss is
    log(1 + exp(-u)), and its slope in theta beta -a / (1 + exp(u)).
    """
    rng, rate, floor = np.random.default_rng(1), 8.0, 1e-2
    a = rng.normal(size=TINY.shape) / 4
    supernet = networks.Supernet(
        None,
        lambda params, x, weights, **more: jnp.stack(
            [jnp.full(len(x), (weights * jnp.asarray(a)).sum()), jnp.zeros(len(x))], -1
        ),
        TINY,
    )
    _, valid_loss = losses.build_losses(supernet, relaxations.simplex)
    batch = losses.Batch(jnp.zeros((2, 4, 4, 1)), jnp.zeros(2, int), jnp.float32(0))
    arch = types.ArchParams(jnp.zeros(TINY.shape), jnp.zeros(TINY.shape[:2]))
    slope = jax.jit(
        jax.grad(lambda arch: valid_loss(jax.random.key(0), {}, arch, batch)[0])
    )
    tx = optimizers.exponentiated(rate, floor=floor)
    state = tx.init(arch)

    theta = np.full(TINY.shape, 1 / TINY.shape[-1])
    beta = np.zeros(TINY.shape[:2])
    for own in nodes_of(TINY):
        beta[:, own] = 1 / len(own)
    for step in range(25):
        updates, state = tx.update(slope(arch), state, arch)
        arch = optax.apply_updates(arch, updates)
        d = -a / (1 + np.exp((a * theta * beta[..., None]).sum()))
        d_theta, d_beta = d * beta[..., None], (d * theta).sum(-1)
        # dividing before the floor too is this library's; edges have no floor
        theta = normalised(normalised(theta * np.exp(-rate * d_theta)), floor)
        beta = beta * np.exp(-rate * d_beta)
        for own in nodes_of(TINY):
            beta[:, own] = normalised(beta[:, own])
        if step in (0, 24):
            got = jax.nn.softmax(arch.operations, -1)
            np.testing.assert_allclose(got, theta, rtol=2e-4)
            got = mixing.edge_weights(TINY, arch.edges)
            np.testing.assert_allclose(got, beta, rtol=2e-4)
    assert theta.max() > 0.5 and theta.min() < 2e-2 and beta.max() > 0.8


@pytest.mark.parametrize(
    ("epoch", "temperature"), [(0, 10.0), (50, 10.0), (150, 10 - 9.9 * 100 / 249)]
)
def test_samples_of_theta_have_its_gradient(epoch, temperature):
    """p (g - p'g) / (t theta), in float64; t waits 50 epochs, as the code's does."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(2)
        logits, slope = rng.normal(size=(2, 2, 3, 4))
        clock = program.Clock(jnp.int32(epoch), jnp.float32(0.5))
        progress = registry.PROGRESS["by_epoch"](clock, 250)
        key = jax.random.key(3)
        drawn, back = jax.vjp(
            lambda a: one_hot.simplex_straight_through(key, a, progress),
            jnp.asarray(logits),
        )
        theta = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        noise = np.asarray(jax.random.gumbel(key, logits.shape, jnp.float64))
        p = normalised(np.exp((np.log(theta) + noise) / temperature))
        np.testing.assert_array_equal(drawn, np.eye(4)[p.argmax(-1)])
        want = p * (slope - (p * slope).sum(-1, keepdims=True)) / (temperature * theta)
        want -= want.mean(-1, keepdims=True)
        # the progress is a float32
        np.testing.assert_allclose(back(jnp.asarray(slope))[0], want, rtol=1e-6)


def test_samples_of_theta_step_as_in_the_released_code():
    """One step of a search's logits: theta exp(-rate g), divided by its sum."""
    rng, rate = np.random.default_rng(4), 0.01
    logits, slope = rng.normal(size=(2, 3, 4))
    logits = jnp.asarray(logits, jnp.float32)
    key, tx = jax.random.key(5), optimizers.exponentiated(rate)

    def loss(logits):
        return (slope * one_hot.simplex_straight_through(key, logits, 0.0)).sum()

    updates, _ = tx.update(jax.grad(loss)(logits), tx.init(logits), logits)
    theta = np.asarray(jax.nn.softmax(logits, -1), np.float64)
    noise = np.asarray(jax.random.gumbel(key, logits.shape), np.float64)
    p = normalised(np.exp((np.log(theta) + noise) / 10))
    g = p * (slope - (p * slope).sum(-1, keepdims=True)) / (10 * theta)
    want = np.maximum(normalised(theta * np.exp(-rate * g)), 1e-5)
    # the code leaves the floor's surplus, at most 4e-5, until the next step
    np.testing.assert_allclose(jax.nn.softmax(logits + updates), want, atol=5e-5)


def test_none_is_masked_where_nodes_do_not_choose():
    """In NAS-Bench-201; the DARTS space loses it, other rows and chains keep all."""
    row, nb201 = methods.gaea(), spaces.zoo.nasbench201()
    mask = resolve.first_mask(row, gradient.space_of(row, nb201))
    np.testing.assert_array_equal(mask, ~np.asarray(nb201.where("none")))
    assert mask.sum() == 6 * 4
    darts = gradient.space_of(row, spaces.zoo.darts())
    assert "none" not in darts.operations
    assert resolve.first_mask(row, darts) is None
    assert resolve.first_mask(row, CHAIN) is None
    for other in (methods.darts(), methods.drnas_progressive(), methods.gaea_pcdarts()):
        assert resolve.first_mask(other, nb201) is None


def run(method, space, shape=(4, 4, 1), **changes):
    """Runs a method of few epochs on random images; returns segments and states."""
    small = dict(epochs=2, batch_size=4, features=4, layers=1, watch_interval=0)
    method = dataclasses.replace(method, **{**small, **changes})
    gradient.check(method, space)
    setting = gradient.Setting(
        networks.Size(4, 1, 2, channels=1), data.Augment((0.5,), (0.3,)), (8, 8)
    )
    split = jax.random.uniform(jax.random.key(0), (8, *shape)), jnp.arange(8) % 2
    made, states, state = gradient.build_segments(method, space, setting), [], None
    for number, segment in enumerate(made):
        fresh = segment.program.init(jax.random.key(number))
        state = segment.carry(state, fresh) if states else fresh
        state, _ = program.run(segment.program, state, (split, split))
        states.append(jax.tree.map(jnp.copy, state))
    return made, states


def test_a_search_never_weighs_or_derives_what_is_masked():
    """In two stages that keep all candidates; the encoding is of the user's space.

    Logits that prefer none beyond all others are given at the start of the last stage.
    """
    stages = methods.Stage(0.5), methods.Stage(0.5)
    made, states = run(methods.gaea_bilevel(), MINI, stages=stages)
    for segment, state in zip(made, states, strict=True):
        mask = np.asarray(state.inner.mask)
        assert not mask[..., 0].any() and mask[..., 1:].all()
        leaning = state.inner._replace(logits=state.inner.logits.at[..., 0].set(9.0))
        weights = segment.pieces.weights_of(leaning)
        assert not np.asarray(weights[..., 0]).any()
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
        encoding, _ = gradient.derive(
            segment.pieces, MINI, state._replace(inner=leaning)
        )
        assert encoding.shape == (len(MINI.sizes),)
        assert "none" not in str(MINI.genotype(np.asarray(encoding)))


def test_samples_of_theta_run_on_a_chain():
    """Finite, and it moves; edges on a simplex are refused there.

    Of a row before a norm only the winner's scale counts, so that it hardly moves.
    """
    method = dataclasses.replace(methods.egdas(), logits_learning_rate=1.0)
    _, states = run(method, CHAIN, shape=(8, 8, 1))
    leaves = [np.asarray(a) for a in jax.tree.leaves(states[-1].inner.logits)]
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    spread = [np.ptp(leaf, -1).max() for leaf in leaves]
    assert max(spread) > 1e-3
    with pytest.raises(ValueError, match="edge_weights must be False for space tiny"):
        gradient.check(methods.gaea_pcdarts(), CHAIN)


def test_the_rows_have_the_numbers_of_the_released_code():
    """Its configurations of edarts, eedarts and egdas."""
    edges, bilevel, drawn = (
        registry.METHODS[name]() for name in ("gaea_pcdarts", "gaea_bilevel", "egdas")
    )
    for row in (edges, bilevel, drawn):
        assert (row.logits_optimizer, row.logits_scale) == ("exponentiated", 0.0)
        assert row.logits_weight_decay == row.logits_clip_norm == 0
        assert row.hypergradient == "first_order"
    assert (edges.partial, edges.edge_weights, edges.batch_size) == (4, True, 256)
    assert (edges.learning_rate, edges.final_learning_rate) == (0.1, 0.0)
    assert (edges.features, edges.layers, edges.epochs) == (16, 8, 50)
    assert (edges.frozen_rate, edges.drop_none, edges.mask_none) == (0.0, False, False)
    assert edges.logits_learning_rate == bilevel.logits_learning_rate == 0.1
    assert (bilevel.features, bilevel.layers, bilevel.epochs) == (24, 5, 25)
    assert drawn.logits_learning_rate == 0.01
    assert round(drawn.frozen_rate * drawn.epochs) == 50
    sample = registry.RELAXATIONS[drawn.relaxation]
    own = pieces.options(sample)
    assert (own["start"], own["end"], own["warm_up"]) == (10.0, 0.1, 50 / 249)
    (penalty,) = drawn.regularizers
    assert pieces.options(registry.REGULARIZERS[penalty]) == {"strength": 0.01}
