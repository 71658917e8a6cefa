"""Tests of relaxations: temperatures, one-hot values, moments, logits that are out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import registry
from jnas.gradient import relaxations

OUT = -jnp.inf


def softmax(x):
    """Computes softmax over the last axis in NumPy's float64."""
    e = np.exp(np.asarray(x, np.float64))
    return e / e.sum(-1, keepdims=True)


def noisy_logits(key, logits):
    """Computes log_softmax(logits) + G in float64, with the key's own noise."""
    noise = np.asarray(jax.random.gumbel(key, logits.shape, logits.dtype), np.float64)
    return np.log(softmax(logits)) + noise


def draw(relax, logits, num_samples, seed=0):
    """Draws weights f32[N, ...] with N keys at progress 1/2."""
    keys = jax.random.split(jax.random.key(seed), num_samples)
    return jax.jit(jax.vmap(lambda key: relax(key, logits, jnp.float32(0.5))))(keys)


def assert_mean(samples, mean, sigmas=5):
    """Asserts a mean to 5 standard errors: 1 in 2 million fails by chance."""
    samples = np.asarray(samples, np.float64)
    error = samples.std(0) / len(samples) ** 0.5
    np.testing.assert_array_less(np.abs(samples.mean(0) - mean), sigmas * error + 1e-7)


@pytest.mark.parametrize(
    ("progress", "temperature"), [(0.0, 1.0), (0.5, 0.03**0.5), (1.0, 0.03)]
)
def test_gumbel_softmax_cools_geometrically(progress, temperature):
    """From 1 to 0.03; float32 of logits near 1 over 0.03 leaves 1e-5, or 1e-38."""
    key, logits = jax.random.key(3), jnp.array([[[0.2, -0.4, 1.0, 0.5]]])
    got = relaxations.gumbel_softmax(key, logits, jnp.float32(progress))
    expected = softmax(noisy_logits(key, logits) / temperature)
    np.testing.assert_allclose(got, expected, rtol=3e-5, atol=1e-38)


@pytest.mark.parametrize(
    ("progress", "temperature"), [(0.0, 1.0), (0.5, 0.515), (1.0, 0.03)]
)
def test_gumbel_softmax_linear_cools_in_a_straight_line(progress, temperature):
    """SNAS' own schedule, the same draw; float32 of logits near 2 over 0.03."""
    key, logits = jax.random.key(3), jnp.array([[[0.2, -0.4, 1.0, 0.5]]])
    got = relaxations.gumbel_softmax_linear(key, logits, jnp.float32(progress))
    expected = softmax(noisy_logits(key, logits) / temperature)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-38)


@pytest.mark.parametrize(
    ("progress", "temperature"), [(0.0, 10.0), (0.5, 5.05), (1.0, 0.1)]
)
def test_the_winner_alone_has_a_gradient(progress, temperature):
    """Its row of the relaxed Jacobian; the rows of the others are exactly 0."""
    key, logits = jax.random.key(3), jnp.array([[[0.2, -0.4, 1.0, 0.5]]])
    p = softmax(noisy_logits(key, logits) / temperature)[0, 0]

    @jax.jit
    def run(logits):
        given = key, logits, jnp.float32(progress)
        return relaxations.straight_through_winner(*given)[0, 0]

    winner = p.argmax()
    assert run(logits).tolist() == (np.arange(4) == winner).tolist()
    got = np.array(jax.jacrev(run)(logits)[:, 0, 0])
    expected = (np.diag(p) - np.outer(p, p))[winner] / temperature
    np.testing.assert_allclose(got[winner], expected, atol=2e-6)
    got[winner] = 0
    assert not got.any()


