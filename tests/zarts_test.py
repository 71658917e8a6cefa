"""Tests of ZARTS: plain loops over samples, its weights in NumPy, and its direction."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas import registry, spaces
from jnas.gradient import bilevel, resolve
from jnas.gradient.bilevel.sampled import draw, log_density
from jnas.training import optimizers


class Batch(NamedTuple):
    """All that the standard deviation reads of a batch, and a number of the loss."""

    progress: Any
    scale: Any = 1.0


def train_loss(key, params, logits, batch):
    """Smooth in w and a, with noise of its key."""
    noise = jax.random.normal(key, params["w"].shape, params["w"].dtype)
    want = jnp.sin(logits["x"]).sum() + logits["y"] * batch.scale
    return jnp.sum((jnp.tanh(params["w"]) - want + noise / 10) ** 2), {}


def valid_loss(key, params, logits, batch):
    """Smooth in both, of its key too."""
    noise = jax.random.normal(key, (), params["w"].dtype)
    loss = jnp.sum((params["w"] - noise) ** 2) + jnp.sum(logits["x"] ** 3)
    return loss - logits["y"] * batch.scale, {"noise": noise}


def flat(tree):
    """Joins a pytree's arrays."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def plain_loop(key, params, state, logits, batch, optimizer, std, numbers):
    """The rule of the paper, sample after sample and step after step."""
    valid_key, draw_key, train_key = jax.random.split(key, 3)
    rate = numbers["uncentred_rate"]
    base, _ = valid_loss(valid_key, params, logits, batch)
    g = flat(jax.grad(valid_loss, 2, has_aux=True)(valid_key, params, logits, batch)[0])
    steps = draw(draw_key, jnp.asarray(g), std, rate, numbers["num_samples"])
    total, weights = np.zeros_like(g), 0.0
    for d in np.asarray(steps):
        moved = {"x": logits["x"] + d[:4].reshape(2, 2), "y": logits["y"] + d[4]}
        own, kept = params, state
        for one in jax.random.split(train_key, numbers["num_steps"]):
            slope, _ = jax.grad(train_loss, 1, has_aux=True)(one, own, moved, batch)
            updates, kept = optimizer.update(slope, kept, own)
            own = optax.apply_updates(own, updates)
        loss, _ = valid_loss(valid_key, own, moved, batch)
        near, far = (np.exp(-np.sum((d + at) ** 2) / (2 * std**2)) for at in (g, 0))
        c = np.exp(-(loss - base) / numbers["temperature"])
        c /= (1 - rate) * near + rate * far + 1e-4
        total, weights = total + c * d, weights + c
    return base, total / weights


@pytest.mark.parametrize(
    ("progress", "std"),
    [
        (0.1, 0.025),  # before the fall
        (0.6, 0.0125),  # half of it
        (0.9, 0.025 * (1 + np.cos(np.pi * 7 / 8)) / 2),
        (1.0, 0.025e-4),  # the least
    ],
)
def test_the_step_is_that_of_a_plain_loop(progress, std):
    """float64, to 1e-9 of a step."""
    numbers = dict(num_samples=5, num_steps=3, temperature=0.05, uncentred_rate=0.3)
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 4)
        params = {"w": jax.random.normal(keys[0], (3,), jnp.float64)}
        x, y = jax.random.normal(keys[1], (2, 2, 2), jnp.float64) / 10
        logits = {"x": x, "y": y[0, 0]}
        optimizer = optimizers.momentum_sgd(0.1)
        _, state = optimizer.update(params, optimizer.init(params), params)
        batch = Batch(jnp.float64(progress), 0.3)
        rule = bilevel.zarts(train_loss, valid_loss, optimizer, **numbers)
        given = keys[2], params, state, logits, batch
        (value, metrics), got = jax.jit(rule)(*given, batch)
        base, want = plain_loop(*given, optimizer, std, numbers)
        got = {name: np.asarray(leaf) for name, leaf in got.items()}
    np.testing.assert_allclose(value, base, rtol=1e-12)
    assert set(metrics) == {"noise"}
    assert got["x"].shape == (2, 2) and got["y"].shape == ()
    np.testing.assert_allclose(-flat(got), want, rtol=0, atol=1e-9 * np.abs(want).max())


def test_draws_are_those_of_the_mixture():
    """200,000 of two dimensions: share, mean and deviation, to five standard errors."""
    slope, std, rate, count = jnp.array([0.5, -0.3]), jnp.float32(0.02), 0.2, 200_000
    steps = np.asarray(draw(jax.random.key(0), slope, std, rate, count))
    far = np.linalg.norm(steps, axis=1) < 0.2  # |g| is .58, std .02
    np.testing.assert_allclose(far.mean(), rate, atol=5 * np.sqrt(0.16 / count))
    for part, centre in ((steps[~far], -slope), (steps[far], 0 * slope)):
        error = 0.02 / np.sqrt(len(part))
        np.testing.assert_allclose(part.mean(0), centre, atol=5 * error)
        np.testing.assert_allclose(part.std(0), 0.02, atol=5 * error / np.sqrt(2))


