"""Tests of bilevel optimisation: the paper's toy, closed forms, central differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas import bilevel, optimizers


def toy_valid(key, w, a, batch):
    """L_valid = a w - 2 a + 1, of the appendix of arXiv:1806.09055."""
    return a * w - 2 * a + 1, {}


def toy_train(key, w, a, batch):
    """L_train = w^2 - 2 a w + a^2."""
    return w**2 - 2 * a * w + a**2, {}


@pytest.mark.parametrize(
    ("rule", "end"), [(bilevel.unrolled, (1.0, 1.0)), (bilevel.first_order, (2.0, 2.0))]
)
def test_toy_of_the_paper(rule, end):
    """From (a, w) = (2, -2), xi = .5: second order solves it, first order stalls."""
    method = bilevel.bilevel(
        toy_train,
        toy_valid,
        params_optimizer=optax.sgd(0.5),
        logits_optimizer=optax.sgd(0.1),
        hypergradient=rule,
    )
    state = method.init(jnp.float32(-2.0), jnp.float32(2.0))

    def step(state, key):
        state, info = method.step(key, state, None, None)
        return state, info.valid_loss

    state, _ = jax.lax.scan(step, state, jax.random.split(jax.random.key(0), 500))
    np.testing.assert_allclose((state.logits, state.params), end, atol=1e-3)


def test_unrolled_gradient_of_the_toy_for_every_w():
    """With xi = .5 the exact gradient is 2 a - 2 whatever w is (w' = a)."""
    rule = bilevel.unrolled(toy_train, toy_valid, optax.sgd(0.5))
    opt_state = optax.sgd(0.5).init(jnp.float32(0))
    for w, a in ((-2.0, 2.0), (0.3, -1.0), (5.0, 1.0)):
        _, got = rule(
            jax.random.key(0), jnp.float32(w), opt_state, jnp.float32(a), None, None
        )
        np.testing.assert_allclose(got, 2 * a - 2, atol=1e-6)


def quadratic(seed, size=4):
    """Draws a smooth bilevel problem in float64 with a non-linear inner loss."""
    keys = jax.random.split(jax.random.key(seed), 3)
    m, n = (jax.random.normal(k, (size, size), jnp.float64) for k in keys[:2])

    def train(key, w, a, batch):
        return jnp.sum(jnp.tanh(m @ w - a) ** 2) + 0.1 * jnp.sum((w * a) ** 2), {}

    def valid(key, w, a, batch):
        return jnp.sum((n @ w + a) ** 2) + jnp.sum(jnp.cos(a)), {}

    w, a = jax.random.normal(keys[2], (2, size), jnp.float64)
    return train, valid, w, a


@pytest.mark.parametrize("num_steps", [1, 3])
def test_unrolled_against_central_differences(num_steps):
    """Through clipping, decay, momentum with a full buffer, relative error < 1e-6."""
    with jax.enable_x64(True):
        train, valid, w, a = quadratic(0)
        optimizer = optimizers.momentum_sgd(0.02, clip_norm=1.0)
        opt_state = optimizer.init(w)
        _, opt_state = optimizer.update(jnp.ones_like(w), opt_state, w)
        rule = bilevel.unrolled(train, valid, optimizer, num_steps=num_steps)
        _, got = jax.jit(rule)(jax.random.key(0), w, opt_state, a, None, None)

        def after(a):
            v, state = w, opt_state
            for _ in range(num_steps):
                grads = jax.grad(lambda v: train(None, v, a, None)[0])(v)
                updates, state = optimizer.update(grads, state, v)
                v = v + updates
            return valid(None, v, a, None)[0]

        h = 1e-5
        want = [(after(a + h * e) - after(a - h * e)) / (2 * h) for e in jnp.eye(4)]
        error = np.linalg.norm(got - np.array(want)) / np.linalg.norm(want)
        assert error < 1e-6
        _, first = bilevel.first_order(train, valid, optimizer)(
            jax.random.key(0), w, opt_state, a, None, None
        )
        # the test tells them apart: the first order is far off
        assert np.linalg.norm(first - np.array(want)) / np.linalg.norm(want) > 1e-2


def test_a_step_moves_the_logits_first():
    """The weight step sees the new logits and the same training batch."""
    method = bilevel.bilevel(
        toy_train,
        toy_valid,
        params_optimizer=optax.sgd(0.5),
        logits_optimizer=optax.sgd(0.1),
    )
    state, info = method.step(
        jax.random.key(0), method.init(jnp.float32(-2), jnp.float32(2)), None, None
    )
    a = 2 - 0.1 * (-2 - 2)  # d L_valid / d a = w - 2
    w = -2 - 0.5 * (2 * -2 - 2 * a)
    np.testing.assert_allclose((state.logits, state.params), (a, w), atol=1e-6)
    np.testing.assert_allclose(info.train_loss, (-2 - a) ** 2, atol=1e-5)


def test_num_steps_is_checked():
    """No step at all is refused."""
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        bilevel.unrolled(toy_train, toy_valid, optax.sgd(0.1), num_steps=0)


def test_adam_l2_is_not_adamw():
    """One step by hand: L2 enters the gradient before the moments."""
    tx = optimizers.adam_l2(3e-4)
    logits = jnp.array([2.0, -1.0])
    grads = jnp.array([0.5, 0.25])
    updates, _ = tx.update(grads, tx.init(logits), logits)
    # bias-corrected first step: g / (|g| + eps) = sign(g), g = grad + 1e-3 logits
    g = grads + 1e-3 * logits
    np.testing.assert_allclose(updates, -3e-4 * g / (jnp.abs(g) + 1e-8), rtol=1e-5)


def test_momentum_sgd_follows_torch():
    """Clip, then decay, then velocity, all times the rate; two steps by hand."""
    tx = optimizers.momentum_sgd(0.1, momentum=0.9, weight_decay=0.01, clip_norm=1.0)
    w = jnp.array([3.0, 4.0])
    state = tx.init(w)
    grads = jnp.array([6.0, 8.0])  # norm 10, clipped to (.6, .8)
    updates, state = tx.update(grads, state, w)
    m = np.array([0.6 + 0.03, 0.8 + 0.04])
    np.testing.assert_allclose(updates, -0.1 * m, rtol=1e-6)
    w = w + updates
    updates, _ = tx.update(grads, state, w)
    m = 0.9 * m + np.array([0.6, 0.8]) + 0.01 * np.asarray(w)
    np.testing.assert_allclose(updates, -0.1 * m, rtol=1e-6)


def test_cosine_by_epoch_hits_the_logged_rate():
    """The released code logs 1.023679e-03 at epoch 49 of 50."""
    rate = optimizers.cosine_by_epoch(
        start=0.025, end=0.001, num_epochs=50, steps_per_epoch=10
    )
    np.testing.assert_allclose(rate(499), 1.023679e-03, rtol=1e-6)
    np.testing.assert_allclose(rate(0), 0.025, rtol=1e-6)
    assert rate(9) == rate(0) and rate(10) < rate(9)