@pytest.mark.parametrize(
    ("progress", "temperature"), [(0.0, 10.0), (0.5, 5.05), (1.0, 0.1)]
)
def test_straight_through_is_one_hot_with_the_relaxed_gradient(progress, temperature):
    """Its Jacobian is (diag p - p p^T) / t, t from 10 to 0.1 in a straight line.

    d log_softmax(a) / da = I - 1 q^T, and the softmax's own Jacobian takes constants to
    0, so that the q of the logits drops out.
    """
    key, logits = jax.random.key(3), jnp.array([[[0.2, -0.4, 1.0, 0.5]]])
    p = softmax(noisy_logits(key, logits) / temperature)[0, 0]

    @jax.jit
    def run(logits):
        return relaxations.straight_through(key, logits, jnp.float32(progress))[0, 0]

    assert run(logits).tolist() == (np.arange(4) == p.argmax()).tolist()
    got = jax.jacrev(run)(logits)[:, 0, 0]
    expected = (np.diag(p) - np.outer(p, p)) / temperature
    np.testing.assert_allclose(got, expected, atol=2e-6)


def test_straight_through_draws_by_softmax():
    """By the Gumbel-max theorem candidate i wins with probability softmax(logits)_i."""
    logits = jnp.array([[[0.0, 1.0, -1.0, OUT]]])
    samples = draw(relaxations.straight_through, logits, 40_000)
    assert set(np.unique(samples).tolist()) == {0.0, 1.0}
    np.testing.assert_array_equal(samples.sum(-1), 1)
    assert_mean(samples, softmax(logits))


def test_sigmoid_weighs_each_by_itself():
    """1 / (1 + e^-a), with derivative w (1 - w) on the diagonal alone."""
    logits = jnp.array([[[0.0, 2.0, -3.0]]])
    progress = jnp.float32(0)
    w = 1 / (1 + np.exp(-np.array([0.0, 2.0, -3.0])))
    got = relaxations.sigmoid(jax.random.key(0), logits, progress)
    np.testing.assert_allclose(got[0, 0], w, rtol=1e-6)
    slopes = jax.jacrev(
        lambda a: relaxations.sigmoid(jax.random.key(0), a, progress)[0, 0]
    )(logits)
    np.testing.assert_allclose(slopes[:, 0, 0], np.diag(w * (1 - w)), atol=1e-7)


@pytest.mark.parametrize(
    "logits", [(2.0, 0.0, -0.5), (1.0, -1.5, -4.0), (-6.0, -6.0, -6.0)]
)
def test_dirichlet_has_its_mean_variance_and_gradient(logits):
    """E w = c / s, Var w = m (1 - m) / (s + 1), and d E w_0 / da in closed form.

    With c' = e^a below 0 and 1 above, d m_0 / d a_j = c'_j (1[j = 0] - m_0) / s. The
    last row fails with jax's own slope of a small Gamma sample, which gives 0.12 where
    0.22 is right.
    """
    a = np.array(logits)
    c = np.where(a > 0, a + 1, np.exp(a))
    slope = np.where(a > 0, 1, np.exp(a))
    mean = c / c.sum()
    given = jnp.array([[logits]], jnp.float32)
    samples = draw(relaxations.dirichlet, given, 100_000)[:, 0, 0]
    np.testing.assert_allclose(samples.sum(-1), 1, atol=1e-6)
    assert_mean(samples, mean)
    assert_mean((samples - mean) ** 2, mean * (1 - mean) / (c.sum() + 1))

    def gradient(key, logits, progress):
        return jax.grad(lambda a: relaxations.dirichlet(key, a, progress)[0, 0, 0])(
            logits
        )

    expected = slope * ((np.arange(3) == 0) - mean[0]) / c.sum()
    assert_mean(draw(gradient, given, 100_000, seed=1)[:, 0, 0], expected)


def test_dirichlet_curves_as_its_mean():
    """Forward over reverse averages to the Hessian of c_0 / s - c_2 / (2 s).

    None of 50,000 samples is NaN: of Gamma(0.22) samples, one in 5,000 is so small that
    JAX's own second derivative is.
    """
    a, outer = jnp.array([0.5, -0.5, -1.5]), jnp.array([1.0, 0.0, -0.5])

    def mean(a):
        c = jnp.where(a > 0, a + 1, jnp.exp(a))
        return (c / c.sum() * outer).sum()

    def hessian(key, a, progress):
        def sample(a):
            return (relaxations.dirichlet(key, a, progress) * outer).sum()

        return jax.jacfwd(jax.grad(sample))(a)

    samples = draw(hessian, a, 50_000)
    assert np.isfinite(samples).all()
    assert_mean(samples, jax.hessian(mean)(a))


