"""Baselines: hand-made networks described by JSON values, and of a wanted size.

``registry.BASELINES`` holds functions ``(num_classes, channels, image_shape, *,
features, dtype=None) -> networks.Network``; ``networks/hand_made.py`` has ours.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jnas import registry
from jnas.networks import count, hand_made, network
from jnas.networks import skeleton as skeleton_lib

KIND = "baseline"
DTYPES = ("float32", "bfloat16")
_MOST_FEATURES = 10_000
_PROBE = 64  # the first width that is counted

stages = hand_made.stages
as_network = hand_made.as_network


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A hand-made network of one size.

    Attributes:
      name: key in ``registry.BASELINES``.
      features: F of its last stage.
      num_classes: outputs.
      image_shape: rows, columns and channels of one image.
      dtype: of the activations, "float32" or "bfloat16".
    """

    name: str
    features: int
    num_classes: int
    image_shape: tuple[int, int, int]
    dtype: str = "float32"

    def __post_init__(self):
        """Raises ValueError or KeyError where a field breaks its rule."""
        _ = registry.BASELINES[self.name if isinstance(self.name, str) else ""]
        shape = tuple(self.image_shape)
        numbers = (self.features, self.num_classes, *shape)
        if len(shape) != 3 or any(type(n) is not int or n < 1 for n in numbers):
            raise ValueError(
                "baseline must have positive integers as features, num_classes and 3 "
                f"of image_shape, got {self.features!r}, {self.num_classes!r} and "
                f"{self.image_shape!r}. Correct it."
            )
        # the ranges of other networks' sizes
        skeleton_lib.Size(self.features, 1, self.num_classes, shape[2])
        if self.dtype not in DTYPES:
            raise ValueError(
                f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}. "
                "Choose one."
            )
        object.__setattr__(self, "image_shape", shape)

    def network(self) -> network.Network:
        """Builds the network."""
        return registry.BASELINES[self.name](
            self.num_classes,
            self.image_shape[2],
            self.image_shape,
            features=self.features,
            dtype=jnp.dtype(self.dtype),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON values, with ``"kind": "baseline"``."""
        values = dataclasses.asdict(self)
        return {"kind": KIND, **values, "image_shape": list(self.image_shape)}


def from_json(values: Mapping[str, Any]) -> Baseline:
    """Reads a baseline from what ``to_json`` returned.

    Args:
      values: JSON values, which may be foreign; ``kind`` may be left out.

    Raises:
      ValueError: a field is missing, unknown or breaks its rule.
      KeyError: a baseline that is not registered; the nearest is guessed.

    Example:
      >>> one = Baseline("resnet", 12, 10, (32, 32, 3))
      >>> from_json(one.to_json()) == one
      True
    """
    given = {key: value for key, value in values.items() if key != "kind"}
    names = [field.name for field in dataclasses.fields(Baseline)]
    wrong = sorted(set(given) ^ set(names), key=str)
    if wrong or values.get("kind", KIND) != KIND:
        raise ValueError(
            f"baseline must have exactly the fields {', '.join(names)}, got "
            f"{sorted(map(str, given))}. Correct {wrong[0] if wrong else 'its kind'!r}."
        )
    if not isinstance(given["image_shape"], list | tuple):
        raise ValueError(
            "image_shape must be a list of rows, columns and channels, got "
            f"{given['image_shape']!r:.80}. Correct it."
        )
    return Baseline(**given | {"image_shape": tuple(given["image_shape"])})


@functools.lru_cache(maxsize=1024)
def count_of(one: Baseline) -> int:
    """Counts a baseline's parameters without making them.

    Args:
      one: the baseline.
    """
    params, _ = jax.eval_shape(one.network().init, jax.random.key(0))
    return count.count_params(params)


def fit(
    name: str,
    num_classes: int,
    image_shape: tuple[int, int, int],
    *,
    parameters: int,
    above: float = 0.03,
    dtype: str = "float32",
) -> Baseline:
    """Returns the baseline whose number of parameters is nearest to a wanted one.

    Args:
      name: key in ``registry.BASELINES``; its parameters grow with its features.
      num_classes: outputs.
      image_shape: rows, columns and channels of one image.
      parameters: wanted number.
      above: by which share of it the baseline may be larger.
      dtype: of the activations.

    Raises:
      KeyError: a baseline that is not registered; the nearest is guessed.
      ValueError: one feature is too many already.
    """

    def of(features):
        return Baseline(name, features, num_classes, image_shape, dtype)

    limit = parameters * (1 + above)
    smallest = count_of(of(1))
    if smallest > limit:
        raise ValueError(
            f"parameters must be at least {smallest} for the baseline {name}, which "
            f"has as many with one feature, got {parameters}. Leave it out."
        )
    least, most = 0, _MOST_FEATURES  # the first is not too large, the second is
    while most - least > 1:
        guess = _guess(least, most, parameters, lambda n: count_of(of(n)))
        if count_of(of(guess)) <= parameters:
            least = guess
        else:
            most = guess
    near = [of(n) for n in (least, most) if n and count_of(of(n)) <= limit]
    return min(near, key=lambda one: abs(count_of(one) - parameters))


def narrowed(one: Baseline, fits: Callable[[Baseline], bool]) -> Baseline:
    """Returns the widest baseline, at most as wide as a given one, that fits.

    Args:
      one: the given one.
      fits: whether a baseline does; narrower ones of one that fits do too.

    Raises:
      ValueError: not even one feature does.
    """
    if fits(one):
        return one
    least, most = 0, one.features  # the second does not fit
    while most - least > 1:
        middle = (least + most) // 2
        if fits(dataclasses.replace(one, features=middle)):
            least = middle
        else:
            most = middle
    if not least:
        raise ValueError(
            f"limits must be kept by the baseline {one.name} with one feature, got "
            "one that exceeds them. Leave it out, or raise them."
        )
    return dataclasses.replace(one, features=least)


def _guess(least: int, most: int, wanted: int, count: Callable[[int], int]) -> int:
    """Returns a width between two, near to where counts reach a wanted one.

    Counts are nearly c n^2, c that of the wider network known so far.
    """
    if least < _PROBE < most:
        return _PROBE
    known = most if most < _MOST_FEATURES else least
    near = int(known * math.sqrt(wanted / count(known)))
    near += known == least  # a step beyond, so that it is enclosed soon
    return min(max(near, least + 1), most - 1)
