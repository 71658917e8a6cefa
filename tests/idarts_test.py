"""Tests of iDARTS: its authors' loop in NumPy, and closed forms on a quadratic."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import registry, spaces
from jnas.gradient import bilevel, resolve
from jnas.training import program

EPOCHS, STEPS = 3, 16  # of a search, and of an epoch


class Batch(NamedTuple):
    """All that the step size reads of a batch."""

    progress: jax.Array


class Quadratic:
    """L_train = w'Hw / 2 - w'Ba, L_valid = |w - t|^2 / 2 + w'Ca + |a - s|^2 / 2."""

    def __init__(self, seed=0):
        """Draws it, with eigenvalues of H of at least 1."""
        rng = np.random.default_rng(seed)
        m = rng.normal(size=(5, 5))
        self.h = m @ m.T + np.eye(5)
        self.b, self.c = rng.normal(size=(2, 5, 4))
        self.t, self.w = rng.normal(size=(2, 5)) * 2
        self.s, self.a = rng.normal(size=(2, 4))

    def train(self, key, w, a, batch):
        """The training loss."""
        return w @ self.h @ w / 2 - w @ self.b @ a, {}

    def valid(self, key, w, a, batch):
        """The validation loss."""
        apart = jnp.sum((w - self.t) ** 2) + jnp.sum((a - self.s) ** 2)
        return apart / 2 + w @ self.c @ a, {}

    def along(self, w, a):
        """Gradient of L_valid in w."""
        return w - self.t + self.c @ a

    def direct(self, w, a):
        """Gradient of L_valid in a."""
        return self.c.T @ w + a - self.s


def authors_gradient(problem, w, a, rate):
    """Two products with H, then a difference of two gradients in a.

    The distance is .01 over the first vector's norm, times the sum of three; on a
    quadratic that is the derivative.
    """
    v = problem.along(w, a)
    first = v - rate * problem.h @ v
    second = first - rate * problem.h @ first
    total, radius = v + first + second, 0.01 / np.linalg.norm(v)
    ahead, behind = (
        -problem.b.T @ (w + sign * radius * total) for sign in (1, -1)
    )  # fmt: skip
    return problem.direct(w, a) - rate * (ahead - behind) / (2 * radius)


class Adam:
    """torch's, with the row's numbers."""

    def __init__(self):
        """Starts at zero."""
        self.m = self.v = 0.0
        self.count = 0

    def step(self, a, gradient, rate=3e-4, b1=0.5, b2=0.999, decay=1e-3):
        """Returns a after a step."""
        gradient = gradient + decay * a
        self.count += 1
        self.m = b1 * self.m + (1 - b1) * gradient
        self.v = b2 * self.v + (1 - b2) * gradient**2
        m = self.m / (1 - b1**self.count)
        v = self.v / (1 - b2**self.count)
        return a - rate * m / (np.sqrt(v) + 1e-8)