def test_dirichlet_is_fresh_for_each_key_and_edge():
    """Edges and keys of equal logits get different samples, one key the same."""
    zeros = jnp.zeros((2, 3, 4))
    first, second = draw(relaxations.dirichlet, zeros, 2)
    assert len(np.unique(jnp.stack([first, second]))) == 2 * 24
    np.testing.assert_array_equal(first, draw(relaxations.dirichlet, zeros, 2)[0])


def test_concentration_keeps_small_values_and_slopes():
    """exp(-10) to rounding, which elu + 1 gives to 1e-3; slope 1 at 0; a floor."""
    got = relaxations.concentration(jnp.array([-10.0, 0.0, 3.0, -50.0, OUT]))
    np.testing.assert_allclose(got, [np.exp(-10), 1, 4, 1e-6, 1e-6], rtol=1e-6)
    slopes = jax.vmap(jax.grad(relaxations.concentration))
    points = jnp.array([-1.0, 0.0, 3.0, -50.0, OUT])
    np.testing.assert_allclose(slopes(points), [np.exp(-1), 1, 1, 0, 0], rtol=1e-6)


def test_dirichlet_never_picks_what_is_out():
    """Not even beside one whose concentration is as small as the floor."""
    samples = draw(relaxations.dirichlet, jnp.array([[[OUT, -50.0, OUT]]]), 20)
    np.testing.assert_array_equal(samples[:, 0, 0], np.tile([0, 1, 0], (20, 1)))


@pytest.mark.parametrize("name", list(registry.RELAXATIONS))
def test_logits_out_leave_the_rest_as_if_alone(name):
    """With one finite logit left an edge is decided; curvature stays finite too.

    Forward over reverse is what second-order searches take.
    """
    relax = registry.RELAXATIONS[name]
    logits = jnp.array([[[OUT, 0.3, OUT], [OUT, -50.0, OUT], [0.1, OUT, -80.0]]])
    out = np.isneginf(logits)

    def loss(logits, progress):
        return (relax(jax.random.key(2), logits, progress) ** 3).sum()

    for progress in (jnp.float32(0), jnp.float32(1)):
        weights = relax(jax.random.key(2), logits, progress)
        # sigmoids and uniform weights do not depend on what else is left
        free = {"sigmoid": jax.nn.sigmoid(logits[0, :2, 1]), "uniform": 1 / 3}
        alone = free.get(name, 1)
        np.testing.assert_allclose(weights[0, :2, 1], alone, rtol=1e-6)
        assert not weights[out].any()
        gradient = jax.grad(loss)(logits, progress)
        assert np.isfinite(gradient).all() and not gradient[out].any()
        curvature = jax.jvp(
            lambda a, p=progress: jax.grad(loss)(a, p),
            (logits,),
            (jnp.ones((1, 3, 3)),),
        )[1]
        assert np.isfinite(curvature).all() and not curvature[out].any()


@pytest.mark.parametrize("name", ["softmax", "gumbel_softmax", "straight_through"])
def test_softmax_over_the_rest(name):
    """What is out takes no weight from the others: the same as a narrower edge."""
    key, progress = jax.random.key(0), jnp.float32(0.5)
    logits = jnp.array([[[0.5, -1.0, 2.0, OUT, OUT]]])
    noise = jax.random.gumbel(key, logits.shape)
    expected = {
        "softmax": softmax(logits[..., :3]),
        "gumbel_softmax": softmax((logits + noise)[..., :3] / 0.03**0.5),
        "straight_through": np.eye(3)[[[(logits + noise)[0, 0, :3].argmax()]]],
    }[name]
    got = registry.RELAXATIONS[name](key, logits, progress)
    np.testing.assert_allclose(got[..., :3], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(got[..., 3:], 0)


def test_entropy_of_uniform_and_one_hot_rows():
    """log 4 for four equal weights, 0 for one: half of it in the mean."""
    weights = jnp.array([[0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0]])
    np.testing.assert_allclose(relaxations.entropy(weights), np.log(4) / 2, rtol=1e-6)
