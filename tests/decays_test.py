"""Tests of beta decay and of the entropic penalty: closed forms, gradients, rows."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, gradient, networks, spaces
from jnas.gradient import decays, losses, methods, relaxations, resolve
from jnas.spaces import rows as rows_lib
from jnas.training import program

OUT = -jnp.inf
CHAIN = spaces.zoo_chains.tiny_chain()


def softmax(x):
    """Computes softmax of a row in NumPy's float64."""
    e = np.exp(np.asarray(x, np.float64) - np.max(x))
    return e / e.sum()


def logits_of(space):
    """Draws logits of a space."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda one: jnp.asarray(2 * rng.normal(size=one.shape), jnp.float32),
        rows_lib.shapes(space),
    )


def test_beta_decay_adds_the_means_of_both_cells():
    """lambda / E sum over edges of logsumexp, of each cell; gradient lambda / E p."""
    space = spaces.zoo.tiny()
    cells, edges, _ = space.shape
    assert cells == 2
    logits = logits_of(space)
    rows = np.asarray(logits, np.float64)
    want = 0.4 * 50 * np.log(np.exp(rows).sum(-1)).mean(-1).sum()

    def run(logits):
        return decays.beta_decay(logits, None, jnp.float32(0.4), space)

    value, slope = jax.value_and_grad(run)(logits)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    for place in np.ndindex(cells, edges):
        want = 20 / edges * softmax(rows[place])
        np.testing.assert_allclose(slope[place], want, rtol=1e-5)
    half = decays.beta_decay(logits, None, jnp.float32(0.4), space, strength=25.0)
    np.testing.assert_allclose(half, value / 2, rtol=1e-6)
    assert decays.beta_decay(logits, None, jnp.float32(0), space) == 0


def test_beta_decay_of_a_chain_is_the_mean_of_all_its_rows():
    """Rows of two and of three options, in two leaves, weigh the same."""
    logits = logits_of(CHAIN)
    rows = [row for leaf in jax.tree.leaves(logits) for row in np.asarray(leaf)]
    assert sorted(map(len, rows)) == [2, 2, 2, 3]
    want = 50 * np.mean([np.log(np.exp(np.float64(row)).sum()) for row in rows])

    def run(logits):
        return decays.beta_decay(logits, None, jnp.float32(1), CHAIN)

    value, slopes = jax.value_and_grad(run)(logits)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    for leaf, own in zip(*map(jax.tree.leaves, (logits, slopes)), strict=True):
        for row, slope in zip(leaf, own, strict=True):
            np.testing.assert_allclose(slope, 50 / 4 * softmax(row), rtol=1e-5)


def test_beta_decay_leaves_removed_options_out():
    """As a narrower row, with a gradient of exactly 0 where an option is out."""
    space = spaces.zoo.tiny()
    logits = logits_of(space).at[..., 1].set(OUT)
    narrow = np.asarray(logits, np.float64)[..., [0, 2, 3]]

    def run(logits):
        return decays.beta_decay(logits, None, jnp.float32(1), space)

    value, slope = jax.value_and_grad(run)(logits)
    want = 50 * np.log(np.exp(narrow).sum(-1)).mean(-1).sum()
    np.testing.assert_allclose(value, want, rtol=1e-5)
    assert np.isfinite(slope).all() and not np.asarray(slope[..., 1]).any()


def test_the_factor_of_beta_decay_is_that_of_its_code():
    """50 e / 100 in epoch e of 100, through the row's own progress."""
    row, space = methods.beta_darts(), spaces.zoo.tiny()
    pieces = resolve.resolve(row, space, steps_per_epoch=1, epochs=100)
    (penalty,) = pieces.regularizers
    logits = jnp.zeros(space.shape)  # log(4) in each row, and there are two cells
    for epoch in (0, 1, 37, 99):
        clock = program.Clock(jnp.int32(epoch), jnp.float32(epoch / 100 + 0.005))
        progress = pieces.progress(clock, row.epochs)
        found = penalty(logits, None, progress, space) / (2 * np.log(4))
        np.testing.assert_allclose(found, 50 * epoch / 100, rtol=1e-5)


def test_the_row_of_beta_darts_has_its_codes_numbers():
    """Adam 3e-4 (0.5, 0.999) with 1e-3, batches of 64, 16 features, first order."""
    row = methods.beta_darts()
    assert (row.epochs, row.batch_size, row.features) == (100, 64, 16)
    assert (row.learning_rate, row.final_learning_rate) == (0.025, 0.001)
    numbers = row.logits_learning_rate, row.logits_b1, row.logits_weight_decay
    assert numbers == (3e-4, 0.5, 1e-3)
    assert (row.hypergradient, row.regularizers) == ("first_order", ("beta_decay",))