def test_the_density_is_stable_where_it_underflows():
    """Of 1,000 dimensions, in float32: the logarithm, and shares without NaN."""
    slope, std = jnp.full(1000, 0.01), jnp.float32(0.025)
    steps = draw(jax.random.key(0), slope, std, 1e-3, 4)
    got = log_density(steps, slope, std, 1e-3)
    near = ((np.float64(steps) + 0.01) ** 2).sum(-1) / (2 * 0.025**2)
    np.testing.assert_allclose(got, np.log(1 - 1e-3) - near, rtol=1e-4)
    assert (np.exp(np.float32(got)) == 0).all()


def test_in_many_dimensions_the_weights_are_a_softmax_of_the_losses():
    """Of 196 logits, DARTS' without none: to 1e-6 of a step, at the paper's numbers."""
    target = jax.random.normal(jax.random.key(1), (196,)) / 14

    def valid(key, w, a, batch):
        return jnp.sum((a - target) ** 2), {}

    logits, key = jnp.zeros(196), jax.random.key(2)
    rule = bilevel.zarts(valid, valid, optax.sgd(0.1))
    (_, _), got = rule(key, target, optax.sgd(0.1).init(target), logits, None, None)
    steps = draw(jax.random.split(key, 3)[1], -2 * target, jnp.float32(0.025), 1e-3, 4)
    losses = np.float64(((steps - target) ** 2).sum(-1))
    c = np.exp(-(losses - losses.min()) / 0.01)
    want = np.float64(steps).T @ (c / c.sum())
    np.testing.assert_allclose(-got, want, atol=1e-6 * np.abs(want).max() + 1e-6)


def lead(num_steps):
    """Mean step over 2,000 keys where only the trained w sees a, and -dL/da."""
    rng = np.random.default_rng(0)
    m, (t, a) = rng.normal(size=(4, 4)) / 2, rng.normal(size=(2, 4))

    def train(key, w, a, batch):
        return jnp.sum((w - m @ a) ** 2) / 2, {}

    def valid(key, w, a, batch):
        return jnp.sum((w - t) ** 2) / 2, {}

    optimizer, w = optax.sgd(0.5), jnp.asarray(m @ a)
    rule = bilevel.zarts(train, valid, optimizer, num_steps=num_steps)
    keys = jax.random.split(jax.random.key(0), 2000)
    state = optimizer.init(w)
    steps = jax.jit(
        jax.vmap(lambda key: -rule(key, w, state, jnp.asarray(a), None, None)[1])
    )(keys)
    return np.asarray(steps).mean(0), -m.T @ (m @ a - t)


def test_the_mean_step_points_downhill_where_the_first_order_sees_nothing():
    """Cosine above .9 with the exact direction, float64; none without training."""
    with jax.enable_x64(True):
        mean, downhill = lead(10)
        blind, _ = lead(0)
    cosine = mean @ downhill / np.linalg.norm(mean) / np.linalg.norm(downhill)
    assert cosine > 0.9
    # four draws of deviation .025, averaged with unlike weights: 2,000 of them
    assert np.linalg.norm(blind) < 4 * 0.025 * np.sqrt(4 / 2000)
    assert np.linalg.norm(mean) > 5 * np.linalg.norm(blind)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"num_steps": -1}, "num_steps must be at least 0, got -1"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"std": float("nan")}, "std must be above 0, got nan"),
        ({"uncentred_rate": 1.0}, "uncentred_rate must be between 0 and 1, got 1.0"),
        ({"after": 1.0}, "after must be from 0 to below 1, got 1.0"),
    ],
)
def test_settings_are_checked(settings, message):
    """Where the rule is built."""
    with pytest.raises(ValueError, match=message):
        bilevel.zarts(None, None, None, **settings)


def test_the_row_has_its_papers_numbers_and_adds_the_step():
    """Those of its script; SGD of rate 1, without a decay."""
    row = registry.METHODS["zarts"]()
    assert round(row.frozen_rate * row.epochs) == 10
    assert row.alternation.keywords == {"steps": 10} and row.drop_none
    assert (row.batch_size, row.features, row.layers) == (64, 16, 8)
    assert (row.learning_rate, row.final_learning_rate) == (0.025, 0.001)
    pieces = resolve.resolve(
        row, spaces.zoo.darts(), steps_per_epoch=390, epochs=row.epochs
    )
    step, logits = jnp.array([0.3, -2.0]), jnp.array([1.0, 5.0])
    state = pieces.logits_optimizer.init(logits)
    updates, _ = pieces.logits_optimizer.update(step, state, logits)
    np.testing.assert_array_equal(logits + updates, logits - step)
