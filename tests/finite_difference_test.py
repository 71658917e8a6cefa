"""Tests of the second-order rules where nothing is quadratic, a supernet among them."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas import gradient, networks, ops, registry, spaces
from jnas.gradient import bilevel, relaxations
from jnas.training import optimizers, program

RATE = 0.1


def bent(seed, size=4):
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
        train, valid, w, a = bent(0)
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
        if num_steps == 1:  # the probes' own error falls as radius**2
            rule = bilevel.finite_difference(train, valid, optimizer, radius=1e-4)
            _, probed = rule(jax.random.key(0), w, opt_state, a, None, None)
            assert np.linalg.norm(probed - got) / np.linalg.norm(got) < 1e-6
        _, first = bilevel.first_order(train, valid, optimizer)(
            jax.random.key(0), w, opt_state, a, None, None
        )
        # the test tells them apart: the first order is far off
        assert np.linalg.norm(first - np.array(want)) / np.linalg.norm(want) > 1e-2


def smooth_conv(features, stride, *, norm, rngs):
    """A 3x3 convolution, tanh and the norm it is given: no kinks."""
    conv = ops.Conv(features, features, (3, 3), stride=stride, rngs=rngs)
    return ops.stack(conv, jnp.tanh, norm(features, rngs=rngs))


@pytest.fixture
def smooth_search(monkeypatch):
    """Gives (losses, optimizer, arguments of a rule) of a supernet without kinks.

    The ReLU before a cell sees the stem's output, which a bias of 8 keeps positive.
    """
    entries = dict(registry.OPERATIONS) | {"smooth_conv": smooth_conv}
    monkeypatch.setattr(registry.OPERATIONS, "_entries", entries)
    with jax.enable_x64(True):
        names = ["none", "avg_pool_3x3", "smooth_conv"]
        one_kind = dataclasses.replace(spaces.zoo.tiny(), name="a", cells=("cell",))
        space = one_kind.with_operations(names)
        net = networks.supernet(space, networks.Size(2, 1, 3, channels=1))
        keys = iter(jax.random.split(jax.random.key(0), 8))

        def positive(path, leaf):
            leaf = leaf.astype(jnp.float64)
            return leaf + 8 if path[-1].key == "bias" else leaf

        params = program.once(net.init)(next(keys))
        params = jax.tree_util.tree_map_with_path(positive, params)
        logits = jax.random.normal(next(keys), space.shape, jnp.float64)
        pair = (
            gradient.Batch(
                jax.random.normal(next(keys), (4, 5, 6, 1), jnp.float64),
                jnp.arange(4) % 3,
                jnp.zeros(()),
            )
            for _ in range(2)
        )
        optimizer = optax.sgd(RATE)
        state = optimizer.init(params)
        arguments = next(keys), params, state, logits, *pair
        yield gradient.build_losses(net, relaxations.softmax), optimizer, arguments


def published(losses, radius, key, params, logits, train, valid):
    """DARTS's own architecture step for plain descent, written from its code.

    Returns (d_a, the difference of the two slopes, R), yet to be put together.
    """
    (train_loss, valid_loss), (valid_key, key) = losses, jax.random.split(key)
    slope, _ = jax.grad(train_loss, 1, has_aux=True)(key, params, logits, train)
    moved = jax.tree.map(lambda w, g: w - RATE * g, params, slope)
    (v, d_a), _ = jax.grad(valid_loss, (1, 2), has_aux=True)(
        valid_key, moved, logits, valid
    )
    r = radius / jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(v)))
    ahead, behind = (
        jax.grad(train_loss, 2, has_aux=True)(key, probe, logits, train)[0]
        for probe in (
            jax.tree.map(lambda w, d: w + r * d, params, v),
            jax.tree.map(lambda w, d: w - r * d, params, v),
        )
    )
    return d_a, ahead - behind, r


def test_probes_against_the_exact_gradient_of_a_smooth_supernet(smooth_search):
    """float64: 1e-3 away they err by < 1e-4, ten times as far by a hundred times that.

    DARTS's own formula is the same to rounding; with its classic slip it is far off.
    """
    losses, optimizer, arguments = smooth_search
    key, params, _, logits, train, valid = arguments
    exact = jax.jit(bilevel.unrolled(*losses, optimizer))(*arguments)[1]
    rule = bilevel.finite_difference(*losses, optimizer, radius=0.001)
    probed = jax.jit(rule)(*arguments)[1]
    by_hand = jax.jit(functools.partial(published, losses))

    def error(got, want):
        return float(jnp.linalg.norm(got - want) / jnp.linalg.norm(want))

    d_a, difference, r = by_hand(0.001, key, params, logits, train, valid)
    assert error(probed, exact) < 1e-4
    assert error(d_a - RATE * difference / (2 * r), probed) < 1e-9
    # the test can fail: d / 2 * R for d / (2 * R), and no second term at all
    assert error(d_a - RATE * difference / 2 * r, exact) > 1e-2
    assert error(d_a, exact) > 1e-2
    d_a, difference, r = by_hand(0.01, key, params, logits, train, valid)
    far = d_a - RATE * difference / (2 * r)
    assert 80 < error(far, exact) / error(probed, exact) < 120
