"""Tests of the dominant eigenvalue against NumPy's, with breakdowns of every kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas.gradient import curvature


def quadratic(matrix):
    """Returns the gradient of x^T A x / 2, whose Hessian is A everywhere."""
    return lambda x: jnp.matmul(matrix, x, precision="highest")


def top(matrix, dtype=jnp.float32, **settings):
    """Estimates the largest eigenvalue of a matrix."""
    matrix = jnp.asarray(matrix, dtype)
    at = jnp.zeros(len(matrix), dtype)
    run = jax.jit(
        lambda key: curvature.dominant_eigenvalue(
            quadratic(matrix), at, key, **settings
        )
    )
    got = run(jax.random.key(0))
    assert got.dtype == dtype and got.shape == ()
    return float(got)


def with_eigenvalues(values, seed=0):
    """Returns Q diag(values) Q^T, Q a random rotation."""
    size = len(values)
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    return q * np.asarray(values, np.float64) @ q.T


def random_symmetric(size, seed=0):
    """Returns (G + G^T) / 2 of a matrix of normal numbers."""
    g = np.random.default_rng(seed).normal(size=(size, size))
    return (g + g.T) / 2


@pytest.mark.parametrize("seed", range(3))
def test_random_symmetric_matrices(seed):
    """With an iteration for each dimension, to rounding in either precision."""
    matrix = random_symmetric(30, seed)
    expected = np.linalg.eigvalsh(matrix)[-1]
    got = top(matrix, num_iterations=30)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    with jax.enable_x64(True):
        got = top(matrix, jnp.float64, num_iterations=30)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "values",
    [
        (-5.0, -1.0, 0.5, 2.0),  # indefinite: the largest, not the largest in size
        (-5.0, -4.0, -3.0, -2.0),  # all below 0: the one nearest to 0
        (3.0, 3.0, 3.0, 1.0, 1.0, 1.0),  # repeated: two directions span all
        (-3.0, -3.0, -3.0, -1.0, -1.0),  # and below 0: no 0 may come in
        (7.0,) * 6,  # a multiple of the identity: one does
        (4.0, 0.0, 0.0, 0.0, 0.0),  # rank one
        (-4.0, 0.0, 0.0, 0.0, 0.0),  # rank one, downwards
        (0.0,) * 5,
        (1e-6, 2e-6, -3e-6),
        (1e6, 2e6, 2.5e6),
        (1e4, 1.0, 0.5, 0.2, 0.1, 0.0),  # far apart
        (2.5,),
    ],
)
def test_known_eigenvalues(values):
    """More iterations than distinct eigenvalues, or than dimensions, do no harm."""
    matrix, size = with_eigenvalues(values), np.abs(values).max()
    for num_iterations in (len(values), 32):
        got = top(matrix, num_iterations=num_iterations)
        np.testing.assert_allclose(got, max(values), atol=1e-5 * size)
    with jax.enable_x64(True):
        got = top(matrix, jnp.float64)
    np.testing.assert_allclose(got, max(values), atol=1e-12 * size)


def test_rank_two_in_many_dimensions():
    """300 dimensions, all but two flat: rounding must not stand in for the rest."""
    values = np.zeros(300)
    values[:2] = 2.0, 3.0
    np.testing.assert_allclose(top(with_eigenvalues(values)), 3, rtol=1e-5)


def test_the_default_comes_from_below_and_close():
    """At the edge of 224 crowded eigenvalues, the worst case, to five per cent."""
    for seed in range(3):
        matrix = random_symmetric(224, seed)
        expected = np.linalg.eigvalsh(matrix)[-1]
        got = top(matrix)
        assert 0.95 * expected < got < expected * (1 + 1e-5)


def test_orthogonality_lasts():
    """An eigenvalue far outside the rest is found again by plain Lanczos as a ghost.

    Ghosts do not raise the largest; lost orthogonality would show in the second, so the
    whole spectrum is compared, through shifts: the largest of -A is -smallest of A.
    """
    values = np.concatenate([[100.0], np.linspace(-1, 1, 59)])
    matrix = with_eigenvalues(values)
    np.testing.assert_allclose(top(matrix, num_iterations=60), 100, rtol=1e-5)
    np.testing.assert_allclose(top(-matrix, num_iterations=60), 1, atol=2e-4)


def test_a_function_of_a_pytree():
    """The Hessian of a network's loss in a dict with None, against jax.hessian."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(1), 3)
        x = jax.random.normal(keys[0], (8, 3))
        at = {
            "w": jax.random.normal(keys[1], (3, 4)),
            "none": None,
            "v": (jax.random.normal(keys[2], (4,)), None),
        }

        def loss(p):
            return ((jnp.tanh(x @ p["w"]) @ p["v"][0] - 1) ** 2).mean()

        flat, unravel = jax.flatten_util.ravel_pytree(at)
        hessian = jax.hessian(lambda f: loss(unravel(f)))(flat)
        expected = np.linalg.eigvalsh(hessian)
        assert expected[0] < 0 < expected[-1]
        got = curvature.dominant_eigenvalue(jax.grad(loss), at, jax.random.key(0))
        np.testing.assert_allclose(got, expected[-1], rtol=1e-10)


def test_one_product_is_compiled_and_keys_agree():
    """The gradient is traced once; vmap over keys and points is the loop."""
    traces = []
    matrix = jnp.asarray(random_symmetric(12), jnp.float32)

    def gradient(x):
        traces.append(x)
        return jnp.matmul(matrix, x, precision="highest") + x**3

    def run(key, at):
        return curvature.dominant_eigenvalue(gradient, at, key, num_iterations=6)

    keys = jax.random.split(jax.random.key(0), 3)
    points = jax.random.normal(jax.random.key(1), (3, 12))
    one = jax.jit(run)
    loop = [one(key, at) for key, at in zip(keys, points, strict=True)]
    assert len(traces) == 1
    np.testing.assert_allclose(jax.vmap(run)(keys, points), loop, rtol=1e-5)
    np.testing.assert_allclose(run(keys[0], points[0]), loop[0], rtol=1e-5)


def test_no_more_iterations_than_dimensions():
    """Three numbers take three iterations, whatever is asked for."""

    def run(at):
        return curvature.dominant_eigenvalue(
            lambda x: 2 * x, at, jax.random.key(0), num_iterations=50
        )

    loops = [e for e in jax.make_jaxpr(run)(jnp.ones(3)).eqns if "length" in e.params]
    assert [loop.params["length"] for loop in loops] == [3]


def test_not_a_number_is_not_hidden():
    """A gradient of NaN gives NaN."""
    matrix = np.full((3, 3), np.nan)
    assert np.isnan(top(matrix))


def test_bad_settings():
    """No iteration and no number are refused."""
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="num_iterations must be at least 1, got 0"):
        curvature.dominant_eigenvalue(lambda x: x, jnp.ones(2), key, num_iterations=0)
    with pytest.raises(ValueError, match="at must hold at least one number"):
        curvature.dominant_eigenvalue(lambda x: x, {"a": None}, key)
