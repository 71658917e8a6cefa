"""Tests of perturbations: epsilon, projections, the climb against a loop in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas.gradient import perturbations

ENDS = [(0.0, 0.03), (1.0, 0.3)]  # progress, epsilon


def flat(weights):
    """A loss without a slope."""
    return 0 * weights.sum()


@pytest.mark.parametrize(("progress", "epsilon"), ENDS)
def test_uniform_reaches_epsilon(progress, epsilon):
    """Two candidates of weight 1/2 with noise (a, b) come to (1/2 + a) / (1 + a + b).

    That is 1/2 + epsilon at most, at (epsilon, -epsilon). Of 4000 rows, some come
    within a tenth of it: a row does with probability above 1/100.
    """
    weights = jnp.full((1, 4000, 2), 0.5)
    moved = perturbations.uniform(jax.random.key(0), weights, progress, flat)
    furthest = np.abs(moved - 0.5).max()
    assert 0.9 * epsilon < furthest <= epsilon + 1e-6
    np.testing.assert_allclose(moved.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(moved.mean((0, 1)), 0.5, atol=0.02)


def test_uniform_is_clamped_and_divided_by_the_sum():
    """Row by row, as the docstring says, from the noise of the key itself."""
    key = jax.random.key(1)
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(2), (2, 50, 4)))
    noise = jax.random.uniform(key, weights.shape, minval=-1, maxval=1)
    clamped = np.clip(np.asarray(weights) + 0.3 * np.asarray(noise), 0, 1)
    assert (clamped == 0).any() and clamped.any(-1).all()
    moved = perturbations.uniform(key, weights, 1.0, flat)
    np.testing.assert_allclose(
        moved, clamped / clamped.sum(-1, keepdims=True), atol=1e-6
    )


def test_a_row_clamped_to_nothing_goes_to_its_largest():
    """One row of sixteen has all four below 0 when epsilon dwarfs the weights."""
    key, weights = jax.random.key(0), jnp.full((1, 200, 4), 0.25)
    moved = perturbations.uniform(key, weights, 1.0, flat, end=100.0)
    noise = jax.random.uniform(key, weights.shape, minval=-1, maxval=1)
    nothing = np.asarray((0.25 + 100 * noise <= 0).all(-1))
    assert nothing.any()
    expected = np.eye(4)[np.asarray(noise.argmax(-1))]
    np.testing.assert_array_equal(moved[nothing], expected[nothing])
    np.testing.assert_allclose(moved.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize("perturb", [perturbations.uniform, perturbations.adversarial])
def test_zeros_stay(perturb):
    """Rows of zeros and, to rounding, one-hot rows come back at any epsilon."""
    weights = jnp.array([[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]])
    slope = jnp.array([3.0, 2.0, 5.0])
    for seed in range(5):
        moved = perturb(
            jax.random.key(seed), weights, 1.0, lambda w: (w * slope).sum(), end=5.0
        )
        np.testing.assert_allclose(moved[0, :2], weights[0, :2], rtol=2e-7)
        assert moved[0, 2, 2] == 0 and abs(moved[0, 2].sum() - 1) < 1e-6


@pytest.mark.parametrize(("progress", "epsilon"), ENDS)
def test_adversary_finds_the_maximiser_of_a_linear_loss(progress, epsilon):
    """Of w_0 - w_1 in the ball around (1/2, 1/2): (1/2 + epsilon, 1/2 - epsilon).

    Steps keep the sum, so only the ball binds; from its far side seven steps of
    2 epsilon / 7 just cross it.
    """
    weights = jnp.full((2, 3, 2), 0.5)
    slope = jnp.array([1.0, -1.0])
    moved = perturbations.adversarial(
        jax.random.key(0), weights, jnp.float32(progress), lambda w: (w * slope).sum()
    )
    expected = np.broadcast_to([0.5 + epsilon, 0.5 - epsilon], (2, 3, 2))
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def project(row):
    """Clamps one row and divides it by its sum."""
    clamped = [min(max(x, 0), 1) for x in row]
    return [x / sum(clamped) for x in clamped]


def test_adversary_against_a_loop():
    """Ball first, then clamp and sum, at every step, in Python's floats.

    The loss bends, so that the climb turns; no slope comes near 0, where rounding would
    choose its sign.
    """
    key = jax.random.key(5)
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(6), (1, 6, 4)))
    target = jnp.array([0.9, -0.4, 1.3, 0.2])
    noise = jax.random.uniform(key, weights.shape, minval=-1, maxval=1)

    def loss(w):
        return -((w - target) ** 2).sum()

    expected = []
    for row, noises in zip(weights[0].tolist(), noise[0].tolist(), strict=True):
        found = project([w + 0.3 * n for w, n in zip(row, noises, strict=True)])
        for _ in range(7):
            slopes = [-2 * (x - t) for x, t in zip(found, target.tolist(), strict=True)]
            found = [
                x + 2 * 0.3 / 7 * np.sign(s) for x, s in zip(found, slopes, strict=True)
            ]
            found = [
                min(max(x, w - 0.3), w + 0.3) for x, w in zip(found, row, strict=True)
            ]
            found = project(found)
        expected.append(found)
    moved = perturbations.adversarial(key, weights, jnp.float32(1), loss)
    np.testing.assert_allclose(moved[0], expected, atol=2e-6)
    assert loss(moved) > loss(weights)


def test_adversary_gives_up_where_the_loss_did_not_rise():
    """At the maximum, on a plateau and on NaN the weights come back, bit by bit."""
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(6), (1, 6, 4)))
    for loss in (
        lambda w: -((w - weights) ** 2).sum(),
        flat,
        lambda w: jnp.where((w == weights).all(), 1.0, jnp.nan) * w.sum(),
    ):
        moved = perturbations.adversarial(jax.random.key(0), weights, 1.0, loss)
        np.testing.assert_array_equal(moved, weights)


def test_adversary_traces_the_loss_twice_whatever_the_steps():
    """Once for its slope, once for its values before and after."""
    traces = []

    def loss(w):
        traces.append(w)
        return (w**2).sum()

    weights = jnp.full((1, 2, 3), 1 / 3)
    for num_steps in (7, 50):
        traces.clear()
        jax.jit(
            lambda key, n=num_steps: perturbations.adversarial(
                key, weights, jnp.float32(0), loss, num_steps=n
            )
        )(jax.random.key(0))
        assert len(traces) == 2


def test_adversary_is_a_constant_to_gradients():
    """d/dp of p sum w^2 at the adversary's w, as if w were data."""
    weights = jnp.full((1, 2, 3), 1 / 3)

    def run(p):
        moved = perturbations.adversarial(
            jax.random.key(0), p * weights, 1.0, lambda w: p * (w**2).sum()
        )
        return p * (moved**2).sum(), moved

    slope, moved = jax.grad(run, has_aux=True)(1.0)
    np.testing.assert_allclose(slope, (moved**2).sum(), rtol=1e-6)


def test_adversary_needs_a_step():
    """A climb without steps is refused."""
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0. Use"):
        perturbations.adversarial(
            jax.random.key(0), jnp.ones((1, 1, 1)), 0.0, flat, num_steps=0
        )
