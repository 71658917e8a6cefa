"""Tests of the hypergradients: a contract, closed forms on a quadratic, messages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas import registry
from jnas.gradient import bilevel
from jnas.training import optimizers

RATE, MOMENTUM, DECAY = 0.1, 0.9, 0.02


def quadratic(key):
    """Draws H, B, C, t, s of the problem of ``quadratic_losses``, float64."""
    keys = jax.random.split(key, 5)
    m, b, c = (
        jax.random.normal(k, (5, n), jnp.float64)
        for k, n in zip(keys, (5, 4, 4), strict=False)
    )
    # eigenvalues of at least 1/2
    return (
        m @ m.T / 5 + jnp.eye(5) / 2,
        b,
        c,
        jax.random.normal(keys[3], (5,), jnp.float64),
        jax.random.normal(keys[4], (4,), jnp.float64),
    )


def quadratic_losses(problem, noise=lambda key: 0.0):
    """L_train = w'Hw / 2 - w'(B + noise) a, L_valid = |w - t|^2 / 2 + w'Ca + |a - s|^2.

    w comes in two arrays of unlike shapes, a as a table.
    """
    h, b, c, t, s = problem

    def train(key, params, logits, batch):
        w, a = jnp.append(params["x"], params["y"]), logits.reshape(-1)
        return w @ h @ w / 2 - w @ (b + noise(key)) @ a, {}

    def valid(key, params, logits, batch):
        w, a = jnp.append(params["x"], params["y"]), logits.reshape(-1)
        return jnp.sum((w - t) ** 2) / 2 + w @ c @ a + jnp.sum((a - s) ** 2), {}

    return train, valid


def start(dtype=jnp.float64):
    """Returns optimizer, params w, a state with a full momentum buffer, logits a."""
    optimizer = optimizers.momentum_sgd(
        RATE, momentum=MOMENTUM, weight_decay=DECAY, clip_norm=None
    )
    keys = jax.random.split(jax.random.key(3), 3)
    shapes = {"x": (3,), "y": (2, 1)}
    params, grads = (
        {n: jax.random.normal(k, shapes[n], dtype) for n in shapes} for k in keys[:2]
    )
    _, state = optimizer.update(grads, optimizer.init(params), params)
    return optimizer, params, state, jax.random.normal(keys[2], (2, 2), dtype)


def flat(tree):
    """Joins a pytree's arrays, as the losses do."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def slopes(problem, w, a):
    """Returns (grad_w, grad_a) of L_valid."""
    _, _, c, t, s = problem
    return w - t + c @ a, c.T @ w + 2 * (a - s)


def held(problem, w, m, a):
    """w does not move: grad_a L_valid."""
    return slopes(problem, w, a)[1]


def steps_of_momentum(problem, w, m, a, num_steps):
    """Carries dw/da forward through m = mu m + Hw - Ba + lam w and w = w - xi m."""
    h, b, *_ = problem
    inner = h + DECAY * np.eye(5)
    d_w, d_m = np.zeros((5, 4)), np.zeros((5, 4))
    for _ in range(num_steps):
        m = MOMENTUM * m + inner @ w - b @ a
        d_m = MOMENTUM * d_m + inner @ d_w - b
        w, d_w = w - RATE * m, d_w - RATE * d_m
    along, d_a = slopes(problem, w, a)
    return d_a + d_w.T @ along


def inverted(problem, w, m, a, inverse):
    """grad_a L_valid + B' inverse(H) grad_w L_valid, as d2 L_train / da dw = -B'."""
    h, b, *_ = problem
    along, d_a = slopes(problem, w, a)
    return d_a + b.T @ inverse(h) @ along


def partial_sum(h, num_terms, step_size):
    """s sum_{j=0}^{K} (I - s H)^j, power by power."""
    powers = [
        np.linalg.matrix_power(np.eye(5) - step_size * h, j)
        for j in range(num_terms + 1)
    ]
    return step_size * sum(powers)


def damped(h, damping):
    """(H + damping I)^-1."""
    return np.linalg.inv(h + damping * np.eye(5))


def with_inverse(inverse, **settings):
    """The closed form with that in the place of H^-1."""
    return functools.partial(inverted, inverse=functools.partial(inverse, **settings))


CLOSED_FORMS = [
    ("first_order", {}, held),
    ("unrolled", {}, functools.partial(steps_of_momentum, num_steps=1)),
    ("unrolled", {"num_steps": 4}, functools.partial(steps_of_momentum, num_steps=4)),
    # on a quadratic a central difference is the derivative, at any distance
    ("finite_difference", {}, functools.partial(steps_of_momentum, num_steps=1)),
    (
        "finite_difference",
        {"radius": 3.0},
        functools.partial(steps_of_momentum, num_steps=1),
    ),
    ("neumann", {}, with_inverse(partial_sum, num_terms=5, step_size=0.01)),
    (
        "neumann",
        {"num_terms": 0, "step_size": 0.3},
        with_inverse(partial_sum, num_terms=0, step_size=0.3),
    ),
    (
        "neumann",
        {"num_terms": 7, "step_size": 0.3},
        with_inverse(partial_sum, num_terms=7, step_size=0.3),
    ),
    # as many iterations as w has entries solve the system
    ("conjugate_gradient", {}, with_inverse(damped, damping=20.0)),
    ("conjugate_gradient", {"damping": 0.0}, with_inverse(damped, damping=0.0)),
]


