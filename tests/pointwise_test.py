"""Tests of the 1x1 convolution against its definition, form by form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import test_util

from jnas import networks, ops
from jnas.ops.kernels import pointwise

pytestmark = pytest.mark.usefixtures("float64")


def normal(seed, shape, dtype=jnp.float64):
    """Draws floats of a shape."""
    return jax.random.normal(jax.random.key(seed), shape, dtype)


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 2), (3, 1)])
@pytest.mark.parametrize("size", [(7, 8), (16, 32)])
@pytest.mark.parametrize("sets", [1, 2])
def test_both_forms_are_the_definition(three, stride, size, sets):
    """Values and both gradients; the larger images are parted."""
    x, w = normal(0, (sets, 2, *size, 3)), normal(1, (sets, 1, 1, 3, 4))
    seen = np.asarray(x)[:, :, :: stride[0], :: stride[1]]
    want = np.einsum("sbhwi,sio->sbhwo", seen, np.asarray(w)[:, 0, 0])
    g = normal(2, want.shape)
    product, split = (
        three(form, x, w, g, stride=stride)
        for form in (pointwise.PRODUCT, pointwise.SPLIT)
    )
    np.testing.assert_allclose(product[0], want, atol=1e-10)
    for a, b in zip(product, split, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)
    for gradient, argument in zip(product[1:], (x, w), strict=True):
        np.testing.assert_allclose(np.vdot(gradient, argument), np.vdot(want, g))


@pytest.mark.parametrize("stride", [1, 2])
def test_derivatives(stride):
    """Both modes, to the second order, by finite differences."""
    x, w = normal(0, (2, 4, 5, 2)), normal(1, (1, 1, 2, 3))
    conv = jax.jit(functools.partial(pointwise.pointwise_conv, stride=stride))
    test_util.check_grads(conv, (x, w), order=2, modes=("fwd", "rev"))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_vmap_is_a_loop(axes):
    """Over images, over kernels, over both; values and gradients."""
    xs, ws = normal(0, (3, 2, 5, 6, 2)), normal(1, (3, 1, 1, 2, 4))

    def value(x, w):
        return jnp.sin(pointwise.pointwise_conv(x, w, stride=2)).sum()

    both = jax.jit(jax.value_and_grad(value, (0, 1)))
    args = [a if axis == 0 else a[0] for a, axis in zip((xs, ws), axes, strict=True)]
    mapped = jax.jit(jax.vmap(both, axes))(*args)
    for i in range(3):
        one = both(
            *(a[i] if axis == 0 else a for a, axis in zip(args, axes, strict=True))
        )
        for m, o in zip(jax.tree.leaves(mapped), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(m[i], o, atol=1e-12)


@pytest.mark.single
def test_parts_of_bfloat16_are_added_in_float32(three):
    """Parts of about 800 cancel to 3: of bfloat16, each would be off by up to 2."""
    half = jnp.abs(normal(0, (65536,), jnp.bfloat16))
    apart = jax.random.permutation(jax.random.key(1), -half)
    g = jnp.concatenate([half, apart]).at[0].add(3)
    want = np.asarray(g, np.float64).sum()
    g = g.reshape(1, 2, 256, 256, 1)
    assert pointwise.count_parts(g.size, 1, 1) == pointwise.MAX_PARTS
    w = jnp.ones((1, 1, 1, 1, 1), jnp.bfloat16)
    got = three(pointwise.SPLIT, jnp.ones_like(g), w, g, stride=(1, 1))[2]
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(got, np.float64).item(), want, atol=0.02)


@pytest.mark.parametrize(
    ("pixels", "features", "parts"),
    [
        (65536, (16, 16), 128),
        (4096, (64, 64), 16),
        (65536, (256, 256), 8),
        (2450, (16, 16), 7),
        (2311, (16, 16), 1),  # a prime
        (98, (16, 16), 1),
    ],
)
def test_pixels_are_parted_evenly(pixels, features, parts):
    """At most one part a multiprocessor, none of fewer than 256 pixels."""
    assert pointwise.count_parts(pixels, *features) == parts
    assert pixels % parts == 0


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda", "rocm"])
def test_no_product_of_a_strided_slice_on_gpu(platform):
    """XLA's compiler for GPU ends the process there; no device needed."""
    reduce = ops.FactorizedReduce(4, 8, norm=ops.SEARCH, rngs=nnx.Rngs(0))
    graph, state = nnx.split(reduce)

    def loss(state, x):
        return nnx.merge(graph, state)(x).sum()

    both = jax.jit(jax.grad(loss, (0, 1)))
    text = both.trace(state, normal(0, (2, 8, 8, 4), jnp.float32))
    text = text.lower(lowering_platforms=(platform,)).as_text()
    gpu = platform in ("cuda", "rocm")
    assert ("stablehlo.convolution" in text) == gpu
    assert ("dot_general" in text) == (not gpu)


def test_a_kernel_gradient_is_many_sums_on_gpu():
    """A product for each part of the pixels; one product elsewhere."""
    loss = jax.jit(jax.grad(lambda w, x: ops.pointwise_conv(x, w).sum()))
    traced = loss.trace(normal(0, (1, 1, 3, 4)), normal(1, (4, 32, 32, 3)))
    text = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cuda", "cpu")
    }
    assert "batching_dims = [0] x [0]" in text["cuda"]
    assert "tensor<16x256x3x" in text["cuda"]
    assert "batching_dims" not in text["cpu"]


def test_its_products_are_counted():
    """One multiply-accumulate for each pixel, input and output feature."""
    x, w = jnp.ones((2, 6, 6, 3)), jnp.ones((1, 1, 3, 5))
    conv = functools.partial(ops.pointwise_conv, stride=2)
    assert networks.count_macs(conv, x, w) == 2 * 3 * 3 * 3 * 5


def test_other_windows_are_refused():
    """The error names the function that has them, or the features."""
    x = jnp.ones((1, 4, 4, 2))
    with pytest.raises(ValueError, match="dense_conv"):
        ops.pointwise_conv(x, jnp.ones((3, 3, 2, 2)))
    with pytest.raises(ValueError, match="features"):
        ops.pointwise_conv(x, jnp.ones((1, 1, 3, 2)))


def test_padding_of_a_window_of_one_pixel_is_kept():
    """Zeros around the image, as with any other window."""
    conv = ops.Conv(2, 3, padding=(1, 2), rngs=nnx.Rngs(0))
    out = conv(jnp.ones((1, 4, 5, 2), jnp.float32))
    assert out.shape == (1, 6, 9, 3)
    assert not np.asarray(out)[:, 0].any()