def test_beta_decay_is_part_of_the_validation_loss():
    """Of a network that ignores the weights, it is all of the logits' gradient."""
    space = spaces.zoo.tiny()
    supernet = networks.Supernet(
        None, lambda params, x, weights, **more: jnp.zeros((len(x), 2)), space
    )
    _, valid_loss = losses.build_losses(
        supernet, relaxations.softmax, regularizers=[decays.beta_decay]
    )
    batch = losses.Batch(jnp.zeros((3, 4, 4, 1)), jnp.array([0, 1, 0]), jnp.float32(1))
    logits = logits_of(space)
    slope = jax.grad(lambda a: valid_loss(jax.random.key(0), {}, a, batch)[0])(logits)
    want = 50 / space.shape[1] * jax.nn.softmax(logits, -1)
    np.testing.assert_allclose(slope, want, rtol=1e-5)


def entropic_by_hand(rows):
    """Sum of theta log(theta O) in float64, over rows of any width."""
    thetas = [softmax(row) for row in rows]
    return sum((t * np.log(t * len(t))).sum() for t in thetas)


def test_the_entropic_penalty_is_its_formula():
    """In cells and in a chain; its gradient in theta, without the row's mean."""
    for space in (spaces.zoo.tiny(), CHAIN):
        logits = logits_of(space)
        leaves = jax.tree.leaves(logits)
        flat = [np.asarray(leaf).reshape(-1, leaf.shape[-1]) for leaf in leaves]
        run = lambda a: decays.entropic(a, None, 0.5)  # noqa: E731
        value, slopes = jax.value_and_grad(run)(logits)
        rows = [row for leaf in flat for row in leaf]
        np.testing.assert_allclose(value, 0.01 * entropic_by_hand(rows), rtol=1e-5)
        for leaf, own in zip(leaves, jax.tree.leaves(slopes), strict=True):
            for place in np.ndindex(leaf.shape[:-1]):
                want = 0.01 * (np.log(softmax(leaf[place]) * leaf.shape[-1]) + 1)
                want -= want.mean()
                np.testing.assert_allclose(own[place], want, rtol=1e-4, atol=1e-7)
    uniform = decays.entropic(jnp.zeros((2, 3, 4)), None, 0.5)
    np.testing.assert_allclose(uniform, 0, atol=1e-8)


def test_the_entropic_penalty_of_rows_with_options_out():
    """As narrower rows; a weight that underflows to 0 gives no NaN."""
    logits = jnp.array([[0.5, OUT, -1.0, OUT], [300.0, 0.0, OUT, -1.0]])

    def run(logits):
        return decays.entropic(logits, None, 0.5, strength=1.0)

    value, slope = jax.value_and_grad(run)(logits)
    want = entropic_by_hand([[0.5, -1.0]]) + np.log(3)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    assert np.isfinite(slope).all()
    assert not np.asarray(slope)[np.isneginf(logits)].any()


def test_the_entropic_penalty_needs_the_simplex():
    """With Adam its gradient would be of another variable: refused in one line."""
    method = methods.Method("", regularizers=("entropic",))
    rule = "logits_optimizer must be exponentiated with regularizer entropic"
    with pytest.raises(ValueError, match=rule):
        gradient.check(method, spaces.zoo.tiny())
    bound = functools.partial(decays.entropic, strength=0.5)
    with pytest.raises(ValueError, match=rule):
        gradient.check(methods.Method("", regularizers=(bound,)), spaces.zoo.tiny())


def test_beta_darts_runs_on_a_chain():
    """Two epochs, of which the second decays the logits."""
    method = methods.beta_darts()
    changes = dict(epochs=2, batch_size=4, features=4, layers=1, watch_interval=0)
    method = dataclasses.replace(method, **changes)
    gradient.check(method, CHAIN)
    size = networks.Size(4, 1, 2, channels=1)
    setting = gradient.Setting(size, data.Augment((0.5,), (0.3,)), (8, 8))
    (segment,) = gradient.build_segments(method, CHAIN, setting)
    split = jax.random.uniform(jax.random.key(0), (8, 8, 8, 1)), jnp.arange(8) % 2
    state = segment.program.init(jax.random.key(1))
    state, _ = program.run(segment.program, state, (split, split))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.inner.logits))
