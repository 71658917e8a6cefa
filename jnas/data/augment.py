"""Augmentation on the device: crop, flip, normalise, cutout, in DARTS' order.

Source: arXiv:1806.09055, its released code; cutout: DeVries and Taylor 2017,
arXiv:1708.04552.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jnas import types


@dataclasses.dataclass(frozen=True)
class Augment:
    """Settings of the augmentation.

    Attributes:
      mean: mean of each channel, subtracted.
      std: standard deviation of each channel, divided by.
      crop_padding: pixels added on each side before a random crop, (rows, columns);
        one number is for both.
      flip: whether images are mirrored horizontally with probability 1/2.
      cutout: side of the square that is set to zero, in pixels; 0 disables it. It may
        be a traced i32[].
      fill: value of the added pixels in each channel, in the images' own unit; empty
        means 0 (black).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int | tuple[int, int] = 0
    flip: bool = False
    cutout: int = 0
    fill: tuple[float, ...] = ()

    @property
    def padding(self) -> tuple[int, int]:
        """Pixels added above and below, and left and right."""
        given = self.crop_padding
        return (given, given) if isinstance(given, int) else given


def normalise(images: Any, settings: Any) -> Any:
    """Scales uint8 to [0, 1], subtracts the mean, divides by the standard deviation.

    Args:
      images: uint8 or f32 [B, H, W, C], or other arrays [B, ..., C]; or a tree of them.
      settings: gives mean and standard deviation; a tree of them, one for each array;
        or a task's ``prepare``.

    Returns:
      f32 of the same shapes. An array without means stays as it is.
    """
    if callable(settings):
        return settings(None, images)
    if not isinstance(settings, Augment):
        return jax.tree.map(lambda own, one: normalise(one, own), settings, images)
    if not settings.mean:
        return images
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
    high, wide = settings.padding
    return {
        "top": jax.random.randint(top_key, (batch,), 0, 2 * high + 1),
        "left": jax.random.randint(left_key, (batch,), 0, 2 * wide + 1),
        "flip": jax.random.bernoulli(flip_key, 0.5, (batch,)),
        "row": jax.random.randint(row_key, (batch,), 0, rows),
        "column": jax.random.randint(column_key, (batch,), 0, columns),
    }


def augment(key: types.Key, images: Any, settings: Any) -> Any:
    """Augments a batch, with independent random numbers for each image.

    Args:
      key: consumed.
      images: uint8 or f32 [B, H, W, C]. Other arrays, and trees, are normalised only.
      settings: of the augmentation; as for ``normalise``.

    Returns:
      f32[B, H, W, C], normalised. The crop pads with ``fill`` before normalisation;
      cutout sets pixels to zero (the mean) after it.
    """
    if callable(settings):
        return settings(key, images)
    if not isinstance(settings, Augment) or images.ndim != 4:
        return normalise(images, settings)
    drawn = draw(key, images.shape, settings)
    _, rows, columns, _ = images.shape
    if any(settings.padding):
        padded = _pad(images, settings)
        # not by indices of the batch, for which devices that split it would gather it
        images = jax.vmap(functools.partial(_window, shape=images.shape[1:]))(
            padded, drawn["top"], drawn["left"]
        )
    if settings.flip:
        mirrored = images[:, :, ::-1]
        images = jnp.where(drawn["flip"][:, None, None, None], mirrored, images)
    images = normalise(images, settings)
    if isinstance(settings.cutout, jax.Array) or settings.cutout:  # it may be traced
        blank = _inside(drawn["row"], rows, settings.cutout)[:, :, None]
        blank &= _inside(drawn["column"], columns, settings.cutout)[:, None, :]
        images = jnp.where(blank[..., None], 0, images)
    return images


def _pad(images: types.Array, settings: Augment) -> types.Array:
    high, wide = settings.padding
    widths = ((0, 0), (high, high), (wide, wide), (0, 0))
    if not any(settings.fill):
        return jnp.pad(images, widths)
    fill = jnp.array(settings.fill).astype(images.dtype)
    inside = jnp.pad(jnp.ones(images.shape[:3], bool), widths[:3])
    return jnp.where(inside[..., None], jnp.pad(images, widths), fill)


def _window(image: types.Array, top: types.Array, left: types.Array, shape: tuple):
    return jax.lax.dynamic_slice(image, (top, left, 0), shape)


def _inside(centre: types.Array, size: int, side: int) -> types.Array:
    """Returns bool[B, size], true inside a window of length side around each centre."""
    begin = centre[:, None] - side // 2
    positions = jnp.arange(size)
    return (positions >= begin) & (positions < begin + side)
