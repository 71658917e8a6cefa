"""What turns a user's images into a network's input, kept with a trained model."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jnas import data as data_lib
from jnas import types
from jnas.data import dataset as dataset_lib
from jnas.data import picture
from jnas.models import architecture

UNITS = ("uint8", "float32")
_FAR = 8  # ranges of the training images by which values may lie outside theirs
_MOST = 1e30  # of numbers in the file, which are float32 in use
_LEAST = 1e-30  # of a standard deviation
_PIXELS = 1 << 26  # values of one picture
_BYTES = 32  # training images of larger values are not in 0..1


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How raw images, as the data set holds them, become a network's input.

    Attributes:
      image_shape: rows, columns and channels of the network's input; the shape [L, C]
        of a series, [F] of a vector.
      unit: "uint8" for pixels of 0 to 255, "float32" for the data set's own values.
      mean: mean of each channel, in units of 1 / 255 where the unit is uint8.
      std: standard deviation of each channel, likewise.
      low: smallest value of the training images.
      high: largest value of the training images.
      shrink: factor by which the data set's images were downscaled before; its own
        images have ``shrink`` times as many rows and columns.
      background: colour behind transparent pixels of picture files.
      source: name of the data set.
    """

    image_shape: tuple[int, ...]
    unit: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: float
    high: float
    shrink: int = 1
    background: str = "white"
    source: str = ""

    def __post_init__(self):
        """Raises ValueError where a field breaks its rule."""
        _check(self)

    @property
    def full_shape(self) -> tuple[int, ...]:
        """Rows, columns and channels of an image before it is downscaled."""
        if len(self.image_shape) != 3:
            return self.image_shape
        rows, columns, channels = self.image_shape
        return rows * self.shrink, columns * self.shrink, channels

    def normalise(self, pixels: types.Array) -> types.Array:
        """Normalises as training did.

        Args:
          pixels: f32[B, H, W, C], raw, in the data set's own unit; 0 to 255 of uint8.

        Returns:
          f32[B, H, W, C].
        """
        if self.unit == "uint8":
            pixels = pixels / jnp.float32(255)
        augment = data_lib.Augment(self.mean, self.std)
        return data_lib.normalise(pixels, augment)

    def check(self, images: Any) -> np.ndarray:
        """Checks a user's images and downscales them where they have their full size.

        Args:
          images: one image [H, W, C] or, of one channel, [H, W]; or several, [N, ...].
            uint8, or floats in the data set's own unit. H and W are those of
            ``image_shape`` or of ``full_shape``.

        Returns:
          [N, H, W, C] of ``image_shape``, uint8 or float32.

        Raises:
          ValueError: another shape, values out of range, or none that are finite.
          TypeError: other types, such as text.
        """
        images = _typed(np.asarray(images), self.unit)
        images = _stacked(images, self)
        _check_values(images, self)
        if images.shape[1:] == self.image_shape:
            return images
        small = dataset_lib.downscale(images, self.shrink)
        return np.round(small) if self.unit == "uint8" else small

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as JSON values."""
        values = dataclasses.asdict(self).items()
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values}


def of_dataset(
    dataset: data_lib.Dataset, *, shrink: int = 1, background: str = "white"
) -> Preprocessing:
    """Returns the preprocessing of networks that are trained on a data set.

    Args:
      dataset: the data set, downscaled already.
      shrink: the factor by which it was downscaled.
      background: colour behind transparent pixels, where it was read from a folder.
    """
    mean, std = dataset.mean_std
    return Preprocessing(
        image_shape=tuple(dataset.image_shape),
        unit=str(dataset.x_train.dtype),
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        low=dataset.facts.low,
        high=dataset.facts.high,
        shrink=shrink,
        background=background,
        source=dataset.name,
    )


def from_json(fields: Mapping[str, Any]) -> Preprocessing:
    """Reads the fields from JSON values, which may be foreign.

    Args:
      fields: what ``to_json`` returned.

    Raises:
      ValueError: a field is missing, unknown or breaks its rule.
    """
    names = [field.name for field in dataclasses.fields(Preprocessing)]
    architecture.check_keys("preprocessing", fields, names)
    lists = {k: tuple(v) for k, v in fields.items() if isinstance(v, list)}
    return Preprocessing(**{**fields, **lists})


def _check(one: Preprocessing) -> None:
    """Checks every field; a message names the first that breaks its rule."""
    axes = len(one.image_shape) if isinstance(one.image_shape, tuple) else 0
    sized = 1 <= axes <= 3 and _is_sizes(one.image_shape, axes)
    channels = one.image_shape[-1] if sized else 0
    backgrounds = tuple(picture.BACKGROUNDS)
    several = "hold a finite number for each channel, of std above 0"
    rules = {
        "image_shape": (
            sized and math.prod(one.image_shape) <= _PIXELS,
            f"be up to three integers from 1 to 100000 of at most {_PIXELS:,} values",
        ),
        "unit": (one.unit in UNITS, f"be one of {', '.join(UNITS)}"),
        "mean": (_is_numbers(one.mean, channels), several),
        "std": (_is_numbers(one.std, channels) and min(one.std) >= _LEAST, several),
        "low": (_is_numbers((one.low,), 1), "be a finite number"),
        "high": (_is_numbers((one.high,), 1), "be a finite number"),
        "shrink": (
            _is_sizes((one.shrink,), 1)
            and (not sized or math.prod(one.image_shape) * one.shrink**2 <= _PIXELS)
            and (axes == 3 or one.shrink == 1),
            f"be an integer that gives pictures of at most {_PIXELS:,} values",
        ),
        "background": (one.background in backgrounds, "be white or black"),
        "source": (isinstance(one.source, str), "be a text"),
    }
    for name, (ok, rule) in rules.items():
        if not ok:
            raise ValueError(
                f"preprocessing.{name} must {rule}, got {getattr(one, name)!r:.80}. "
                "Restore the file."
            )


def _is_sizes(values: Any, count: int) -> bool:
    ok = isinstance(values, tuple) and len(values) == count
    return ok and all(type(v) is int and 1 <= v <= 100_000 for v in values)


def _is_numbers(values: Any, count: int) -> bool:
    ok = isinstance(values, tuple) and len(values) == count
    # abs first: math.isfinite fails on integers beyond float64
    return ok and all(type(v) in (int, float) and abs(v) <= _MOST for v in values)


def _typed(images: np.ndarray, unit: str) -> np.ndarray:
    """Returns uint8 or float32 images, without a change of value."""
    if images.dtype.kind not in "uif":
        raise TypeError(
            f"images must be uint8 or floats, got {images.dtype}. Convert them."
        )
    if images.dtype == np.uint8 and unit == "float32":
        raise ValueError(
            "images must be floats like the training images, got uint8. Scale them as "
            "the training images were."
        )
    return images if images.dtype == np.uint8 else images.astype(np.float32)


def _stacked(images: np.ndarray, how: Preprocessing) -> np.ndarray:
    """Returns [N, H, W, C] of the model's size or of its full size."""
    for shape in dict.fromkeys((how.image_shape, how.full_shape)):
        flat = shape[:-1] if shape[-1] == 1 and len(shape) > 1 else None
        if images.shape in (shape, flat):
            return images.reshape(1, *shape)
        if images.ndim >= len(shape) and images.shape[1:] in (shape, flat):
            return images.reshape(len(images), *shape)
    if len(how.image_shape) != 3:
        shown = ", ".join(map(str, how.image_shape))
        raise ValueError(
            f"inputs must have the shape [{shown}] or [N, {shown}], got shape "
            f"{images.shape}. Reshape them."
        )
    rows, columns, channels = how.full_shape
    raise ValueError(
        f"images must be {rows}x{columns} pixels with {channels} channel"
        f"{'s' * (channels > 1)}, [{rows}, {columns}, {channels}] or [N, {rows}, "
        f"{columns}, {channels}], got shape {images.shape}. Resize them, or write "
        "x[..., None] or x.transpose(0, 2, 3, 1) where axes are missing or in another "
        "order."
    )


