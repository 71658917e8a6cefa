"""No norm takes its statistics from one value, and none is refused without need."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jnas import networks, ops, spaces
from jnas.discrete import objectives
from jnas.networks import functional, heads
from jnas.spaces import published

MESSAGE = (
    "batch_size must be at least 2 where a normalisation reads one pixel of each "
    "image, got 1. Use a larger batch: one value minus its mean is 0."
)
refused = pytest.raises(ValueError, match=re.escape(MESSAGE))
NORMS = {"search": ops.SEARCH, "stem": ops.STEM, "training": ops.TRAINING}
V2, PC = map(published.genotype, ("DARTS_V2", "PC_DARTS_cifar"))
TINY = spaces.zoo.tiny()
SIZE = networks.Size(2, 3, 3)


def shape(batch, rows, columns=None, features=3):
    """Returns the shape of images."""
    pixels = rows, columns or rows
    return jax.ShapeDtypeStruct((batch, *pixels, features), jnp.float32)


def trace(init, apply, *args):
    """Traces a network; nothing is compiled or computed."""
    return jax.eval_shape(apply, *init, *args)


def train(net, images):
    """Traces a training step of a derived network."""
    init = jax.eval_shape(net.init, jax.random.key(0))
    key = jax.random.key(0)
    return trace(init, lambda *a: net.apply(*a, train=True, key=key), images)


@pytest.mark.parametrize("name", NORMS)
def test_every_norm(name):
    """One value is refused; two are normalised to plus and minus one."""
    norm = functional.functional(lambda rngs: NORMS[name](4, rngs=rngs))
    params, stats = norm.init(jax.random.key(0))
    for transform in (lambda f: f, jax.jit, jax.vmap):
        run = transform(lambda x: norm.apply(params, stats, x, train=True)[0])
        lead = (2,) if transform is jax.vmap else ()
        with refused:
            jax.eval_shape(run, jax.ShapeDtypeStruct((*lead, 1, 1, 1, 4), jnp.float32))
    for size in ((2, 1, 1), (1, 2, 1), (1, 1, 2)):
        x = jnp.arange(8.0).reshape(*size, 4)
        y, _ = norm.apply(params, stats, x, train=True)
        # values 4 apart: variance 4, so 2 / sqrt(4 + 1e-5) on both sides of the mean
        expected = np.array([-1.0, 1.0])[:, None] * np.ones(4) * 2 / np.sqrt(4 + 1e-5)
        np.testing.assert_allclose(y.reshape(2, 4), expected, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 3])
def test_running_statistics_are_those_of_torch(rows):
    """Two batches: r <- 0.9 r + 0.1 (mean, variance with n - 1), then they normalise.

    The batch itself is normalised by its variance with n. Of n = 2 the two differ by a
    factor of two.
    """
    norm = functional.functional(lambda rngs: ops.TRAINING(4, rngs=rngs))
    params, stats = norm.init(jax.random.key(0))
    mean, variance = np.zeros(4), np.ones(4)
    rng = np.random.default_rng(rows)
    for _ in range(2):
        x = np.float32(rng.normal(size=(2, rows, rows, 4)))
        y, stats = norm.apply(params, stats, jnp.asarray(x), train=True)
        flat = np.float64(x).reshape(-1, 4)
        mean = 0.9 * mean + 0.1 * flat.mean(0)
        variance = 0.9 * variance + 0.1 * flat.var(0, ddof=1)
        want = (x - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
        np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-4)
    leaves = {path[-1].key: leaf for path, leaf in jax.tree.leaves_with_path(stats)}
    np.testing.assert_allclose(leaves["mean"], mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(leaves["var"], variance, rtol=1e-5)
    x = jnp.ones((1, 1, 1, 4))
    y, _ = norm.apply(params, stats, x, train=False)
    want = (1 - leaves["mean"]) / np.sqrt(leaves["var"] + 1e-5)
    np.testing.assert_allclose(y[0, 0, 0], want, rtol=1e-4)


def test_evaluation_of_one_image():
    """Running statistics normalise one value; the mean and variance are theirs."""
    norm = functional.functional(lambda rngs: ops.TRAINING(2, rngs=rngs))
    params, stats = norm.init(jax.random.key(0))
    x = jnp.array([[[[3.0, -1.0]]]])
    y, same = norm.apply(params, stats, x, train=False)
    np.testing.assert_allclose(y, x / np.sqrt(1 + 1e-5), rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, same, stats)


def test_no_norm_reads_nothing():
    """Where norms are switched off, one value passes."""
    off = ops.Norm(affine=True, running=False, active=False)
    x = jnp.ones((1, 1, 1, 4))
    np.testing.assert_array_equal(off(4, rngs=nnx.Rngs(0))(x), x)


def test_the_auxiliary_head():
    """It ends at one pixel whatever the image, so it needs two images to train."""
    head = heads.auxiliary(4, 3, ops.TRAINING)
    init = jax.eval_shape(head.init, jax.random.key(0))
    for rows in (2, 8, 16):
        with refused:
            trace(init, head.apply, shape(1, rows, features=4))
        assert trace(init, head.apply, shape(2, rows, features=4))[0].shape == (2, 3)


@pytest.mark.parametrize("rows", [5, 8, 16])
def test_derived_network_with_auxiliary_head(rows):
    """It needs two images, however large."""
    net = networks.derived(PC, SIZE, auxiliary=True)
    with refused:
        train(net, shape(1, rows))
    (out, extra), _ = train(net, shape(2, rows))
    assert out.shape == extra.shape == (2, 3)


# Two reductions: of 4 rows they leave 2, then 1; of 5 they leave 3, then 2. The last
# cell of PC-DARTS convolves the one pixel, that of DARTS pools it.
@pytest.mark.parametrize(
    ("genotype", "rows", "columns", "ok"),
    [
        (PC, 1, 1, False),
        (PC, 3, 3, False),
        (PC, 4, 4, False),
        (PC, 4, 5, True),
        (PC, 1, 16, True),
        (PC, 5, 5, True),
        (V2, 1, 1, False),
        (V2, 4, 4, True),
    ],
)
def test_derived_network_of_one_image(genotype, rows, columns, ok):
    """It is refused where a norm sees one pixel, and nowhere else."""
    net = networks.derived(genotype, SIZE)
    train(net, shape(2, rows, columns))
    if ok:
        train(net, shape(1, rows, columns))
    else:
        with refused:
            train(net, shape(1, rows, columns))


@pytest.mark.parametrize("rows", [1, 4, 16])
def test_derived_network_in_evaluation(rows):
    """One image of any size."""
    net = networks.derived(V2, SIZE, auxiliary=True)
    init = jax.eval_shape(net.init, jax.random.key(0))
    (out, none), _ = trace(init, lambda *a: net.apply(*a, train=False), shape(1, rows))
    assert out.shape == (1, 3) and none is None
    assert networks.measure(net, (rows, rows, 3))["macs"] > 0


@pytest.mark.parametrize("build", [networks.supernet, networks.one_shot])
def test_supernets(build):
    """They normalise by the batch, also when they are evaluated."""
    for space, size, rows in (
        (TINY, SIZE, 4),
        (spaces.zoo.nasbench201(), networks.Size(2, 1, 3), 3),
    ):
        net = build(space, size)
        params = jax.eval_shape(net.init, jax.random.key(0))
        weights = jnp.full(space.shape, 0.5)
        with refused:
            jax.eval_shape(net.apply, params, shape(1, rows), weights)
        for images in (shape(2, rows), shape(1, rows + 2)):
            out = jax.eval_shape(net.apply, params, images, weights)
            assert out.shape == (images.shape[0], 3)


def test_untrained_scores():
    """Proxies read one batch, whose norms go by it."""
    space = spaces.zoo.nasbench201()
    score = objectives.grad_norm(
        space, networks.Size(2, 1, 3), jnp.ones((1, 3, 3, 3)), jnp.zeros(1, int)
    )
    with refused:
        jax.eval_shape(score, jax.random.key(0), jnp.ones((1, 6), int))
