"""Tests of bilevel optimisation: the paper's toy, the step, the optimizers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas.gradient import bilevel
from jnas.training import optimizers


def toy_valid(key, w, a, batch):
    """L_valid = a w - 2 a + 1, of the appendix of arXiv:1806.09055."""
    return a * w - 2 * a + 1, {}


def toy_train(key, w, a, batch):
    """L_train = w^2 - 2 a w + a^2."""
    return w**2 - 2 * a * w + a**2, {}


@pytest.mark.parametrize(
    ("rule", "end"),
    [
        (bilevel.first_order, (2.0, 2.0)),
        (bilevel.unrolled, (1.0, 1.0)),
        (bilevel.finite_difference, (1.0, 1.0)),
        # H = 2: one step of 1/2 inverts it, and so does one iteration
        (functools.partial(bilevel.neumann, step_size=0.5), (1.0, 1.0)),
        (functools.partial(bilevel.conjugate_gradient, damping=0.0), (1.0, 1.0)),
    ],
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


def test_a_step_moves_the_logits_first():
    """The weight step uses the new logits and the same training batch."""
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


def frozen_method(logits_optimizer, hypergradient=bilevel.first_order):
    """Builds a method on a smooth problem of four and four, its state, and L_valid."""
    m, n = jax.random.normal(jax.random.key(0), (2, 4, 4))

    def train(key, w, a, batch):
        return jnp.sum(jnp.tanh(m @ w - a) ** 2), {"norm": jnp.vdot(w, w)}

    def valid(key, w, a, batch):
        noise = jax.random.normal(key, (4,))
        return jnp.sum((n @ w + a + noise) ** 2), {"norm": jnp.vdot(a, a)}

    method = bilevel.bilevel(
        train,
        valid,
        params_optimizer=optimizers.momentum_sgd(0.1),
        logits_optimizer=logits_optimizer,
        hypergradient=hypergradient,
    )
    state = method.init(*jax.random.normal(jax.random.key(1), (2, 4)))
    state, _ = method.step(jax.random.key(2), state, None, None)  # full buffers
    return method, state, valid


def frozen_step(method):
    """Compiles a step whose ``frozen`` is data."""

    @jax.jit
    def step(key, state, frozen):
        return method.step(key, state, None, None, frozen=frozen)

    return step


def test_frozen_logits_stay_and_weights_move():
    """Bit for bit; the weights as in a step that does not move the logits either."""
    method, state, valid = frozen_method(optimizers.adam_l2(0.1))
    step, key = frozen_step(method), jax.random.key(3)
    frozen, info = step(key, state, jnp.array(True))
    moved, _ = step(key, state, jnp.array(False))
    jax.tree.map(
        np.testing.assert_array_equal,
        (frozen.logits, frozen.logits_opt),
        (state.logits, state.logits_opt),
    )
    assert np.abs(moved.logits - state.logits).min() > 1e-3
    assert step._cache_size() == 1
    # the same program with a rate of zero: only the branch taken differs
    tied, *_ = frozen_method(optax.chain(optimizers.adam_l2(0.1), optax.scale(0.0)))
    start = tied.init(state.params, state.logits)._replace(params_opt=state.params_opt)
    still, still_frozen = (
        frozen_step(tied)(key, start, jnp.array(f))[0] for f in (False, True)
    )
    for got in (still_frozen, frozen):
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-6),
            (got.params, got.params_opt),
            (still.params, still.params_opt),
        )
    assert np.abs(frozen.params - state.params).min() > 1e-4
    # what is reported is the loss at the w and a of before, with the outer half's key
    want, metrics = valid(jax.random.split(key)[0], state.params, state.logits, None)
    np.testing.assert_allclose(info.valid_loss, want, rtol=1e-6)
    np.testing.assert_allclose(info.valid_metrics["norm"], metrics["norm"], rtol=1e-6)


def test_not_frozen_is_the_plain_step():
    """The same numbers to rounding, and no branch unless frozen is given."""
    method, state, _ = frozen_method(optimizers.adam_l2(0.1), bilevel.unrolled)
    key = jax.random.key(3)
    plain = jax.jit(method.step)(key, state, None, None)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5),
        plain,
        frozen_step(method)(key, state, jnp.array(False)),
    )

    def branches(**how):
        def step(key, state):
            return method.step(key, state, None, None, **how)

        return str(jax.make_jaxpr(step)(key, state)).count("cond[")

    assert branches() == 0 and branches(frozen=None) == 0
    assert branches(frozen=jnp.array(False)) == 1


def test_a_frozen_step_computes_no_hypergradient():
    """The rule runs once for the value False, not at all for True."""
    calls = []

    def counted(*parts):
        rule = bilevel.unrolled(*parts)

        def hypergradient(*args):
            jax.debug.callback(lambda: calls.append(1))
            return rule(*args)

        return hypergradient

    method, state, _ = frozen_method(optimizers.adam_l2(0.1), counted)
    step = frozen_step(method)
    for frozen, count in ((True, 0), (False, 1)):
        calls.clear()
        step(jax.random.key(3), state, jnp.array(frozen))
        jax.effects_barrier()
        assert len(calls) == count


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
