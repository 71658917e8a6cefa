"""Tests of the sliding windows against XLA's own and against brute force.

What holds of both kinds of convolution is tested here for both.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, test_util

from jnas.ops.kernels import dense, pool_forms, windows
from jnas.ops.kernels import window_forms as forms

pytestmark = pytest.mark.usefixtures("float64")
OPTIMISED = pytest.mark.optimised
SIZES = ((8, 8), (7, 8), (5, 5), (1, 3))


def normal(seed, shape, dtype=jnp.float64):
    """Draws floats of a shape."""
    return jax.random.normal(jax.random.key(seed), shape, dtype)


def brute_force(x, w, stride, dilation):
    """The definition, pixel by pixel, in numpy."""
    k, (_, height, width, _) = w.shape[0], x.shape
    r, c = (stride, stride) if isinstance(stride, int) else stride
    h, v = -(-height // r), -(-width // c)
    out = np.zeros((x.shape[0], h, v, x.shape[-1]), x.dtype)
    for i, j, a, b in np.ndindex(h, v, k, k):
        row = r * i + dilation * (a - k // 2)
        column = c * j + dilation * (b - k // 2)
        if 0 <= row < height and 0 <= column < width:
            out[:, i, j] += w[a, b] * x[:, row, column]
    return out


@pytest.mark.parametrize(
    "kernel", [1, pytest.param(3, marks=OPTIMISED), pytest.param(5, marks=OPTIMISED), 7]
)
@pytest.mark.parametrize("stride", [1, 2, (1, 2), (3, 1)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_every_form_is_the_definition(three, kernel, stride, dilation):
    """Convolution, input gradient, kernel gradient: one trilinear form, to 1e-10.

    Odd and even sizes, images smaller than the window, batch 1.
    """
    how = dict(stride=stride, dilation=dilation)
    for batch, size in ((2, (7, 8)), (1, (2, 3))):
        x, w = normal(0, (2, batch, *size, 3)), normal(1, (2, kernel, kernel, 3))
        pairs = zip(np.asarray(x), np.asarray(w), strict=True)
        want = np.stack([brute_force(*pair, **how) for pair in pairs])
        g = normal(2, want.shape)
        taps, *others = (
            three(form, x, w, g, **how)
            for form in (forms.TAPS, forms.NATIVE, forms.UNDILATED)
        )
        np.testing.assert_allclose(taps[0], want, atol=1e-10)
        for other in others:
            for a, b in zip(taps, other, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-10)
        for gradient, argument in zip(taps[1:], (x, w), strict=True):
            np.testing.assert_allclose(np.vdot(gradient, argument), np.vdot(want, g))


@OPTIMISED
@pytest.mark.single
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", ["depthwise", "dense"])
def test_both_forms_in_float32(three, kind, stride):
    """1e-5 forward and 1e-4 in the gradients, at the sizes of a real cell."""
    x = normal(0, (1, 4, 16, 16, 8), jnp.float32)
    g = normal(2, (1, 4, 16 // stride, 16 // stride, 8), jnp.float32)
    if kind == "depthwise":
        both, how = (forms.TAPS, forms.NATIVE), dict(stride=stride, dilation=2)
        w = normal(1, (1, 5, 5, 8), jnp.float32) / 5
    else:
        both = dense.ORDERED, dense.NATIVE
        how = dict(stride=(stride, stride), padding=(1, 1))
        w = normal(1, (1, 3, 3, 8, 8), jnp.float32) / 9
    fast, native = (three(form, x, w, g, **how) for form in both)
    np.testing.assert_allclose(fast[0], native[0], atol=1e-5)
    for a, b in zip(fast[1:], native[1:], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4)


@OPTIMISED
@pytest.mark.single
def test_taps_of_bfloat16_are_rounded_once(three):
    """Sums are float32's, so that 25 products lose no more than one rounding."""
    x = normal(0, (1, 2, 6, 6, 3), jnp.bfloat16)
    w = normal(1, (1, 5, 5, 3), jnp.bfloat16)
    how = dict(stride=1, dilation=1)
    low = three(forms.TAPS, x, w, x, **how)
    wide = (a.astype(jnp.float32) for a in (x, w, x))
    for a, b in zip(low, three(forms.TAPS, *wide, **how), strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_array_equal(a, b.astype(jnp.bfloat16))


@pytest.mark.parametrize("stride", [1, pytest.param(2, marks=OPTIMISED)])
def test_derivatives_of_every_window(stride):
    """Both modes, to the second order, by finite differences."""
    x, w = normal(0, (2, 4, 5, 2)), normal(1, (3, 3, 2))
    modes = ("fwd", "rev")

    def jitted(function, **how):
        return jax.jit(functools.partial(function, stride=stride, **how))

    conv = jitted(windows.depthwise_conv, dilation=2)
    test_util.check_grads(conv, (x, w), order=2, modes=modes)
    for pool in (windows.max_pool, windows.avg_pool):
        test_util.check_grads(jitted(pool), (x,), order=2, modes=modes)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
@pytest.mark.parametrize(
    ("conv", "kernels"),
    [
        (functools.partial(windows.depthwise_conv, stride=2), (3, 3, 3, 2)),
        (functools.partial(dense.dense_conv, stride=(2, 1)), (3, 3, 3, 2, 2)),
    ],
)
def test_vmap_is_a_loop(conv, kernels, axes):
    """Over images, over kernels, over both; values and gradients."""
    xs, ws = normal(0, (3, 2, 5, 6, 2)), normal(1, kernels)

    def value(x, w):
        return jnp.sin(conv(x, w)).sum()

    both = jax.jit(jax.value_and_grad(value, (0, 1)))
    args = [a if axis == 0 else a[0] for a, axis in zip((xs, ws), axes, strict=True)]
    mapped = jax.jit(jax.vmap(both, axes))(*args)
    for i in range(3):
        one = both(
            *(a[i] if axis == 0 else a for a, axis in zip(args, axes, strict=True))
        )
        jax.tree.map(
            lambda m, o, i=i: np.testing.assert_allclose(m[i], o, atol=1e-12),
            mapped,
            one,
        )


def test_vmap_makes_no_convolution_of_more_groups():
    """A mapped kernel is a set of kernels of the same primitive."""
    xs, ws = normal(0, (3, 2, 5, 6, 2)), normal(1, (3, 3, 3, 2))
    jaxpr = jax.make_jaxpr(jax.vmap(windows.depthwise_conv))(xs, ws)
    shapes = [
        e.invars[1].aval.shape
        for e in jaxpr.eqns
        if e.primitive.name == "depthwise_conv"
    ]
    assert shapes == [(3, 3, 3, 2)]


@pytest.mark.parametrize(
    ("conv", "kernel", "platform", "turns"),
    [
        (windows.depthwise_conv, (3, 3, 2), "cuda", None),
        (windows.depthwise_conv, (3, 3, 2), "tpu", None),
        (windows.depthwise_conv, (3, 3, 2), "cpu", 0),
        (dense.dense_conv, (3, 3, 2, 4), "cuda", 0),
        (dense.dense_conv, (3, 3, 2, 4), "tpu", 0),
        (dense.dense_conv, (3, 3, 2, 4), "cpu", 4),
    ],
)
def test_each_backend_is_lowered_to_its_form(conv, kernel, platform, turns):
    """Three native convolutions, but on CPU none of a depthwise one; no device needed.

    The axes of a dense one are turned on CPU alone.
    """
    loss = jax.jit(jax.grad(lambda x, w: (conv(x, w) ** 2).sum(), (0, 1)))
    traced = loss.trace(normal(0, (2, 5, 6, 2)), normal(1, kernel))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    taps = platform == "cpu" and conv is windows.depthwise_conv
    assert text.count("stablehlo.convolution") == (0 if taps else 3)
    if turns is not None:
        assert text.count("stablehlo.transpose") == turns


@pytest.mark.parametrize("stride", [1, 2])
def test_no_dilated_convolution_on_gpu(stride):
    """Nor its gradient in the kernel, for which XLA has no fast code there."""
    loss = jax.grad(
        lambda x, w: windows.depthwise_conv(x, w, stride=stride, dilation=2).sum(),
        (0, 1),
    )
    traced = jax.jit(loss).trace(normal(0, (2, 8, 8, 3)), normal(1, (3, 3, 3)))
    text = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cuda", "rocm", "tpu")
    }
    assert "rhs_dilate = [2, 2]" in text["tpu"]
    for gpu in ("cuda", "rocm"):
        assert "stablehlo.convolution" in text[gpu]
        assert "rhs_dilate = [2, 2]" not in text[gpu]
        assert "stride = [2, 2], pad" not in text[gpu]


