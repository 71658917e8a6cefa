"""Inverted residuals: wide inside, narrow outside, one depthwise convolution.

    1x1 to expansion * F, norm, ReLU6; depthwise k x k, norm, ReLU6; 1x1 back, norm

The input is added where stride and features stay. An expansion of 1 has no first 1x1.
With squeeze-and-excitation each feature inside is then weighed by the whole image.
Operations named ``mbconv`` have ReLU6, those of NAS-Bench-Macro (``mb3_k3``) and of
FBNet (``ir_k3_e6``) ReLU; FBNet's convolutions have a bias beside the norm.

Source: Sandler et al. 2018, arXiv:1801.04381, section 3.3; Wu et al. 2019,
arXiv:1812.03443, figure 3, and Su et al. 2021, arXiv:2103.11922, each with its released
code; Howard et al. 2019, arXiv:1905.02244, section 5.3, for squeeze-and-excitation.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
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
    groups: int = 1,
    squeezes: bool = False,
    use_bias: bool = False,
    activation: Callable = jax.nn.relu6,
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
      groups: of the 1x1 convolutions; above 1 the features are shuffled before the
        depthwise convolution.
      squeezes: whether squeeze-and-excitation follows the depthwise convolution.
      use_bias: whether convolutions have a bias.
      activation: after the first and the depthwise convolution.
      norm: builds the normalisation after each convolution.
      rngs: source of the initial values.
    """
    inside = before * expansion
    own = {"use_bias": use_bias, "rngs": rngs}
    layers = []
    if expansion > 1:
        first = _pointwise(before, inside, groups, **own)
        layers += [first, norm(inside, rngs=rngs), activation]
    if groups > 1:
        layers += [functools.partial(shuffle, groups=groups)]
    layers += [
        conv.DepthwiseConv(inside, kernel, stride=stride, **own),
        norm(inside, rngs=rngs),
        activation,
    ]
    if squeezes:
        layers += [SqueezeExcitation(inside, rngs=rngs)]
    layers += [_pointwise(inside, features, groups, **own), norm(features, rngs=rngs)]
    return conv.stack(*layers)


def _pointwise(before, features, groups, *, use_bias, rngs) -> nnx.Module:
    if groups == 1:
        return conv.Conv(before, features, use_bias=use_bias, rngs=rngs)
    return GroupedPointwise(before, features, groups, use_bias=use_bias, rngs=rngs)


class GroupedPointwise(nnx.Module):
    """A 1x1 convolution of each group of features by itself."""

    def __init__(self, before: int, features: int, groups: int, *, use_bias, rngs):
        """Makes one convolution a group; groups must divide both numbers of features.

        Raises:
          ValueError: it does not.
        """
        if before % groups or features % groups:
            raise ValueError(
                f"features must be divisible by {groups} for a convolution of {groups} "
                f"groups, got {before} to {features}. Choose other --features."
            )
        self.convs = nnx.List(
            conv.Conv(
                before // groups, features // groups, use_bias=use_bias, rngs=rngs
            )
            for _ in range(groups)
        )

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f32[B, H, W, before] to f32[B, H, W, features]."""
        parts = jnp.split(x, len(self.convs), axis=-1)
        outputs = [c(part) for c, part in zip(self.convs, parts, strict=True)]
        return jnp.concatenate(outputs, -1)


def shuffle(x: types.Array, groups: int) -> types.Array:
    """Deals the features of each group to all groups in turn.

    Args:
      x: f[..., F].
      groups: number of groups, a divisor of F.

    Source: Zhang et al. 2018, arXiv:1707.01083, section 3.1.
    """
    apart = x.reshape(*x.shape[:-1], groups, -1)
    return jnp.swapaxes(apart, -1, -2).reshape(x.shape)


class SqueezeExcitation(nnx.Module):
    """Weighs each feature by a function of the mean image: a quarter as wide inside.

    Mean over pixels, 1x1 with bias, ReLU, 1x1 with bias, hard sigmoid; the width
    inside is a quarter, rounded to a multiple of 8.

    Source: Howard et al. 2019, arXiv:1905.02244, section 5.3, and its released code.
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        """Makes the two 1x1 convolutions."""
        inside = divisible(features // 4)
        self.squeeze = conv.Conv(features, inside, use_bias=True, rngs=rngs)
        self.excite = conv.Conv(inside, features, use_bias=True, rngs=rngs)

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f32[B, H, W, F] to the same shape."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean = wide.mean((1, 2), keepdims=True).astype(x.dtype)
        gate = self.excite(jax.nn.relu(self.squeeze(mean)))
        return x * jax.nn.hard_sigmoid(gate)


def divisible(width: float, divisor: int = 8) -> int:
    """Returns a width rounded to a multiple of divisor, at most a tenth below.

    Args:
      width: the wanted number of features.
      divisor: of the result, which is at least as large.

    Example:
      >>> divisible(18), divisible(3), divisible(11)
      (24, 8, 16)

    Source: released code of arXiv:1801.04381.
    """
    found = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return found + divisor if found < 0.9 * width else found


class InvertedResidual(nnx.Module):
    """Adds its input to a branch."""

    def __init__(self, branch: nnx.Module):
        """Makes the block of a branch that keeps the shape."""
        self.branch = branch

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f32[B, H, W, F] to f32[B, H, W, F]."""
        return x + self.branch(x)


def inverted_residual(
    features: int,
    stride: int,
    kernel: int,
    expansion: int,
    *,
    in_features: int | None = None,
    norm,
    rngs: nnx.Rngs,
    **numbers,
) -> nnx.Module:
    """Builds an inverted residual.

    Args:
      features: F of the output.
      stride: in pixels; at 2 the input is not added.
      kernel: k of the depthwise convolution.
      expansion: how often wider it is inside.
      in_features: F of the input; that of the output when None. Where they differ the
        input is not added.
      norm: builds the normalisation after each convolution.
      rngs: source of the initial values.
      **numbers: others of ``inverted_branch``.
    """
    before = features if in_features is None else in_features
    branch = inverted_branch(
        before,
        features,
        kernel=kernel,
        expansion=expansion,
        stride=stride,
        norm=norm,
        rngs=rngs,
        **numbers,
    )
    return InvertedResidual(branch) if stride == 1 and before == features else branch


def _register(name: str, kernel: int, expansion: int, **numbers) -> None:
    """Registers the inverted residual of these numbers as an operation."""

    def build(features, stride, *, norm, rngs, in_features=None):
        return inverted_residual(
            features,
            stride,
            kernel,
            expansion,
            in_features=in_features,
            norm=norm,
            rngs=rngs,
            **numbers,
        )

    wide = "as wide" if expansion == 1 else f"{expansion} times as wide"
    build.__doc__ = f"Builds the inverted residual of kernel {kernel}, {wide} inside."
    build.__name__ = name
    registry.OPERATIONS.register(build)


_register("mbconv_3x3_e1", 3, 1)
for _k in (3, 5, 7):
    for _e in (3, 6):
        _register(f"mbconv_{_k}x{_k}_e{_e}", _k, _e)
        if _k < 7:
            _register(f"mbconv_{_k}x{_k}_e{_e}_se", _k, _e, squeezes=True)
_RELU = {"activation": jax.nn.relu}
_register("mb3_k3", 3, 3, **_RELU)
_register("mb6_k5", 5, 6, **_RELU)
_FBNET = _RELU | {"use_bias": True}
for _k in (3, 5):
    for _e in (1, 3, 6):
        _register(f"ir_k{_k}_e{_e}", _k, _e, **_FBNET)
    _register(f"ir_k{_k}_e1_g2", _k, 1, groups=2, **_FBNET)
