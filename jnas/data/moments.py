"""Mean, deviation and padding value of each channel, by which images are normalised."""

import math
from typing import NamedTuple

import numpy as np

from jnas.data import source

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


def moments(images: source.Source) -> Moments:
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
    sums = Sums(images.shape[-1], images.dtype)
    for part in source.parts(images):
        sums.add(part)
    return sums.moments()


class Sums:
    """Sums over images that come part by part, from which moments are computed.

    Integers are summed exactly; of floats, means and squared deviations of the parts
    are joined in float64 (Chan, Golub and LeVeque 1983, equation 2.1).
    """

    def __init__(self, channels: int, dtype: np.dtype):
        """Begins with no image.

        Args:
          channels: C.
          dtype: uint8 or float32; of other integers there are no moments.
        """
        self._counted = dtype in (np.uint8, np.float32)
        self._integers = dtype == np.uint8
        self._count = 0
        self._low = np.full(channels, np.inf)
        self._high = np.full(channels, -np.inf)
        kind = np.int64 if self._integers else np.float64
        # of integers sums and sums of squares, of floats means and squared deviations
        self._first, self._second = np.zeros((2, channels), kind)

    @property
    def low(self) -> float:
        """The smallest value of all channels."""
        return float(self._low.min())

    @property
    def high(self) -> float:
        """The largest value of all channels."""
        return float(self._high.max())

    def add(self, images: np.ndarray) -> None:
        """Adds some images.

        Args:
          images: [R, H, W, C].
        """
        values = images.reshape(-1, len(self._low))
        self._low = np.minimum(self._low, values.min(0))
        self._high = np.maximum(self._high, values.max(0))
        wide = values.astype(np.int64 if self._integers else np.float64)
        if self._integers:
            self._first += wide.sum(0)
            self._second += (wide * wide).sum(0)
            self._count += len(values)
            return
        total = self._count + len(values)
        mean = wide.mean(0)
        away = mean - self._first
        self._second += ((wide - mean) ** 2).sum(0)
        self._second += away * away * (self._count * len(values) / total)
        self._first += away * (len(values) / total)
        self._count = total

    def moments(self) -> Moments:
        """Returns the moments of all images so far; () each of other integers."""
        if not self._counted:
            return Moments((), (), ())
        ends = list(zip(self._low.tolist(), self._high.tolist(), strict=True))
        of = _of_integers if self._integers else _of_floats
        rows = []
        for first, second, (low, high) in zip(
            self._first.tolist(), self._second.tolist(), ends, strict=True
        ):
            mean, std = of(first, second, self._count, low, high)
            rows.append((mean, std, _fill(mean, low, high, self._integers)))
        return Moments(*(tuple(column) for column in zip(*rows, strict=True)))


def _fill(mean: float, low: float, high: float, integers: bool) -> float:
    spread = high - low
    if low - spread <= 0 <= high + spread:
        return 0.0
    return float(round(255 * mean)) if integers else mean


def _of_integers(total, squares, count, low, high) -> tuple[float, float]:
    spread = count * squares - total * total  # exact, 0 for a constant alone
    std = math.sqrt(spread) / (255 * count) if spread else 1.0
    return total / (255 * count), std


def _of_floats(mean, squares, count, low, high) -> tuple[float, float]:
    deviation = math.sqrt(squares / count)
    largest = max(abs(low), abs(high))
    constant = deviation <= ROUNDING * largest and high - low <= RARE * largest
    std = 1.0 if constant or deviation < TINY else deviation
    return low if low == high else mean, std
