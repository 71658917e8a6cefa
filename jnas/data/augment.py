"""Augmentation on the device: crop, flip, normalise, cutout, in DARTS' order.

Source: arXiv:1806.09055, its released code; cutout: DeVries and Taylor 2017,
arXiv:1708.04552.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jnas import types
from jnas.data import dataset as dataset_lib


@dataclasses.dataclass(frozen=True)
class Augment:
    """Settings of the augmentation.

    Attributes:
      mean: mean of each channel, subtracted.
      std: standard deviation of each channel, divided by.
      crop_padding: zeros added on each side before a random crop, in pixels.
      flip: whether images are mirrored horizontally with probability 1/2.
      cutout: side of the square that is set to zero, in pixels; 0 disables it.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int = 0
    flip: bool = False
    cutout: int = 0


def for_search(dataset: dataset_lib.Dataset) -> Augment:
    """Returns the augmentation of a search: crop and flip.

    The padding is an eighth of the rows: 4 at 32 rows, as in the papers.

    Args:
      dataset: gives mean, standard deviation and whether flips are allowed.
    """
    mean, std = dataset.mean_std
    padding = max(1, dataset.image_shape[0] // 8)
    return Augment(mean, std, crop_padding=padding, flip=dataset.flip)


def for_training(dataset: dataset_lib.Dataset, *, cutout: int | None = None) -> Augment:
    """Returns the augmentation of training from scratch: crop, flip and cutout.

    Args:
      dataset: gives mean, standard deviation and whether flips are allowed.
      cutout: side of the square in pixels; 0 disables it; None means half the rows: 16
        at 32 rows, as in the papers.

    Raises:
      ValueError: cutout is negative or exceeds the rows of an image.
    """
    rows = dataset.image_shape[0]
    side = rows // 2 if cutout is None else cutout
    if not 0 <= side <= rows:
        raise ValueError(
            f"cutout must be from 0 to the image's {rows} rows, got {side}. "
            "Choose another side."
        )
    return dataclasses.replace(for_search(dataset), cutout=side)


def normalise(images: types.Array, settings: Augment) -> types.Array:
    """Scales uint8 to [0, 1], subtracts the mean, divides by the standard deviation.

    Args:
      images: uint8 or f32 [B, H, W, C].
      settings: gives mean and standard deviation.

    Returns:
      f32[B, H, W, C].
    """
    return (_unit(images) - jnp.array(settings.mean)) / jnp.array(settings.std)


def _unit(images: types.Array) -> types.Array:
    return images / jnp.float32(255) if images.dtype == jnp.uint8 else images


def draw(key: types.Key, shape: tuple, settings: Augment) -> dict[str, types.Array]:
    """Draws the random numbers of ``augment`` for each image.

    Args:
      key: consumed.
      shape: (B, H, W, C) of the images.
      settings: settings of the augmentation.

    Returns:
      ``top`` and ``left`` i32[B] of the crop in the padded image, ``flip`` bool[B],
      ``row`` and ``column`` i32[B] of the cutout's centre.
    """
    top_key, left_key, flip_key, row_key, column_key = jax.random.split(key, 5)
    batch, rows, columns, _ = shape
    ends = 2 * settings.crop_padding + 1
    return {
        "top": jax.random.randint(top_key, (batch,), 0, ends),
        "left": jax.random.randint(left_key, (batch,), 0, ends),
        "flip": jax.random.bernoulli(flip_key, 0.5, (batch,)),
        "row": jax.random.randint(row_key, (batch,), 0, rows),
        "column": jax.random.randint(column_key, (batch,), 0, columns),
    }


def augment(key: types.Key, images: types.Array, settings: Augment) -> types.Array:
    """Augments a batch, with independent random numbers for each image.

    Args:
      key: consumed.
      images: uint8 or f32 [B, H, W, C].
      settings: settings of the augmentation.

    Returns:
      f32[B, H, W, C], normalised. The crop pads with zeros (black) before
      normalisation; cutout sets pixels to zero (the mean) after it.
    """
    drawn = draw(key, images.shape, settings)
    _, rows, columns, _ = images.shape
    if settings.crop_padding:
        p = settings.crop_padding
        padded = jnp.pad(images, ((0, 0), (p, p), (p, p), (0, 0)))
        row = drawn["top"][:, None] + jnp.arange(rows)
        column = drawn["left"][:, None] + jnp.arange(columns)
        batch = jnp.arange(len(images))[:, None, None]
        images = padded[batch, row[:, :, None], column[:, None, :]]
    if settings.flip:
        mirrored = images[:, :, ::-1]
        images = jnp.where(drawn["flip"][:, None, None, None], mirrored, images)
    images = normalise(images, settings)
    if settings.cutout:
        blank = _inside(drawn["row"], rows, settings.cutout)[:, :, None]
        blank &= _inside(drawn["column"], columns, settings.cutout)[:, None, :]
        images = jnp.where(blank[..., None], 0, images)
    return images


def _inside(centre: types.Array, size: int, side: int) -> types.Array:
    """Returns bool[B, size], true inside a window of length side around each centre."""
    begin = centre[:, None] - side // 2
    positions = jnp.arange(size)
    return (positions >= begin) & (positions < begin + side)
