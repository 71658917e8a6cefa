"""Inverted residuals: wide inside, narrow outside, one depthwise convolution.

    1x1 to expansion * F, norm, ReLU6; depthwise k x k, norm, ReLU6; 1x1 back, norm

The input is added where stride and features stay. An expansion of 1 has no first 1x1.

Source: Sandler et al. 2018, arXiv:1801.04381, section 3.3.
"""

import jax
from flax import nnx

from jnas import registry, types
from jnas.ops import conv


def inverted_branch(
    before: int,
    features: int,
    *,
    kernel: int,
    expansion: int,
    stride: int = 1,
    norm,
    rngs: nnx.Rngs,
) -> nnx.Module:
    """Builds the branch of an inverted residual, to which nothing is added.

    Args:
      before: F of the input.
      features: F of the output.
      kernel: k of the depthwise convolution.
      expansion: how often wider the branch is inside than its input.
      stride: of the depthwise convolution, in pixels.
      norm: builds the normalisation after each convolution.
      rngs: source of the initial values.
    """
    inside = before * expansion
    relu6 = jax.nn.relu6
    layers = []
    if expansion > 1:
        layers += [conv.Conv(before, inside, rngs=rngs), norm(inside, rngs=rngs), relu6]
    layers += [
        conv.DepthwiseConv(inside, kernel, stride=stride, rngs=rngs),
        norm(inside, rngs=rngs),
        relu6,
        conv.Conv(inside, features, rngs=rngs),
        norm(features, rngs=rngs),
    ]
    return conv.stack(*layers)


class InvertedResidual(nnx.Module):
    """Adds its input to a branch."""

    def __init__(self, branch: nnx.Module):
        """Makes the block of a branch that keeps the shape."""
        self.branch = branch

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f32[B, H, W, F] to f32[B, H, W, F]."""
        return x + self.branch(x)


def inverted_residual(
    features: int, stride: int, kernel: int, expansion: int, *, norm, rngs: nnx.Rngs
) -> nnx.Module:
    """Builds an inverted residual that keeps the features.

    Args:
      features: F of input and output.
      stride: in pixels; at 2 the input is not added.
      kernel: k of the depthwise convolution.
      expansion: how often wider it is inside.
      norm: builds the normalisation after each convolution.
      rngs: source of the initial values.
    """
    branch = inverted_branch(
        features,
        features,
        kernel=kernel,
        expansion=expansion,
        stride=stride,
        norm=norm,
        rngs=rngs,
    )
    return InvertedResidual(branch) if stride == 1 else branch


@registry.OPERATIONS.register
def mbconv_3x3_e3(features, stride, *, norm, rngs):
    """Builds the inverted residual of a 3x3 kernel, three times as wide inside."""
    return inverted_residual(features, stride, 3, 3, norm=norm, rngs=rngs)


@registry.OPERATIONS.register
def mbconv_3x3_e6(features, stride, *, norm, rngs):
    """Builds the inverted residual of a 3x3 kernel, six times as wide inside."""
    return inverted_residual(features, stride, 3, 6, norm=norm, rngs=rngs)


@registry.OPERATIONS.register
def mbconv_5x5_e3(features, stride, *, norm, rngs):
    """Builds the inverted residual of a 5x5 kernel, three times as wide inside."""
    return inverted_residual(features, stride, 5, 3, norm=norm, rngs=rngs)


@registry.OPERATIONS.register
def mbconv_5x5_e6(features, stride, *, norm, rngs):
    """Builds the inverted residual of a 5x5 kernel, six times as wide inside."""
    return inverted_residual(features, stride, 5, 6, norm=norm, rngs=rngs)
