"""Tests of the statistics of images: constants, near constants, offsets, magnitudes."""

import fractions

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jnas import data
from jnas.data import augment, source
from jnas.data import moments as moments_lib

EPS = float(np.finfo(np.float32).eps)


def dataset(x):
    """Returns a data set of images whose labels do not matter here."""
    y = np.arange(len(x), dtype=np.int32) % 2
    return data.Dataset("made", x, y, x, y, 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("count", [1, 60])
def test_every_constant_has_deviation_one(dtype, count):
    """All 256 constants, as 256 channels: deviation 1, mean exact, normalised to 0."""
    x = np.broadcast_to(np.arange(256).astype(dtype), (count, 15, 17, 256)).copy()
    mean, std = dataset(x).mean_std
    scale = 255 if dtype == np.uint8 else 1
    assert std == (1.0,) * 256
    assert mean == tuple(v / scale for v in range(256))
    normal = data.normalise(jnp.asarray(x[:1]), data.Augment(mean, std))
    assert float(jnp.abs(normal).max()) <= EPS  # of values in [0, 1]; 0 for float32


@pytest.mark.parametrize("value", [0.1, 1 / 3, -7.7, 1e-30, 3e7, -9e37, 1e-40])
@pytest.mark.parametrize("count", [1, 50])
def test_constants_of_any_magnitude(value, count):
    """One value alone, or with its neighbours in float32, has deviation 1."""
    x = np.full((count, 16, 16, 2), value, np.float32)
    up = np.nextafter(x[..., 1], np.float32(np.inf))
    x[..., 1] = np.where(np.arange(16) % 2, x[..., 1], up)
    (mean, _), std = dataset(x).mean_std
    assert std == (1.0, 1.0) and mean == float(np.float32(value))


@pytest.mark.parametrize("center", [0.5, 0.1, 1.0, -7.7, 100.0, 255.0, 3e7, 1e-20])
@pytest.mark.parametrize("deviation", [0.3, 1.0, 2.0])
def test_noise_of_rounding_is_constant(center, deviation):
    """Dozens of float32 values around a constant, about an EPS away: deviation 1."""
    noise = np.random.default_rng(0).standard_normal((50, 32, 32, 1))
    x = (center + deviation * EPS * abs(center) * noise).astype(np.float32)
    assert len(np.unique(x)) > 3
    (mean,), (std,) = dataset(x).mean_std
    assert std == 1.0
    np.testing.assert_allclose(mean, center, rtol=EPS)


def test_computed_constants_are_constant():
    """Lengths of unit vectors, sums of shares, a logarithm undone."""
    x = np.random.default_rng(0).random((60, 16, 16, 8), np.float32)
    units = x / np.linalg.norm(x, axis=-1, keepdims=True)
    shares = x / x.sum(-1, keepdims=True)
    made = [
        (units**2).sum(-1),
        shares.sum(-1),
        np.exp(np.log(x[..., 0] + 1)) / (x[..., 0] + 1),
    ]
    stacked = np.stack(made, -1)
    assert all(len(np.unique(one)) > 2 for one in made)
    assert dataset(stacked).mean_std[1] == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("offset", [0.5, -0.5, 1.0, 100.0, -100.0])
@pytest.mark.parametrize("pairs", [True, False])
def test_small_signals_are_kept(offset, pairs):
    """Deviation 1e-4, normal or of two values, against NumPy in float64."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((50, 16, 16, 1))
    noise = np.sign(noise) if pairs else noise
    x = (offset + 1e-4 * noise).astype(np.float32)
    wanted = x.astype(np.float64).std()
    assert 0.9e-4 < wanted < 1.1e-4
    np.testing.assert_allclose(dataset(x).mean_std[1][0], wanted, rtol=1e-12)


@pytest.mark.parametrize(("steps", "kept"), [(1, False), (6, False), (7, True)])
def test_the_border_of_rounding(steps, kept):
    """0.75 +- k steps of EPS / 2 deviates by k / 1.5 EPS of it: 4 at k = 6."""
    x = np.full((4, 8, 8, 1), 0.75, np.float32)
    x[..., ::2, :] += np.float32(steps * EPS / 2)
    x[..., 1::2, :] -= np.float32(steps * EPS / 2)
    std = dataset(x).mean_std[1][0]
    assert std == (pytest.approx(steps * EPS / 2, rel=1e-12) if kept else 1.0)


@pytest.mark.parametrize(("steps", "kept"), [(64, False), (65, True)])
def test_the_border_of_spikes(steps, kept):
    """One pixel k EPS above 1, of n: deviation k EPS sqrt(n - 1) / n, below EPS."""
    x = np.ones((40, 32, 32, 1), np.float32)
    x[3, 4, 5, 0] += np.float32(steps * EPS)
    wanted = steps * EPS * np.sqrt(x.size - 1) / x.size
    assert wanted < EPS
    std = dataset(x).mean_std[1][0]
    assert std == (pytest.approx(wanted, rel=1e-9) if kept else 1.0)


@given(
    x=st.lists(st.integers(0, 255), min_size=8, max_size=8),
    copies=st.integers(1, 300),
)
@settings(max_examples=50, deadline=None)
def test_integers_are_exact(x, copies):
    """Mean and deviation of rational numbers, in any order of the images."""
    exact = [fractions.Fraction(v, 255) for v in x]
    mean = sum(exact) / 8
    variance = sum((v - mean) ** 2 for v in exact) / 8
    images = np.tile(np.array(x, np.uint8).reshape(2, 2, 2, 1), (copies, 1, 1, 1))
    found = moments_lib.moments(images)
    assert found.mean[0] == float(mean)
    wanted = float(variance) ** 0.5 if variance else 1.0
    np.testing.assert_allclose(found.std[0], wanted, rtol=1e-15)
    assert moments_lib.moments(images[::-1]) == found


def test_chunks_are_the_whole():
    """Sets of more values than are widened at a time, against NumPy in one go."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2 * source.PART_VALUES // 48 + 7, 4, 4, 3), np.uint8)
    mean, std, _ = moments_lib.moments(x)
    flat = x.reshape(-1, 3).astype(np.longdouble) / 255  # float64 is off by 4e-12
    np.testing.assert_allclose(mean, flat.mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, flat.std(0), rtol=1e-12)
    floats = (x[: source.PART_VALUES // 40] / 7 - 3).astype(np.float32)
    mean, std, _ = moments_lib.moments(floats)
    flat = floats.reshape(-1, 3).astype(np.longdouble)
    np.testing.assert_allclose(mean, flat.mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, flat.std(0), rtol=1e-12)


@pytest.mark.parametrize(("dtype", "step"), [(np.uint8, 1), (np.float32, 1e-3)])
def test_one_pixel_that_differs_is_no_constant(dtype, step):
    """n values, one of which is d away: deviation d sqrt(n - 1) / n."""
    x = np.full((60, 16, 16, 1), 77, dtype)
    x[31, 4, 5, 0] += dtype(step)
    distance = float(x[31, 4, 5, 0]) - 77
    wanted = distance * np.sqrt(x.size - 1) / x.size
    wanted /= 255 if dtype == np.uint8 else 1
    np.testing.assert_allclose(dataset(x).mean_std[1][0], wanted, rtol=1e-9)


@pytest.mark.parametrize(
    ("offset", "scale"), [(1e6, 1.0), (-1e6, 30.0), (0, 1e-30), (0, 1e37), (1e-3, 1e-6)]
)
def test_offsets_and_scales(offset, scale):
    """Normalised in float32, to what float64 gives within the rounding of the mean."""
    noise = np.random.default_rng(0).standard_normal((40, 8, 8, 1)) * scale
    x = (noise + offset).astype(np.float32)
    wide = x.astype(np.float64)
    mean, std = dataset(x).mean_std
    np.testing.assert_allclose(std[0], wide.std(), rtol=1e-6)
    normal = np.asarray(data.normalise(jnp.asarray(x), data.Augment(mean, std)))
    bias = EPS * abs(offset) / scale  # of mean and pixel, half a rounding each
    wanted = (wide - wide.mean()) / wide.std()
    np.testing.assert_allclose(normal, wanted, atol=2 * bias + 1e-5)


def test_padding_is_black_or_the_mean():
    """The mean where 0 is farther from all values than these from each other."""
    columns = [
        (0, 255, 0),  # pictures
        (100, 255, 0),
        (200, 203, 202),  # round(201.5), halves to even
        (77, 77, 77),
        (0, 0, 0),
    ]
    x = np.array([[low, high] for low, high, _ in columns], np.uint8).T
    x = x.reshape(2, 1, 1, -1)
    assert moments_lib.moments(x).fill == tuple(float(f) for _, _, f in columns)
    far = np.array([1e6, 1e6 + 8], np.float32).reshape(2, 1, 1, 1)
    assert moments_lib.moments(far).fill == (1e6 + 4,)
    centred = np.array([-1.0, 3.0], np.float32).reshape(2, 1, 1, 1)
    assert moments_lib.moments(centred).fill == (0.0,)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_dead_channel_changes_no_other(dtype):
    """Case 1: augmented, the other channels are those of the set without it."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (30, 16, 16, 3)).astype(dtype)
    x[..., 2] = 77
    whole, without = dataset(x), dataset(x[..., :2].copy())
    outputs = []
    for one in (whole, without):
        made = data.for_training(one)
        images = jnp.asarray(one.x_train)
        outputs.append(np.asarray(augment.augment(jax.random.key(0), images, made)))
    np.testing.assert_array_equal(outputs[0][..., :2], outputs[1])
    assert np.abs(outputs[0][..., 2]).max() <= EPS  # where it is padded, too
