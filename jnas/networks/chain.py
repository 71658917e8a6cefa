"""Chains: where each position of a chain computes, and its stem and head."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jnas import ops, spaces, types
from jnas.networks import functional, heads
from jnas.networks.skeleton import Size

_ACTIVATIONS = {"relu": jax.nn.relu, "relu6": jax.nn.relu6}


class Block(NamedTuple):
    """One position of a chain in a network.

    Attributes:
      options: names of its operations.
      before: F of its input.
      features: F of its output.
      stride: 1 or 2, in pixels.
    """

    options: tuple[str, ...]
    before: int
    features: int
    stride: int

    def operation(self, name: str, norm: ops.Norm) -> functional.Functional:
        """Builds one of its operations.

        Args:
          name: one of the options.
          norm: inside it.
        """
        return functional.operation(
            name, self.features, self.stride, norm=norm, in_features=self.before
        )


class Run(NamedTuple):
    """Consecutive positions that are equal but for their weights: one loop.

    Attributes:
      name: key of its parameters.
      block: what the positions have in common.
      positions: their numbers.
    """

    name: str
    block: Block
    positions: tuple[int, ...]


def width(space: spaces.ChainSpace, features: int, size: Size) -> int:
    """Returns a chain's number of features in a network of a size.

    Args:
      space: the chain.
      features: of the space, whose stem has ``space.stem_features``.
      size: of the network, whose stem has ``size.features``.

    Returns:
      features * size.features / space.stem_features, rounded to a multiple of 8 where
      size.features is another number; what is as wide as the stem stays so.
    """
    if size.features == space.stem_features:
        return features
    if features == space.stem_features:
        return size.features
    return ops.divisible(features * size.features / space.stem_features)


def stem_stride(space: spaces.ChainSpace, size: Size) -> int:
    """Returns the stride of a chain's first convolution in pixels: 1 or 2.

    Args:
      space: the chain.
      size: of the network; with the small stem it keeps the size of its images.
    """
    return 1 if size.stem == "small" else space.stem_stride


def plan(space: spaces.ChainSpace, size: Size) -> list[Block]:
    """Lists where the positions of a chain compute, first to last.

    With the small stem, a chain whose stem would halve the images does not halve them
    there, nor at its first position of stride 2: such chains are made for images of 224
    pixels.

    Args:
      space: the chain.
      size: of the network.
    """
    found, before = [], size.features
    keeps = stem_stride(space, size) < space.stem_stride
    for one in space.positions:
        stride = one.stride
        if keeps and stride == 2:
            stride, keeps = 1, False
        features = width(space, one.features, size)
        found.append(Block(one.options, before, features, stride))
        before = features
    return found


def runs(blocks: Sequence[Block], name: str = "blocks") -> list[Run]:
    """Groups consecutive equal positions that keep the shape of their input.

    Args:
      blocks: as from ``plan``.
      name: of the keys, which are followed by the number of the first position.
    """
    found, first = [], 0

    def alike(numbered):
        number, block = numbered
        keeps = block.stride == 1 and block.before == block.features
        return block, 0 if keeps else number

    for (block, _), same in itertools.groupby(enumerate(blocks), alike):
        count = len(list(same))
        numbers = tuple(range(first, first + count))
        found.append(Run(f"{name}_{first:02d}", block, numbers))
        first += count
    return found


def stem(space: spaces.ChainSpace, size: Size, norm: ops.Norm) -> functional.Functional:
    """Builds the first convolution, its norm and activation.

    Args:
      space: the chain.
      size: of the network.
      norm: after the convolution.
    """
    stride, activation = stem_stride(space, size), _ACTIVATIONS[space.activation]

    def build(rngs):
        conv = ops.Conv(size.channels, size.features, (3, 3), stride=stride, rngs=rngs)
        return ops.stack(conv, norm(size.features, rngs=rngs), activation)

    return functional.functional(build)


def head(
    space: spaces.ChainSpace, size: Size, before: int, norm: ops.Norm
) -> functional.Functional:
    """Builds the 1x1 convolution, the average over pixels and the linear layer.

    Args:
      space: the chain.
      size: of the network.
      before: F of the last position's output.
      norm: after the convolution.
    """

    def build(rngs):
        layers, features = [], before
        if space.head_features:
            features = width(space, space.head_features, size)
            conv = ops.Conv(before, features, rngs=rngs)
            activation = _ACTIVATIONS[space.activation]
            layers = [conv, norm(features, rngs=rngs), activation]
        linear = heads.Linear(features, size.num_classes, rngs=rngs)
        return ops.stack(*layers, heads.global_average, linear)

    return functional.functional(build)


def row_of(
    space: spaces.ChainSpace, weights: types.Weights, positions: Sequence[int]
) -> types.Array:
    """Returns the weights of some positions of equally many options.

    Args:
      space: the chain.
      weights: of the space.
      positions: N numbers.

    Returns:
      f32[N, O].
    """
    leaf = space.row_of(positions[0])[0]
    own = [space.row_of(position)[1] for position in positions]
    return weights[leaf][jnp.array(own)]