@OPTIMISED
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 2])
def test_max_pool_is_reduce_window(size, stride):
    """Values and gradients, ties included, are XLA's; under vmap as well."""
    x = jnp.round(normal(0, (2, *size, 3)) * 2)

    def reference(x):
        margins = ((0, 0), (1, 1), (1, 1), (0, 0))
        window, strides = (1, 3, 3, 1), (1, stride, stride, 1)
        return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, margins)

    def pooled(x):
        return windows.max_pool(x, stride=stride)

    np.testing.assert_array_equal(pooled(x), reference(x))
    g = normal(1, pooled(x).shape)
    (got,), (want,) = jax.vjp(pooled, x)[1](g), jax.vjp(reference, x)[1](g)
    np.testing.assert_allclose(got, want, atol=1e-12)
    mapped = jax.vmap(lambda x, g: jax.vjp(pooled, x)[1](g)[0])(x[:, None], g[:, None])
    np.testing.assert_allclose(mapped[:, 0], want, atol=1e-12)


@OPTIMISED
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


@OPTIMISED
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", [(3, 1, (1, 1)), (3, 2, (1, 1)), (2, 2, (0, 1))])
def test_both_forms_of_the_sum(size, how):
    """Sum and spread agree with XLA's reduction over windows and its transpose."""
    window, stride, margins = how
    keywords = dict(window=window, stride=stride, margins=margins)
    x = normal(0, (2, *size, 3))
    taps, native = (
        pool_forms.window_sum(x, **keywords),
        pool_forms.window_sum_native(x, **keywords),
    )
    np.testing.assert_allclose(taps, native, atol=1e-12)
    g = normal(1, taps.shape)
    np.testing.assert_allclose(
        pool_forms.window_spread(g, size=size, **keywords),
        pool_forms.window_spread_native(g, size=size, **keywords),
        atol=1e-12,
    )