def _check_values(images: np.ndarray, how: Preprocessing) -> None:
    """Refuses values that the data set's own unit does not have."""
    if images.dtype == np.uint8 or not images.size:
        return
    finite = np.isfinite(images).reshape(len(images), -1).all(1)
    if not finite.all():
        bad = int(np.flatnonzero(~finite)[0])
        raise ValueError(
            f"images must be finite, got NaN or infinity in image {bad}. Remove it."
        )
    low, high = float(images.min()), float(images.max())
    largest = max(abs(low), abs(high))
    got = f"got values from {low:.4g} to {high:.4g}"
    if how.unit == "uint8":
        if low < 0 or high > 255:
            raise ValueError(
                f"images must have pixels from 0 to 255, as uint8 holds, {got}. Undo "
                "the normalisation: the model has its own."
            )
        if 0 < largest <= 1:
            raise ValueError(
                f"images must have pixels from 0 to 255, {got}, which is almost black. "
                "Write 255 * x if they are from 0 to 1, or x.astype(np.uint8)."
            )
        return
    spread = _FAR * max(how.high - how.low, 1e-30)
    trained = f"values like the training images', {how.low:.4g} to {how.high:.4g}"
    if low < how.low - spread or high > how.high + spread:
        raise ValueError(
            f"images must have {trained}, {got}. Scale them as those were."
        )
    if how.high > _BYTES and how.low >= 0 and 0 < largest <= 1:
        raise ValueError(
            f"images must have {trained}, {got}. Scale them as those were, such as by "
            "255."
        )
