"""Tests of the augmentation that is chosen: it keeps the image and is said."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data
from jnas.data import augment
from jnas.studies import (
    augmentation,
    compare_methods,
    search_discrete,
    search_gradient,
    train_scratch,
)


def dataset(rows, columns, flip=None, notes=()):
    """Returns eight white images of two classes."""
    x = np.full((8, rows, columns, 1), 255, np.uint8)
    x[0] = 0  # not constant
    y = np.arange(8, dtype=np.int32) % 2
    return data.Dataset("made", x, y, x, y, 2, flip=flip, notes=notes)


def least_left(size, padding, cutout):
    """Counts the image's pixels that remain in the worst draw, by brute force."""
    rows, columns = size
    found = []
    for top, left in itertools.product(*(range(2 * p + 1) for p in padding)):
        inside = np.zeros((rows + 2 * padding[0], columns + 2 * padding[1]), bool)
        inside[padding[0] : padding[0] + rows, padding[1] : padding[1] + columns] = True
        inside = inside[top : top + rows, left : left + columns]
        for row, column in itertools.product(range(rows), range(columns)):
            shown = inside.copy()
            begin = max(0, row - cutout // 2), max(0, column - cutout // 2)
            end = row - cutout // 2 + cutout, column - cutout // 2 + cutout
            shown[begin[0] : max(0, end[0]), begin[1] : max(0, end[1])] = False
            found.append(int(shown.sum()))
    return min(found)


SIZES = [(1, 1), (1, 2), (1, 9), (2, 3), (3, 9), (4, 4), (7, 7), (8, 8), (9, 8), (9, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_no_draw_removes_the_image(size):
    """Each crop and cutout that is allowed leaves a pixel; one more may not."""
    made = data.for_training(dataset(*size))
    assert least_left(size, made.padding, made.cutout)
    for padding in range(max(size) + 2):
        cutouts, fitting = range(max(size) + 2), []
        for cutout in cutouts:
            try:
                made = data.for_search(
                    dataset(*size), crop_padding=padding, cutout=cutout
                )
            except ValueError:
                continue
            assert least_left(size, made.padding, cutout) > 0
            fitting.append((cutout, made))
        assert bool(fitting) == (padding <= max(size) // 2)
        if fitting:  # the next larger square can blank all
            largest, made = fitting[-1]
            assert least_left(size, made.padding, largest + 1) == 0


@pytest.mark.parametrize("size", [(1, 64), (64, 1), (1, 7), (3, 64), (16, 16)])
def test_no_image_becomes_black(size):
    """A thousand images of case 2 in the compiled augmentation."""
    images = jnp.full((1000, *size, 1), 255, jnp.uint8)
    made = dataclasses.replace(
        data.for_training(dataset(*size)), mean=(0.0,), std=(1.0,)
    )
    got = jax.jit(augment.augment, static_argnums=2)(jax.random.key(0), images, made)
    shares = np.asarray(got > 0).reshape(1000, -1).mean(1)
    # 7/8 of a cropped axis stay, and a square of half the shorter side may be blank
    high, wide = (1 - p / side for p, side in zip(made.padding, size, strict=True))
    assert shares.min() >= high * wide - made.cutout**2 / (size[0] * size[1]) - 1e-6


@pytest.mark.parametrize(
    ("size", "padding", "cutout"),
    [
        ((32, 32), (4, 4), 16),  # the papers'
        ((28, 28), (3, 3), 14),
        ((8, 8), (1, 1), 4),
        ((7, 7), (0, 0), 3),
        ((1, 64), (0, 8), 0),
        ((64, 1), (8, 0), 0),
        ((6, 40), (0, 5), 3),
        ((48, 32), (6, 4), 16),
    ],
)
def test_defaults_follow_each_axis(size, padding, cutout):
    """An eighth of each axis from 8 pixels on, and half of the shorter one."""
    images = dataset(*size)
    assert data.for_search(images).padding == padding
    assert data.for_search(images).cutout == 0
    assert data.for_training(images).cutout == cutout
    assert data.for_training(images, policy="none") == data.Augment(
        *images.moments[:2], (0, 0), False, 0, images.moments.fill
    )


def test_draws_are_those_of_a_square():
    """Both axes drawn from their own keys, as for one padding: 28 rows give 0 to 6."""
    made = data.for_search(dataset(28, 28))
    key, shape = jax.random.key(5), (50, 28, 28, 1)
    top, left, *_ = jax.random.split(key, 5)
    drawn = augment.draw(key, shape, made)
    np.testing.assert_array_equal(drawn["top"], jax.random.randint(top, (50,), 0, 7))
    np.testing.assert_array_equal(drawn["left"], jax.random.randint(left, (50,), 0, 7))
    assert made.fill == (0.0,)


@pytest.mark.parametrize("declared", [True, False, None])
@pytest.mark.parametrize("policy", data.POLICIES)
@pytest.mark.parametrize("given", [True, False, None])
def test_who_is_mirrored(declared, policy, given):
    """A flag beats the policy; auto mirrors what is known to keep its label."""
    made = data.for_search(dataset(8, 8, declared), policy=policy, flip=given)
    wanted = {"auto": declared is True, "standard": True, "none": False}[policy]
    assert made.flip is (wanted if given is None else given)


UNKNOWN = "no mirroring (unknown whether it keeps the label; --flip turns it on)"
MAY = "mirroring (may change the label; --noflip turns it off)"
CHANGES = "mirroring (changes the label; --noflip turns it off)"


@pytest.mark.parametrize(
    ("size", "flip", "given", "line"),
    [
        ((32, 32), None, {}, f"crop by up to 4 pixels, {UNKNOWN}, cutout 16"),
        ((32, 32), True, {}, "crop by up to 4 pixels, mirroring, cutout 16"),
        (
            (8, 8),
            False,
            {},
            "crop by up to 1 pixel, no mirroring (it changes the label), cutout 4",
        ),
        ((1, 64), None, {}, f"crop by up to 8 columns, {UNKNOWN}, no cutout"),
        ((9, 1), True, {}, "crop by up to 1 row, mirroring, no cutout"),
        (
            (48, 32),
            True,
            dict(cutout=0),
            "crop by up to 6 rows and 4 columns, mirroring, no cutout",
        ),
        ((7, 7), None, dict(flip=True), f"no crop, {MAY}, cutout 3"),
        ((7, 7), False, dict(policy="standard"), f"no crop, {CHANGES}, cutout 3"),
        ((9, 9), True, dict(flip=False, cutout=1), "crop by up to 1 pixel, no mirro"),
        ((9, 9), None, dict(policy="none"), "none, images are normalised only"),
    ],
)
def test_the_line_says_what_is_done(size, flip, given, line):
    """Crop, mirroring with its reason, cutout."""
    images = dataset(*size, flip)
    text = data.describe(data.for_training(images, **given), images)
    assert text.startswith(f"augmentation: {line}")


def test_a_users_crop_is_for_axes_that_have_room():
    """Twice the shift must fit; one number serves a series and an image."""
    assert data.for_search(dataset(1, 64), crop_padding=4).padding == (0, 4)
    assert data.for_search(dataset(64, 64), crop_padding=32).padding == (32, 32)
    assert data.for_training(dataset(8, 8), crop_padding=4).cutout == 3  # 4 may blank
    with pytest.raises(ValueError, match="must be from 0 to 32, half of the longer"):
        data.for_search(dataset(1, 64), crop_padding=33)
    with pytest.raises(ValueError, match="must be one of auto, standard, none, got 'n"):
        data.for_search(dataset(1, 64), policy="never")


SETTINGS = [
    search_gradient.SearchSettings,
    search_discrete.DiscreteSettings,
    train_scratch.RetrainSettings,
    compare_methods.MethodsSettings,
]


@pytest.mark.parametrize("cls", SETTINGS)
def test_all_that_augment_have_the_flags(cls):
    """The fields of AugmentSettings are theirs, so run.json holds them."""
    own = {field.name: field for field in dataclasses.fields(cls)}
    for field in dataclasses.fields(augmentation.AugmentSettings):
        assert own[field.name] is not None
        assert own[field.name].default == field.default


def test_settings_give_the_augmentation_and_what_is_said():
    """Flags reach the augmentation; the line comes before the notes."""
    images = dataset(1, 64, notes=("left out 3 .txt",))
    training = train_scratch.RetrainSettings(flip=True, crop_padding=2, cutout=1)
    made = augmentation.build(training, images, how=data.for_training)
    assert (made.flip, made.padding, made.cutout) == (True, (0, 2), 1)
    default = augmentation.build(train_scratch.RetrainSettings(), dataset(32, 32))
    assert (default.flip, default.cutout) == (False, 0)
    said = []
    augmentation.announce(said.append, images, made)
    assert said == [
        f"augmentation: crop by up to 2 columns, {MAY}, cutout 1",
        "left out 3 .txt",
    ]
    with pytest.raises(ValueError, match="augment must be one of auto, standard, none"):
        augmentation.AugmentSettings(augment="all")
