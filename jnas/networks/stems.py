"""The stems: what a network does to its images before the first cell.

Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055, and its released code, for both.
"""

from collections.abc import Callable
from typing import NamedTuple

from flax import nnx

from jnas import ops, registry, types

AUTO = "auto"
LARGE = 129  # rows and columns from which "auto" is the ImageNet stem


class Stem(NamedTuple):
    """A stem: how to build it, and what the first cell reads of it.

    Attributes:
      build: (norm, rngs) -> module that maps images f32[B, H, W, channels] to one
        state, which both inputs of the first cell read, or to the pair of them.
      features: F of the two inputs.
      strides: pixels of the image that a pixel of each input covers, on each axis.
      imagenet_head: whether the auxiliary head is that of ImageNet.
    """

    build: Callable[..., nnx.Module]
    features: tuple[int, int]
    strides: tuple[int, int]
    imagenet_head: bool = False


def named(name: str, image_shape: tuple[int, ...]) -> str:
    """Returns the name of a stem: the one given, or that which suits the images.

    Args:
      name: key in ``registry.STEMS``, or "auto".
      image_shape: rows, columns and channels of one image; others have the small one.

    Raises:
      KeyError: a stem that is not registered; the nearest is guessed.

    Example:
      >>> named("auto", (128, 224, 3)), named("auto", (224, 224, 3))
      ('small', 'imagenet')
    """
    if name == AUTO:
        of_images = not isinstance(image_shape, dict) and len(image_shape) == 3
        large = of_images and min(image_shape[:2]) >= LARGE
        return "imagenet" if large else "small"
    _ = registry.STEMS[name]  # raises
    return name


@registry.STEMS.register
def small(num_inputs: int, features: int, channels: int) -> Stem:
    """Describes a 3x3 convolution and a norm, three times as wide for two inputs.

    Args:
      num_inputs: of the cells.
      features: F of the first cells' states.
      channels: of the images.
    """
    width = features * (3 if num_inputs == 2 else 1)

    def build(norm, rngs):
        conv = ops.Conv(channels, width, (3, 3), rngs=rngs)
        return ops.stack(conv, norm(width, rngs=rngs))

    return Stem(build, (width, width), (1, 1))


@registry.STEMS.register
def imagenet(num_inputs: int, features: int, channels: int) -> Stem:
    """Describes three 3x3 convolutions of stride 2, which leave an eighth of each axis.

    stem0: convolution to features / 2, norm, ReLU, convolution to features, norm;
    stem1: ReLU, convolution, norm. A cell of two inputs reads both.

    Args:
      num_inputs: of the cells.
      features: F of the first cells' states; even.
      channels: of the images.

    Raises:
      ValueError: an odd number of features.
    """
    del num_inputs  # a cell of one input reads stem1
    if features % 2:
        raise ValueError(
            "features must be even for the ImageNet stem, whose first convolution has "
            f"half of them, got {features}. Choose an even number or --stem=small."
        )

    def build(norm, rngs):
        return _ImageNetStem(channels, features, norm, rngs)

    return Stem(build, (features, features), (4, 8), imagenet_head=True)


class _ImageNetStem(nnx.Module):
    """The ImageNet stem as a module."""

    def __init__(self, channels, features, norm, rngs):
        """Makes stem0 and stem1."""
        conv = ops.Conv(channels, features // 2, (3, 3), stride=2, rngs=rngs)
        kernel = {"kernel": (3, 3), "stride": 2, "norm": norm, "rngs": rngs}
        self.stem0 = ops.stack(
            conv,
            norm(features // 2, rngs=rngs),
            ops.relu_conv_norm(features // 2, features, **kernel),
        )
        self.stem1 = ops.relu_conv_norm(features, features, **kernel)

    def __call__(self, x: types.Array) -> tuple[types.Array, types.Array]:
        """Maps f32[B, H, W, channels] to f32[B, H/4, W/4, F] and f32[B, H/8, ...]."""
        before = self.stem0(x)
        return before, self.stem1(before)
