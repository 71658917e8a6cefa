"""Tests of the sliding windows against XLA's own and against brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jnas.ops import windows

SIZES = ((8, 8), (7, 8), (5, 5), (1, 3))


@pytest.fixture(autouse=True)
def float64():
    """Runs everything in float64, where the forms agree to 1e-10."""
    with jax.enable_x64(True):
        yield


def normal(seed, shape):
    """Draws f64 of a shape."""
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_both_forms_agree_with_their_gradients(size, kernel, stride, dilation):
    """The taps and the native convolution are one function."""
    x, w = normal(0, (2, *size, 3)), normal(1, (kernel, kernel, 3))

    def value_and_grads(form):
        def total(x, w):
            y = form(x, w, stride, dilation)
            return jnp.sin(y).sum(), y

        return jax.value_and_grad(total, (0, 1), has_aux=True)(x, w)

    taps = value_and_grads(windows._depthwise_taps)
    native = value_and_grads(windows._depthwise_native)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), taps, native
    )


def test_second_derivative_of_the_taps():
    """Reverse over reverse, as the exact second-order step takes it."""
    x, w = normal(0, (2, 6, 5, 3)), normal(1, (3, 3, 3))

    def second(form):
        def inner(x, w):
            return jnp.sin(form(x, w, 2, 1)).sum()

        def outer(x, w):
            return (jax.grad(inner, 1)(x, w) ** 2).sum()

        return jax.grad(outer, (0, 1))(x, w)

    for a, b in zip(
        second(windows._depthwise_taps), second(windows._depthwise_native), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-10)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
def test_max_pool_is_reduce_window(size, stride):
    """Values and gradients, ties included, are XLA's."""
    x = jnp.round(normal(0, (2, *size, 3)) * 2)

    def reference(x):
        margins = ((0, 0), (1, 1), (1, 1), (0, 0))
        window, strides = (1, 3, 3, 1), (1, stride, stride, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, margins)

    def pooled(x):
        return windows.max_pool(x, stride=stride)

    np.testing.assert_array_equal(pooled(x), reference(x))
    g = normal(1, pooled(x).shape)
    for got, want in zip(
        jax.vjp(pooled, x)[1](g), jax.vjp(reference, x)[1](g), strict=True
    ):
        np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
def test_avg_pool_counts_only_pixels_inside(size, stride):
    """Held against a loop over windows."""
    x = np.asarray(normal(0, (2, *size, 3)))
    got = np.asarray(windows.avg_pool(jnp.asarray(x), stride=stride))
    for i in range(got.shape[1]):
        for j in range(got.shape[2]):
            rows = slice(max(0, i * stride - 1), i * stride + 2)
            columns = slice(max(0, j * stride - 1), j * stride + 2)
            want = x[:, rows, columns].mean((1, 2))
            np.testing.assert_allclose(got[:, i, j], want, atol=1e-12)


def test_nan_is_not_swallowed():
    """A NaN pixel reaches every window that holds it, and no other."""
    x = jnp.zeros((1, 5, 5, 1)).at[0, 1, 1, 0].set(jnp.nan)
    pooled = windows.max_pool(x)
    convolved = windows.depthwise_conv(x, jnp.ones((3, 3, 1)))
    for y in (pooled, convolved):
        expected = np.zeros((5, 5), bool)
        expected[0:3, 0:3] = True
        np.testing.assert_array_equal(np.isnan(y[0, :, :, 0]), expected)