@OPTIMISED
def test_nan_is_not_swallowed():
    """A NaN pixel reaches every window that holds it, and no other."""
    x = jnp.zeros((1, 5, 5, 1)).at[0, 1, 1, 0].set(jnp.nan)
    kernels = jnp.ones((1, 3, 3, 1))
    how = dict(stride=1, dilation=1)
    for y in (
        windows.max_pool(x),
        windows.avg_pool(x),
        forms.TAPS.conv(x[None], kernels, **how)[0],
        forms.NATIVE.conv(x[None], kernels, **how)[0],
        *(
            form.conv(x[None], kernels[..., None], stride=(1, 1), padding=(1, 1))[0]
            for form in (dense.ORDERED, dense.NATIVE)
        ),
    ):
        expected = np.zeros((5, 5), bool)
        expected[0:3, 0:3] = True
        np.testing.assert_array_equal(np.isnan(y[0, :, :, 0]), expected)


def test_a_gradient_keeps_the_arguments_alone():
    """No shifted copies among the residuals."""
    x, w = normal(0, (2, 8, 8, 3)), normal(1, (5, 5, 3))
    _, pull = jax.vjp(windows.depthwise_conv, x, w)
    kept = sum(leaf.size for leaf in jax.tree.leaves(pull))
    assert x.size <= kept <= x.size + w.size  # something is kept at all
