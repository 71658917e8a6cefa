"""Tests of arrays whose axes lie otherwise: what is advised gives what was meant."""

import re

import numpy as np
import pytest

from jnas.data import validate


def read(x, num_labels=None):
    """Validates images that serve as both splits."""
    y = np.arange(len(x) if num_labels is None else num_labels) % 2
    return validate.validate(x, y, x, y, name="mine")


def images(*shape):
    """Returns images that differ."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def advised(message, x):
    """Returns what the first transpose of a message makes of an array."""
    axes = re.search(r"Write x\.transpose\(([\d, ]+)\)", message)[1]
    return x.transpose([int(axis) for axis in axes.split(", ")])


@pytest.mark.parametrize(
    ("meant", "axes"),
    [
        ((20, 28, 28, 1), (0, 3, 1, 2)),  # [N, C, H, W]
        ((20, 32, 32, 3), (0, 3, 1, 2)),
        ((20, 8, 8, 4), (0, 3, 1, 2)),
        ((20, 48, 64, 3), (0, 3, 1, 2)),
        ((20, 32, 32, 3), (1, 2, 3, 0)),  # [H, W, C, N]
        ((32, 20, 32, 1), (1, 2, 3, 0)),
        ((20, 32, 40, 3), (3, 1, 2, 0)),  # [C, H, W, N]
        ((20, 28, 28), (1, 2, 0)),  # [H, W, N]
    ],
)
def test_other_layouts_are_refused_with_the_transpose(meant, axes):
    """What the message says turns the array back, and is then accepted."""
    x = images(*meant)
    with pytest.raises(ValueError, match=r"x_train of mine must have .* Write x") as e:
        read(x.transpose(axes), len(x))
    np.testing.assert_array_equal(advised(str(e.value), x.transpose(axes)), x)
    assert read(x).x_train.shape[:3] == meant[:3]


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_series_with_channels_are_refused_with_both_readings(channels):
    """[N, L, C] is one row of L steps, or a grey image: the user says which."""
    x = images(20, 64, channels)
    with pytest.raises(ValueError, match=r"Write x\[:, None\] for series of 64 steps"):
        read(x)
    assert read(x[:, None]).image_shape == (1, 64, channels)
    assert read(x[..., None]).image_shape == (64, channels, 1)


def test_the_other_reading_of_a_square_is_accepted():
    """Three rows, 32 columns and 32 channels: the second expression of the message."""
    x = images(20, 3, 32, 32)
    with pytest.raises(ValueError, match=r"or x.transpose\(0, 2, 1, 3\) if these are"):
        read(x)
    assert read(x.transpose(0, 2, 1, 3)).image_shape == (32, 3, 32)


def test_one_image_is_refused():
    """[H, W, C] with one label."""
    with pytest.raises(ValueError, match=r"x\[None\], since this is one image"):
        read(images(32, 32, 3), 1)


@pytest.mark.parametrize(
    ("shape", "turn"),
    [
        ((20, 784), "x.reshape(-1, 28, 28), or x[:, None, :, None] for series."),
        ((20, 3072), "x.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), or x[:, None"),
        ((20, 63), "x[:, None, :, None] for series, or reshape it."),
    ],
)
def test_flattened_images_are_refused_with_the_reshape(shape, turn):
    """784 pixels are 28x28, 3,072 are CIFAR's planes, 63 are a series."""
    with pytest.raises(ValueError) as error:
        read(images(*shape))
    assert f"Write {turn}" in str(error.value)


@pytest.mark.parametrize(
    "shape",
    [
        (20, 1, 64, 1),
        (20, 1, 64, 3),
        (20, 1, 64, 4),
        (20, 3, 32, 3),
        (20, 3, 3, 1),
        (20, 3, 64, 1),
        (20, 64, 1, 1),
        (20, 64, 64, 12),
        (20, 2, 64, 64),
        (20, 28, 28),
        (20, 1, 64),
        (20, 64, 1),
        (20, 3, 3),
        (20, 48, 64),
    ],
)
def test_plausible_images_are_read_without_a_word(shape):
    """Rows x columns x channels, a series of one row, grey images."""
    found = read(images(*shape))
    assert found.image_shape == (*shape, 1)[1:4] and found.notes == ()


@pytest.mark.parametrize(
    ("shape", "note"),
    [
        ((20, 3, 64, 9), "is read as images of 3x64 pixels with 9 channels. If chann"),
        ((20, 4, 5, 5), "is read as images of 4x5 pixels with 5 channels. If channels"),
        ((20, 1, 64, 12), "is read as images of 1x64 pixels with 12 channels. If cha"),
        ((20, 1, 50, 300), "is read as images of 1x50 pixels with 300 channels. If c"),
        ((20, 128, 9), "grey images of 128x9 pixels. For series with 9 channels, write "
         "x[:, None]."),
        ((20, 9, 128), "grey images of 9x128 pixels. For series with 9 channels, write "
         "x.transpose(0, 2, 1)[:, None]."),
    ],
)  # fmt: skip
def test_ambiguous_axes_are_read_and_said(shape, note):
    """What can be both is read as documented; one note, of the training split."""
    found = read(images(*shape))
    assert found.image_shape == (*shape, 1)[1:4]
    (said,) = found.notes
    assert said.startswith("x_train of mine of shape") and note in said
