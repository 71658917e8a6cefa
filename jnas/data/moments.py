"""Mean, deviation and padding value of each channel, by which images are normalised."""

import math
from typing import NamedTuple

import numpy as np

CHUNK = 1024  # images that are widened at a time
EPS = float(np.finfo(np.float32).eps)
ROUNDING = 4 * EPS  # noise of computations in float32 deviates by about one EPS
RARE = 64 * EPS  # and has no spikes: a single pixel farther away is a signal
TINY = float(np.finfo(np.float32).tiny)  # what is smaller becomes 0 on a device


class Moments(NamedTuple):
    """What normalisation and padding need to know of each channel.

    Attributes:
      mean: mean, of uint8 after division by 255.
      std: standard deviation in the same unit; exactly 1 where the channel is constant
        within rounding.
      fill: value, in the images' own unit, that a crop pads with: 0 (black), or the
        mean where all values of the channel are farther from 0 than from each other.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    fill: tuple[float, ...]


def moments(images: np.ndarray) -> Moments:
    """Computes the moments of each channel.

    A uint8 channel is constant if all its values are equal; its sums are integers, so
    the result does not depend on their order. A float32 channel is constant within
    rounding if, relative to its largest magnitude, its deviation is ``ROUNDING`` at
    most and its range ``RARE`` at most: deviations up to 2.4e-7 around 0.5, 4.8e-5
    around 100. A channel around 0 is measured by its own values, never by those of
    other channels.

    Args:
      images: uint8 or f32 [N, H, W, C].
    """
    of = _of_integers if images.dtype == np.uint8 else _of_floats
    channels = zip(*of(images), *_range(images), strict=True)
    rows = [(m, s, _fill(m, *ends, images.dtype)) for m, s, *ends in channels]
    return Moments(*(tuple(column) for column in zip(*rows, strict=True)))


def _range(images: np.ndarray) -> tuple[list, list]:
    axes = (0, 1, 2)
    return images.min(axes).tolist(), images.max(axes).tolist()


def _fill(mean: float, low: float, high: float, dtype: np.dtype) -> float:
    spread = high - low
    if low - spread <= 0 <= high + spread:
        return 0.0
    return float(round(255 * mean)) if dtype == np.uint8 else mean


def _of_integers(images: np.ndarray) -> tuple[list[float], list[float]]:
    channels = images.shape[-1]
    sums, squares = np.zeros((2, channels), np.int64)
    for begin in range(0, len(images), CHUNK):
        wide = images[begin : begin + CHUNK].reshape(-1, channels).astype(np.int64)
        sums += wide.sum(0)
        squares += (wide * wide).sum(0)
    count = images.size // channels
    mean, std = [], []
    for a, b in zip(sums.tolist(), squares.tolist(), strict=True):
        spread = count * b - a * a  # Python's integers: exact, 0 for a constant alone
        mean.append(a / (255 * count))
        std.append(math.sqrt(spread) / (255 * count) if spread else 1.0)
    return mean, std


def _of_floats(images: np.ndarray) -> tuple[list[float], list[float]]:
    mean, std = [], []
    for channel, low, high in zip(
        np.moveaxis(images, -1, 0), *_range(images), strict=True
    ):
        wide = channel.astype(np.float64)
        deviation = float(wide.std())
        largest = max(abs(low), abs(high))
        constant = deviation <= ROUNDING * largest and high - low <= RARE * largest
        mean.append(low if low == high else float(wide.mean()))
        std.append(1.0 if constant or deviation < TINY else deviation)
    return mean, std
