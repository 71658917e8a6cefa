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
        ((20, 64, 64, 13), (0, 3, 1, 2)),  # bands of a satellite
        ((20, 16, 16, 2), (0, 3, 1, 2)),  # real and imaginary, a flow
        ((20, 32, 32, 5), (0, 3, 1, 2)),
        ((20, 8, 8, 64), (0, 3, 1, 2)),  # features of a network
        ((20, 16, 17, 2), (0, 3, 1, 2)),
        ((20, 32, 32, 3), (1, 2, 3, 0)),  # [H, W, C, N]
        ((32, 20, 32, 1), (1, 2, 3, 0)),
        ((20, 32, 40, 3), (3, 1, 2, 0)),  # [C, H, W, N]
        ((20, 64, 64, 13), (3, 1, 2, 0)),
        ((20, 16, 16, 2), (3, 1, 2, 0)),
        ((20, 64, 64, 13), (1, 2, 3, 0)),
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


@pytest.mark.parametrize("rows", [2, 3, 5, 13, 64])
def test_the_other_reading_of_a_square_is_accepted(rows):
    """Some rows, 32 columns and 32 channels: the second expression of the message."""
    x = images(20, rows, 32, 32)
    with pytest.raises(ValueError, match=r"or x.transpose\(0, 2, 1, 3\) if these are"):
        read(x)
    assert read(x.transpose(0, 2, 1, 3)).image_shape == (32, rows, 32)


def test_one_image_is_refused():
    """[H, W, C] with one label."""
    with pytest.raises(ValueError, match=r"x\[None\], since this is one image"):
        read(images(32, 32, 3), 1)


@pytest.mark.parametrize(
    ("shape", "turn"),
    [
        ((20, 784), "x.reshape(-1, 28, 28), or x[:, None, :, None] for series, or use"),
        ((20, 3072), "x.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), or x[:, None"),
        ((20, 63), "x[:, None, :, None] for series, use --inputs=vectors"),
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
        (20, 16, 16, 13),
        (20, 7, 7, 512),
        (20, 64, 64, 128),
        (20, 48, 32, 200),
        (20, 64, 16, 32),
        (20, 2, 64, 3),
        (20, 13, 4, 4),
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


FIRST = "come first, write x.transpose(0, 2, 3, 1)."
MIDDLE = "are the middle axis, write x.transpose(0, 1, 3, 2)."


@pytest.mark.parametrize(
    ("shape", "note"),
    [
        ((3, 64, 9), FIRST),
        ((4, 5, 5), FIRST),
        ((1, 64, 12), FIRST),
        ((1, 50, 300), FIRST),
        ((1, 1, 9), FIRST),
        ((2, 64, 9), FIRST),
        ((13, 48, 64), FIRST),
        ((512, 7, 7), FIRST),
        ((32, 3, 32), MIDDLE),
        ((48, 3, 64), MIDDLE),
        ((64, 1, 12), MIDDLE),
        ((32, 13, 32), MIDDLE),
        ((13, 16, 13), MIDDLE),
    ],
)
def test_ambiguous_channels_are_read_and_said(shape, note):
    """What can be both is read as documented; the note's transpose says no more."""
    x = images(20, *shape)
    (said,) = read(x).notes
    rows, columns, channels = read(x).image_shape
    assert (rows, columns, channels) == shape
    text = f"images of {rows}x{columns} pixels with {channels} channels. If channels "
    assert said.startswith("x_train of mine of shape") and text + note in said
    where = 1 if note == FIRST else 2
    turned = read(advised(f"W{note[note.index('write') + 1 :]}", x))
    assert turned.image_shape == np.moveaxis(x, where, 3).shape[1:]
    assert turned.notes == ()


def test_a_cube_is_said():
    """64 channels of 64x64 pixels look the same in either order."""
    (said,) = read(images(20, 64, 64, 64)).notes
    assert said.endswith(FIRST)


@pytest.mark.parametrize(
    ("shape", "turn"),
    [
        ((20, 128, 9), "x[:, None]."),
        ((20, 9, 128), "x.transpose(0, 2, 1)[:, None]."),
    ],
)
def test_series_that_may_be_grey_images_are_said(shape, turn):
    """[N, L, C] with some channels is read as grey images; one note."""
    found = read(images(*shape))
    assert found.image_shape == (*shape, 1)[1:4]
    (said,) = found.notes
    text = f"grey images of {shape[1]}x{shape[2]} pixels. For series with 9 channels, "
    assert said.startswith("x_train of mine of shape")
    assert f"{text}write {turn}" in said