def authors_loop(problem):
    """Returns the a of each step, and how many gradients were clipped."""
    w, a, velocity, adam = problem.w, problem.a, 0.0, Adam()
    seen, clipped = [], 0
    for step in range(EPOCHS * STEPS):
        rate = 0.001 + 0.009 * (1 + np.cos(np.pi * (step // STEPS) / EPOCHS)) / 2
        if step % 4 == 3:  # three steps of w, the first time, and then four
            a = adam.step(a, authors_gradient(problem, w, a, rate))
        gradient = problem.h @ w - problem.b @ a
        norm = np.linalg.norm(gradient)
        clipped += norm > 5
        gradient = gradient * min(1, 5 / norm) + 5e-4 * w
        velocity = 0.9 * velocity + gradient
        w = w - rate * (gradient + 0.9 * velocity)
        seen.append(a)
    return np.array(seen), clipped


def test_the_row_is_the_authors_loop():
    """48 steps of both optimizers; to the rounding of a learning rate in float32."""
    with jax.enable_x64(True):
        problem = Quadratic()
        row = dataclasses.replace(registry.METHODS["idarts"](), epochs=EPOCHS)
        pieces = resolve.resolve(
            row, spaces.zoo.nasbench201(), steps_per_epoch=STEPS, epochs=EPOCHS
        )
        made = pieces.order(
            problem.train,
            problem.valid,
            params_optimizer=pieces.params_optimizer,
            logits_optimizer=pieces.logits_optimizer,
            hypergradient=pieces.hypergradient,
        )

        def step(state, number):
            clock = program.Clock(number // STEPS, number / (EPOCHS * STEPS), number)
            batch = Batch(pieces.progress(clock, EPOCHS))
            frozen = ~pieces.alternation(clock)
            key = jax.random.key(0)
            state, _ = made.step(key, state, batch, batch, frozen=frozen)
            return state, state.logits

        start = made.init(jnp.asarray(problem.w), jnp.asarray(problem.a))
        _, got = jax.lax.scan(step, start, jnp.arange(EPOCHS * STEPS))
        got = np.asarray(got)
    want, clipped = authors_loop(problem)
    assert 0 < clipped < EPOCHS * STEPS
    moves = np.diff(np.concatenate([[problem.a], want]), axis=0)
    assert (moves.any(-1) == (np.arange(EPOCHS * STEPS) % 4 == 3)).all()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 * np.abs(moves).max())


@pytest.mark.parametrize(
    ("progress", "rate"), [(0.0, 0.01), (0.5, 0.0055), (1.0, 1e-3)]
)
def test_the_step_size_is_the_current_learning_rate(progress, rate):
    """float64: to 1e-7, that of the progress in float32; the first rate is 1e-3 off."""
    with jax.enable_x64(True):
        problem, row = Quadratic(1), registry.METHODS["idarts"]()
        rule = row.hypergradient(problem.train, problem.valid, None)
        batch = Batch(jnp.float32(progress))
        w, a = jnp.asarray(problem.w), jnp.asarray(problem.a)
        _, got = rule(jax.random.key(0), w, None, a, batch, batch)
        got = np.asarray(got)
    want, first = (
        authors_gradient(problem, problem.w, problem.a, r) for r in (rate, 0.01)
    )
    assert np.linalg.norm(got - want) < 1e-7 * np.linalg.norm(want)
    if progress:
        assert np.linalg.norm(first - want) > 1e-3 * np.linalg.norm(want)


def test_what_two_terms_leave_out_of_the_implicit_gradient():
    """B' (I - s H)^3 H^-1 v: closed form by H's eigenvalues, float64."""
    with jax.enable_x64(True):
        problem, row = Quadratic(2), registry.METHODS["idarts"]()
        rule = row.hypergradient(problem.train, problem.valid, None)
        w, a = jnp.asarray(problem.w), jnp.asarray(problem.a)
        _, got = rule(jax.random.key(0), w, None, a, None, None)  # no progress: s = .01
        got = np.asarray(got)
    values, vectors = np.linalg.eigh(problem.h)
    v = problem.along(problem.w, problem.a)
    exact = problem.direct(problem.w, problem.a) + problem.b.T @ np.linalg.solve(
        problem.h, v
    )
    left = problem.b.T @ vectors @ ((1 - 0.01 * values) ** 3 / values * (vectors.T @ v))
    np.testing.assert_allclose(exact - got, left, rtol=1e-9)


def test_a_final_step_size_is_checked():
    """Where the rule is built."""
    with pytest.raises(ValueError, match="final_step_size must be above 0, got 0"):
        bilevel.neumann(None, None, None, final_step_size=0.0)


def test_the_row_has_its_codes_numbers():
    """Of DARTS.config and the notebook; 30 of its epochs, of four steps a batch."""
    row = registry.METHODS["idarts"]()
    assert (row.layers, row.features, row.batch_size) == (5, 16, 64)
    assert (row.learning_rate, row.final_learning_rate) == (0.01, 0.001)
    assert (row.weight_decay, row.nesterov, row.clip_norm) == (5e-4, True, 5.0)
    assert row.epochs == 30 * 4 and row.alternation.keywords == {"steps": 4}
    assert row.hypergradient.keywords["num_terms"] == 2