@pytest.mark.parametrize(("name", "settings", "formula"), CLOSED_FORMS)
def test_closed_forms_on_a_quadratic(name, settings, formula):
    """float64, relative error < 1e-9.

    The probes' difference of 1e-2 in slopes of about 1 loses two of float64's sixteen
    digits, conjugate gradients on five eigenvalues within a factor of ten fewer.
    """
    with jax.enable_x64(True):
        problem = quadratic(jax.random.key(0))
        optimizer, params, state, logits = start()
        rule = registry.HYPERGRADIENTS[name](
            *quadratic_losses(problem), optimizer, **settings
        )
        _, got = rule(jax.random.key(1), params, state, logits, None, None)
        trace = next(s.trace for s in state if isinstance(s, optax.TraceState))
        problem = tuple(map(np.asarray, problem))
        want = formula(problem, flat(params), flat(trace), flat(logits))
        assert np.linalg.norm(flat(got) - want) < 1e-9 * np.linalg.norm(want)
        if name != "first_order":  # the rules differ: none passes for another
            far = held(problem, flat(params), None, flat(logits))
            assert np.linalg.norm(flat(got) - far) > 1e-2 * np.linalg.norm(want)


@pytest.mark.parametrize("name", list(registry.HYPERGRADIENTS))
def test_contract(name):
    """Finite, of the logits' shape and dtype, the same compiled, pure in its key."""
    with jax.enable_x64(True):
        problem = quadratic(jax.random.key(0))
    problem = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), problem)
    optimizer, params, state, logits = start(jnp.float32)
    train, valid = quadratic_losses(problem)
    args = jax.random.key(1), params, state, logits, None, None
    rule = registry.HYPERGRADIENTS[name](train, valid, optimizer)
    (value, metrics), got = rule(*args)
    assert value.shape == () and metrics == {}
    assert got.shape == logits.shape and got.dtype == logits.dtype
    assert np.isfinite(got).all() and np.isfinite(value)
    # float32's rounding, times 1e2 for the quotient of a difference of 1e-2
    (again, _), same = jax.jit(rule)(*args)
    np.testing.assert_allclose(got, same, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(value, again, rtol=1e-5)

    def blind(key, params, logits, batch):
        return jnp.sum(jnp.sin(logits)), {}

    # a validation loss that does not see w has no second term, and no direction; steps
    # that are drawn around it are within five standard deviations of .025
    _, got = registry.HYPERGRADIENTS[name](train, blind, optimizer)(*args)
    drawn = {"zarts": 5 * 0.025}
    np.testing.assert_allclose(got, jnp.cos(logits), rtol=1e-6, atol=drawn.get(name, 0))


@pytest.mark.parametrize(
    "name", ["unrolled", "finite_difference", "neumann", "conjugate_gradient"]
)
def test_one_draw_for_all_gradients_of_the_training_loss(name):
    """A loss that draws gives what it gives with the second half's draw put in."""
    with jax.enable_x64(True):
        problem = quadratic(jax.random.key(0))
        optimizer, params, state, logits = start()
        key = jax.random.key(1)

        def drawn(key):
            return jax.random.normal(key, (5, 4), jnp.float64)

        once = drawn(jax.random.split(key)[1])

        def put_in(key):
            return once

        free, fixed = (
            registry.HYPERGRADIENTS[name](*quadratic_losses(problem, noise), optimizer)(
                key, params, state, logits, None, None
            )[1]
            for noise in (drawn, put_in)
        )
        np.testing.assert_allclose(free, fixed, rtol=1e-9)


@pytest.mark.parametrize(
    ("rule", "settings", "message"),
    [
        (bilevel.unrolled, {"num_steps": 0}, "num_steps must be at least 1, got 0"),
        (bilevel.finite_difference, {"radius": 0.0}, "radius must be above 0, got 0.0"),
        (
            bilevel.finite_difference,
            {"radius": float("nan")},
            "radius must be above 0, got nan",
        ),
        (bilevel.neumann, {"num_terms": -1}, "num_terms must be at least 0, got -1"),
        (bilevel.neumann, {"step_size": 0}, "step_size must be above 0, got 0"),
        (
            bilevel.conjugate_gradient,
            {"num_iterations": 0},
            "num_iterations must be at least 1, got 0",
        ),
        (
            bilevel.conjugate_gradient,
            {"damping": -1.0},
            "damping must be at least 0, got -1.0",
        ),
    ],
)
def test_settings_are_checked(rule, settings, message):
    """Refused where the rule is built."""
    with pytest.raises(ValueError, match=message):
        rule(None, None, optax.sgd(RATE), **settings)
