"""Tests of GAEA: exponentiated gradients on the simplex, and one loss for all."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas import registry, testing
from jnas.gradient import bilevel, relaxations
from jnas.training import optimizers


def steps_by_hand(theta, gradients, rate, floor):
    """The released code's update, in float64, renormalised before its floor too."""
    for gradient in gradients:
        theta = theta * np.exp(-rate * gradient)
        theta = theta / theta.sum(-1, keepdims=True)
        theta = np.maximum(theta, floor)
        theta = theta / theta.sum(-1, keepdims=True)
    return theta


@pytest.mark.parametrize("floor", [0.0, 1e-2])
def test_updates_are_the_closed_form(floor):
    """theta exp(-rate g), normalised, over several steps and two leaves."""
    rng = np.random.default_rng(0)
    logits = {"a": jnp.zeros((2, 3, 4)), "b": jnp.asarray(rng.normal(size=5))}
    tx = optimizers.exponentiated(0.7, floor=floor)
    state, theta = tx.init(logits), jax.tree.map(lambda a: jax.nn.softmax(a), logits)
    gradients = [
        jax.tree.map(lambda a: rng.normal(size=a.shape), logits) for _ in range(6)
    ]
    for gradient in gradients:
        given = jax.tree.map(jnp.asarray, gradient)
        updates, state = tx.update(given, state, logits)
        logits = optax.apply_updates(logits, updates)
    for leaf in logits:
        want = steps_by_hand(
            np.asarray(theta[leaf], np.float64),
            [gradient[leaf] for gradient in gradients],
            0.7,
            floor,
        )
        np.testing.assert_allclose(jax.nn.softmax(logits[leaf]), want, rtol=2e-5)


def test_a_schedule_is_followed():
    """The rate of each step is the schedule's."""
    tx = optimizers.exponentiated(lambda step: 0.1 * (step + 1.0), floor=0.0)
    logits, theta = jnp.zeros(3), np.full(3, 1 / 3)
    state, gradient = tx.init(logits), np.array([1.0, -1, 0.5])
    for step in range(3):
        updates, state = tx.update(jnp.asarray(gradient), state, logits)
        logits = logits + updates
        theta = steps_by_hand(theta, [gradient], 0.1 * (step + 1), 0.0)
    np.testing.assert_allclose(jax.nn.softmax(logits), theta, rtol=1e-5)


def test_the_simplex_passes_the_gradient_of_its_weights():
    """Up to a row's mean: the loss's derivative in theta, not in the logits."""
    logits = jax.random.normal(jax.random.key(0), (3, 4))
    slope = jax.random.normal(jax.random.key(1), (3, 4))

    def loss(logits):
        weights = relaxations.simplex(None, logits, None)
        return (slope * weights**2).sum()

    theta = jax.nn.softmax(logits)
    np.testing.assert_allclose(relaxations.simplex(None, logits, None), theta)
    want = 2 * slope * theta
    want -= want.mean(-1, keepdims=True)
    np.testing.assert_allclose(jax.grad(loss)(logits), want, rtol=1e-5, atol=1e-6)
    testing.check_relaxation("simplex")


def test_together_they_are_mirror_descent():
    """A quadratic on the simplex: the same path as theta's own updates in float64."""
    goal = np.array([0.1, 0.7, 0.2])
    tx, logits = optimizers.exponentiated(0.5, floor=0.0), jnp.zeros(3)
    state, theta = tx.init(logits), np.full(3, 1 / 3)

    def loss(logits):
        return ((relaxations.simplex(None, logits, None) - goal) ** 2).sum()

    for _ in range(40):
        updates, state = tx.update(jax.grad(loss)(logits), state, logits)
        logits = logits + updates
        theta = steps_by_hand(theta, [2 * (theta - goal)], 0.5, 0.0)
    np.testing.assert_allclose(jax.nn.softmax(logits), theta, rtol=1e-4)
    assert np.abs(theta - goal).max() < 0.02


def test_one_level_reads_the_training_batch():
    """The gradient is the architecture's loss on it; the report is of the other."""

    def valid_loss(key, params, logits, batch):
        value = (params * logits * batch).sum() + 3 * logits.sum()
        return value, {"batch": batch.sum()}

    rule = bilevel.one_level(None, valid_loss, None)
    params, logits = jnp.array([1.0, 2]), jnp.array([0.5, -1])
    train, valid = jnp.array([3.0, 4]), jnp.array([5.0, 6])
    (loss, metrics), found = rule(None, params, None, logits, train, valid)
    np.testing.assert_allclose(found, params * train + 3)
    np.testing.assert_allclose(loss, (params * logits * valid).sum() + 3 * logits.sum())
    assert metrics["batch"] == 11


def test_the_row_has_its_papers_numbers():
    """As its released code has them for NAS-Bench-201."""
    row = registry.METHODS["gaea"]()
    assert (row.features, row.layers, row.epochs, row.batch_size) == (24, 5, 25, 64)
    assert (row.logits_learning_rate, row.logits_scale) == (0.1, 0.0)
    assert (row.learning_rate, row.final_learning_rate) == (0.025, 0.001)
    pieces = row.relaxation, row.hypergradient, row.logits_optimizer
    assert pieces == ("simplex", "one_level", "exponentiated") and row.drop_none
