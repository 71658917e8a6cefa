"""Hand-made networks of the interface of ``networks.derived``, of any width.

A baseline is a registered function of the images and the width. Its stages follow the
images: each axis is halved until it has at most 8 pixels, and the last three halvings
(at most) double the features, which are rounded from those of the last stage.

Source: plain convolutions after Simonyan and Zisserman 2015, arXiv:1409.1556; residual
blocks of He et al. 2016, arXiv:1512.03385; inverted residuals of Sandler et al. 2018,
arXiv:1801.04381. Differs: their stages and widths, which are fixed to one image size.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jnas import ops, registry, types
from jnas.networks import functional, heads, network

BLOCKS = 2  # in each stage
_DOUBLINGS = 3  # at most
_LAST = 8  # pixels of an axis that is not halved any more


def stages(image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Returns how often a baseline halves its images.

    Args:
      image_shape: rows, columns and channels of one image; the shorter side decides.

    Returns:
      (halvings in the stem, halvings that begin a stage of twice the features).

    Example:
      >>> stages((8, 8, 1)), stages((32, 32, 3)), stages((224, 224, 3))
      ((0, 1), (0, 2), (2, 3))
    """
    side, halvings = min(image_shape[:2]), 0
    while side > _LAST or (halvings == 0 and side > 1):
        side, halvings = -(-side // 2), halvings + 1
    doublings = min(halvings, _DOUBLINGS)
    return halvings - doublings, doublings


def as_network(
    build: Callable[[nnx.Rngs], nnx.Module], *, dtype: jnp.dtype | None = None
) -> network.Network:
    """Returns a module as a network; a user's own baseline may be made by it.

    Args:
      build: rngs -> module that maps (images f32[B, H, W, C], key, drop path rate or
        None) to outputs f32[B, num_classes], as ``Chain`` does.
      dtype: of the activations; None keeps that of the images.
    """
    module = functional.functional(build)

    def apply(params, stats, x, *, train, key=None, drop_path_rate=None):
        x = x if dtype is None else x.astype(dtype)
        rate = drop_path_rate if train else None
        outputs, stats = module.apply(params, stats, (x, key, rate), train=train)
        return (outputs, None), stats

    return network.Network(module.init, apply)


def dropper(key: types.Key | None, rate: types.Array | None) -> Callable:
    """Returns the drop path of one forward pass, which takes a new key at each call.

    Args:
      key: consumed; needed where there is a rate.
      rate: f32[] probability; None disables drop path.
    """
    count = 0

    def drop(x):
        nonlocal count
        if rate is None:
            return x
        count += 1
        return ops.drop_path(jax.random.fold_in(key, count), x, rate)

    return drop


class Chain(nnx.Module):
    """Layers in a row, then the mean over pixels and a linear layer."""

    def __init__(self, layers: list, features: int, num_classes: int, rngs: nnx.Rngs):
        """Makes the classifier; a layer maps (x, drop) to x, or x alone to x."""
        self.layers = nnx.List(layers)
        self.classifier = heads.Linear(features, num_classes, rngs=rngs)

    def __call__(self, given: Any) -> types.Array:
        """Maps (f32[B, H, W, C], key, drop path rate) to f32[B, num_classes]."""
        x, key, rate = given
        drop = dropper(key, rate)
        for layer in self.layers:
            x = layer(x, drop) if isinstance(layer, Residual) else layer(x)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return self.classifier(wide.mean((1, 2)))


class Residual(nnx.Module):
    """A branch beside a shortcut: their sum, or its ReLU."""

    def __init__(self, branch: nnx.Module, shortcut: nnx.Module | None, relu: bool):
        """Makes the block; without a shortcut module the input itself is added."""
        self.branch = branch
        self.shortcut = shortcut
        self.relu = relu

    def __call__(self, x: types.Array, drop: Callable) -> types.Array:
        """Maps f32[B, H, W, F] to f32[B, h, w, G]."""
        y = drop(self.branch(x)) + (x if self.shortcut is None else self.shortcut(x))
        return jax.nn.relu(y) if self.relu else y


def _conv(before, features, kernel=3, *, stride=1, relu=jax.nn.relu, rngs) -> list:
    """Lists a convolution, its norm, and the activation unless there is none."""
    conv = ops.Conv(before, features, (kernel, kernel), stride=stride, rngs=rngs)
    norm = ops.TRAINING(features, rngs=rngs)
    return [conv, norm, *([] if relu is None else [relu])]


def _stem(channels, features, halvings, rngs, relu=jax.nn.relu) -> list:
    """Lists one convolution, or one of stride 2 for each halving."""
    first = _conv(channels, features, stride=min(2, 1 + halvings), relu=relu, rngs=rngs)
    more = [
        _conv(features, features, stride=2, relu=relu, rngs=rngs)
        for _ in range(halvings - 1)
    ]
    return [*first, *(layer for one in more for layer in one)]


def widths(image_shape: tuple[int, ...], features: int) -> list[int]:
    """Returns the features of each stage: half of the next one's, rounded.

    Args:
      image_shape: rows, columns and channels of one image.
      features: F of the last stage.

    Example:
      >>> widths((32, 32, 3), 30), widths((8, 8, 1), 1)
      ([8, 15, 30], [1, 1])
    """
    doublings = stages(image_shape)[1]
    halved = [features / 2 ** (doublings - i) for i in range(doublings + 1)]
    return [max(1, math.floor(width + 0.5)) for width in halved]


def _blocks(image_shape, features) -> list[tuple[int, int, int]]:
    """Lists (features before, features, stride) of each block."""
    each = widths(image_shape, features)
    found, before = [], each[0]
    for stage, width in enumerate(each):
        for block in range(BLOCKS):
            found.append((before, width, 2 if stage and not block else 1))
            before = width
    return found


@registry.BASELINES.register
def plain_cnn(num_classes, channels, image_shape, *, features, dtype=None):
    """Builds 3x3 convolutions, each with a norm and a ReLU; drop path has no branch.

    Args:
      num_classes: outputs.
      channels: of the images.
      image_shape: rows, columns and channels of one image.
      features: F of the last stage.
      dtype: of the activations; None keeps that of the images.
    """

    def build(rngs):
        blocks = _blocks(image_shape, features)
        layers = _stem(channels, blocks[0][0], stages(image_shape)[0], rngs)
        for before, width, stride in blocks:
            layers += _conv(before, width, stride=stride, rngs=rngs)
        return Chain(layers, blocks[-1][1], num_classes, rngs)

    return as_network(build, dtype=dtype)


@registry.BASELINES.register
def resnet(num_classes, channels, image_shape, *, features, dtype=None):
    """Builds ResNet's basic blocks: two 3x3 convolutions beside a shortcut.

    Where a block halves the image its shortcut is a 1x1 convolution with a norm.

    Args:
      num_classes: outputs.
      channels: of the images.
      image_shape: rows, columns and channels of one image.
      features: F of the last stage.
      dtype: of the activations; None keeps that of the images.
    """

    def block(before, width, stride, rngs):
        branch = ops.stack(
            *_conv(before, width, stride=stride, rngs=rngs),
            *_conv(width, width, relu=None, rngs=rngs),
        )
        same = before == width and stride == 1
        shortcut = None
        if not same:
            shortcut = ops.stack(
                *_conv(before, width, 1, stride=stride, relu=None, rngs=rngs)
            )
        return Residual(branch, shortcut, relu=True)

    def build(rngs):
        blocks = _blocks(image_shape, features)
        layers = _stem(channels, blocks[0][0], stages(image_shape)[0], rngs)
        layers += [block(*one, rngs) for one in blocks]
        return Chain(layers, blocks[-1][1], num_classes, rngs)

    return as_network(build, dtype=dtype)


@registry.BASELINES.register
def mobilenet_v2(num_classes, channels, image_shape, *, features, dtype=None):
    """Builds MobileNetV2's inverted residuals: six times as wide inside, depthwise.

    A 1x1 convolution to 6 F, a depthwise 3x3 one, a 1x1 one back, without activation;
    the input is added where shapes agree. The first block is not wider inside; a 1x1
    convolution to four times the features comes last. Activations are ReLU6.

    Args:
      num_classes: outputs.
      channels: of the images.
      image_shape: rows, columns and channels of one image.
      features: F of the last stage.
      dtype: of the activations; None keeps that of the images.
    """
    relu6 = jax.nn.relu6

    def block(number, before, width, stride, rngs):
        branch = ops.inverted_branch(
            before,
            width,
            kernel=3,
            expansion=6 if number else 1,
            stride=stride,
            norm=ops.TRAINING,
            rngs=rngs,
        )
        if before != width or stride != 1:
            return branch
        return Residual(branch, None, relu=False)

    def build(rngs):
        blocks = _blocks(image_shape, features)
        layers = _stem(channels, blocks[0][0], stages(image_shape)[0], rngs, relu6)
        layers += [block(i, *one, rngs) for i, one in enumerate(blocks)]
        width = blocks[-1][1]
        layers += _conv(width, 4 * width, 1, relu=relu6, rngs=rngs)
        return Chain(layers, 4 * width, num_classes, rngs)

    return as_network(build, dtype=dtype)
