"""Tests of the augmentation against a slow loop over images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data
from jnas.data import augment, batches


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
@pytest.mark.parametrize(("flip", "cutout"), [(True, 4), (False, 0), (True, 3)])
@pytest.mark.parametrize(
    ("given", "pads", "fill"),
    [
        (2, (2, 2), ()),
        ((0, 2), (0, 2), (0.0, 0.0)),
        ((1, 3), (1, 3), (7.0, 9.0)),
        ((0, 0), (0, 0), (7.0, 9.0)),
    ],
)
def test_augment_is_the_loop(dtype, size, flip, cutout, given, pads, fill):
    """Crop, flip, normalise, cutout of every image, by hand from the same draws."""
    images = np.random.default_rng(0).integers(0, 255, (20, *size, 2)).astype(dtype)
    settings = data.Augment((0.3, 0.4), (0.5, 2.0), given, flip, cutout, fill)
    key = jax.random.key(3)
    got = augment.augment(key, jnp.asarray(images), settings)
    drawn = jax.device_get(augment.draw(key, images.shape, settings))
    for i, image in enumerate(images):
        padded = np.zeros((size[0] + 2 * pads[0], size[1] + 2 * pads[1], 2))
        padded[...] = fill or 0
        padded[pads[0] :, pads[1] :][: size[0], : size[1]] = image
        top, left = drawn["top"][i], drawn["left"][i]
        want = padded[top : top + size[0], left : left + size[1]]
        want = want / 255 if dtype == np.uint8 else want
        if flip and drawn["flip"][i]:
            want = want[:, ::-1]
        want = (want - [0.3, 0.4]) / [0.5, 2.0]
        if cutout:
            row, column = drawn["row"][i], drawn["column"][i]
            begins = max(0, row - cutout // 2), max(0, column - cutout // 2)
            ends = row - cutout // 2 + cutout, column - cutout // 2 + cutout
            want[begins[0] : ends[0], begins[1] : ends[1]] = 0
        np.testing.assert_allclose(got[i], want, atol=1e-4)


def test_augment_jits_vmaps_and_repeats():
    """jit is eager, vmap over keys is a loop, a key gives one result."""
    images = jnp.asarray(
        np.random.default_rng(0).integers(0, 255, (6, 6, 6, 1)), "uint8"
    )
    settings = data.Augment((0.5,), (0.5,), 1, True, 2)
    keys = jax.random.split(jax.random.key(0), 3)

    def run(key):
        return augment.augment(key, images, settings)

    together = jax.jit(jax.vmap(run))(keys)
    for key, one in zip(keys, together, strict=True):
        np.testing.assert_allclose(run(key), one, atol=1e-6)
    assert not np.array_equal(together[0], together[1])


def test_draws_are_uniform():
    """Half of the images flip; every offset comes as often as the others."""
    drawn = augment.draw(
        jax.random.key(0), (9000, 8, 8, 1), data.Augment((0,), (1,), (1, 3))
    )
    # deviations: .005 of a flip, .005 of an offset's third; five of each
    assert abs(float(drawn["flip"].mean()) - 0.5) < 0.026
    share = np.bincount(drawn["top"], minlength=3) / 9000
    np.testing.assert_allclose(share, 1 / 3, atol=0.025)
    share = np.bincount(drawn["left"], minlength=7) / 9000
    np.testing.assert_allclose(share, 1 / 7, atol=0.019)


def test_order_is_a_permutation_of_key_and_epoch():
    """Each example at most once; another epoch, another order."""
    key = jax.random.key(0)
    first = batches.order(key, 0, 10, 3)
    assert first.shape == (3, 3) and len(set(first.reshape(-1).tolist())) == 9
    assert not np.array_equal(first, batches.order(key, 1, 10, 3))
    np.testing.assert_array_equal(first, batches.order(key, 0, 10, 3))
