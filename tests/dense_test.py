"""Tests of the dense convolution against its definition, form by form."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax, test_util

from jnas import ops
from jnas.ops.kernels import dense

pytestmark = pytest.mark.usefixtures("float64")
OPTIMISED = pytest.mark.optimised


def normal(seed, shape):
    """Draws floats of a shape."""
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def brute_force(x, w, stride, padding):
    """The definition, window by window, in numpy."""
    kh, kw = w.shape[:2]
    p, q = padding
    x = np.pad(x, ((0, 0), (p, p), (q, q), (0, 0)))
    rows, columns = (
        (n - k) // s + 1 for n, k, s in zip(x.shape[1:3], (kh, kw), stride, strict=True)
    )
    out = np.zeros((len(x), rows, columns, w.shape[-1]), x.dtype)
    for i, j in np.ndindex(rows, columns):
        r, c = i * stride[0], j * stride[1]
        out[:, i, j] = np.einsum("buvi,uvio->bo", x[:, r : r + kh, c : c + kw], w)
    return out


CASES = [
    ((3, 3), (1, 1), (1, 1)),
    ((3, 3), (2, 2), (1, 1)),
    ((1, 7), (1, 2), (0, 3)),
    ((7, 1), (2, 1), (3, 0)),
    ((2, 2), (1, 1), (0, 0)),
    ((5, 5), (3, 2), (2, 2)),
]


@pytest.mark.parametrize(("window", "stride", "padding"), CASES)
@pytest.mark.parametrize("size", [(7, 8), (2, 3)])
@pytest.mark.parametrize("sets", [1, pytest.param(2, marks=OPTIMISED)])
def test_both_forms_are_the_definition(three, window, stride, padding, size, sets):
    """Values and both gradients to 1e-10; odd, even and tiny images, batch 1."""
    how = dict(stride=stride, padding=padding)
    x = normal(0, (sets, 3 - sets, *size, 3))
    w = normal(1, (sets, *window, 3, 4))
    pairs = zip(np.asarray(x), np.asarray(w), strict=True)
    want = np.stack([brute_force(*pair, **how) for pair in pairs])
    g = normal(2, want.shape)
    ordered, native = (
        three(form, x, w, g, **how) for form in (dense.ORDERED, dense.NATIVE)
    )
    np.testing.assert_allclose(ordered[0], want, atol=1e-10)
    for a, b in zip(ordered, native, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)
    for gradient, argument in zip(ordered[1:], (x, w), strict=True):
        np.testing.assert_allclose(np.vdot(gradient, argument), np.vdot(want, g))


@OPTIMISED
@pytest.mark.parametrize(("window", "stride", "padding"), CASES[1:3])
def test_derivatives(window, stride, padding):
    """Both modes, to the second order, by finite differences."""
    x, w = normal(0, (2, 4, 5, 2)), normal(1, (*window, 2, 2))
    conv = functools.partial(dense.dense_conv, stride=stride, padding=padding)
    test_util.check_grads(jax.jit(conv), (x, w), order=2, modes=("fwd", "rev"))


def test_no_naive_convolution_inside_a_loop_on_cpu():
    """Every convolution of a compiled step has the order of axes that is fast."""
    x, w = jnp.ones((2, 4, 4, 3)), jnp.ones((3, 3, 3, 4))
    gradients = jax.grad(lambda x, w: dense.dense_conv(x, w).sum(), (0, 1))

    def step(_, both):
        return jax.tree.map(jnp.subtract, both, gradients(*both))

    run = jax.jit(lambda *both: lax.fori_loop(0, 3, step, both))
    as_users_do = {
        "xla_backend_optimization_level": 3,
        "xla_llvm_disable_expensive_passes": False,
    }
    if "xla_cpu_use_fusion_emitters" in os.environ.get("XLA_FLAGS", ""):
        as_users_do["xla_cpu_use_fusion_emitters"] = True
    text = run.lower(x, w).compile(as_users_do).as_text()
    labels = [
        line.split("dim_labels=")[1] for line in text.splitlines() if "dim_" in line
    ]
    assert labels
    assert all(label.startswith("b01f_01io->b01f") for label in labels)


@pytest.mark.parametrize(
    "call",
    [
        lambda **how: ops.Conv(2, 2, rngs=nnx.Rngs(0), **how),
        lambda **how: ops.DepthwiseConv(2, 3, rngs=nnx.Rngs(0), **how),
        lambda **how: ops.relu_conv_norm(2, 2, norm=ops.STEM, rngs=nnx.Rngs(0), **how),
        lambda **how: ops.dense_conv(jnp.ones((1, 4, 4, 2)), jnp.ones((3,) * 4), **how),
        lambda **how: ops.depthwise_conv(
            jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2)), **how
        ),
    ],
)
def test_strides_is_refused(call):
    """One spelling: the other is named, with what to write."""
    with pytest.raises(TypeError) as caught:
        call(strides=(2, 2))
    assert str(caught.value) == (
        "stride must be the argument's name, got strides. Write stride=(2, 2)."
    )


@pytest.mark.parametrize("stride", [2, [2, 2], np.int64(2)])
def test_a_stride_is_a_number_or_a_pair(stride):
    """One number is the pair of twice that number, for both convolutions."""
    x = normal(0, (1, 5, 6, 2))
    for conv, shape in (
        (ops.dense_conv, (3, 3, 2, 2)),
        (ops.depthwise_conv, (3, 3, 2)),
    ):
        kernel = normal(1, shape)
        want = conv(x, kernel, stride=(2, 2))
        np.testing.assert_array_equal(conv(x, kernel, stride=stride), want)
