"""Convolutions and the candidates made of them.

Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055 (``sep_conv``, ``dil_conv``,
FactorizedReduce); Zoph et al. 2018, arXiv:1707.07012 (``conv_7x1_1x7``); Dong and Yang
2020, arXiv:2001.00326 (``nor_conv``). No convolution has a bias unless said. Kernels
start uniform in +-1 / sqrt(fan_in), torch's default.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from jnas import registry, types
from jnas.ops.activation import activation
from jnas.ops.family import family
from jnas.ops.kernels import dense, pointwise, windows
from jnas.ops.kernels import stride as stride_lib

TORCH_UNIFORM = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def torch_bias(rngs: nnx.Rngs, fan_in: int, features: int) -> types.Array:
    """Draws f32[features], uniform in +-1 / sqrt(fan_in)."""
    bound = fan_in**-0.5
    return jax.random.uniform(rngs.params(), (features,), minval=-bound, maxval=bound)


class Conv(nnx.Module):
    """A dense convolution, padded symmetrically by half its kernel."""

    @stride_lib.refuse_strides
    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel: tuple[int, int] = (1, 1),
        *,
        stride: stride_lib.Stride = 1,
        padding: tuple[int, int] | None = None,
        use_bias: bool = False,
        rngs: nnx.Rngs,
    ):
        """Makes kernel f32[kh, kw, in, out] and, if asked, bias f32[out].

        Args:
          in_features: F of the input.
          out_features: F of the output.
          kernel: rows and columns of the window.
          stride: step in pixels, one number or a pair for rows and columns.
          padding: zeros on each side of rows and columns; half the kernel when None.
          use_bias: whether a bias is added.
          rngs: source of the initial values.
        """
        shape = (*kernel, in_features, out_features)
        self.kernel = nnx.Param(TORCH_UNIFORM(rngs.params(), shape))
        if use_bias:
            self.bias = nnx.Param(
                torch_bias(rngs, kernel[0] * kernel[1] * in_features, out_features)
            )
        else:
            self.bias = None
        self.stride = stride_lib.pair(stride)
        self.padding = tuple(k // 2 for k in kernel) if padding is None else padding

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f32[B, H, W, in] to f32[B, h, w, out]."""
        kernel = self.kernel[...].astype(x.dtype)
        if kernel.shape[:2] == (1, 1) and tuple(self.padding) == (0, 0):
            out = pointwise.pointwise_conv(x, kernel, stride=self.stride)
        else:
            out = dense.dense_conv(x, kernel, stride=self.stride, padding=self.padding)
        return out if self.bias is None else out + self.bias[...].astype(x.dtype)


class DepthwiseConv(nnx.Module):
    """A k by k convolution of each feature by itself."""

    @stride_lib.refuse_strides
    def __init__(
        self,
        features: int,
        kernel: int,
        *,
        stride: stride_lib.Stride = 1,
        dilation: int = 1,
        use_bias: bool = False,
        rngs: nnx.Rngs,
    ):
        """Makes the kernel f32[k, k, features] and, if asked, bias f32[features].

        Args:
          features: F of input and output.
          kernel: k.
          stride: step in pixels, one number or a pair for rows and columns.
          dilation: step between the taps of one window, in pixels.
          use_bias: whether a bias is added.
          rngs: source of the initial values.
        """
        # fan_in of one feature's window is k * k
        flat = TORCH_UNIFORM(rngs.params(), (kernel * kernel, features))
        self.kernel = nnx.Param(flat.reshape(kernel, kernel, features))
        if use_bias:
            self.bias = nnx.Param(torch_bias(rngs, kernel * kernel, features))
        else:
            self.bias = None
        self.stride = stride
        self.dilation = dilation

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f32[B, H, W, F] to f32[B, ceil(H / s), ceil(W / s), F]."""
        kernel = self.kernel[...].astype(x.dtype)
        out = windows.depthwise_conv(
            x, kernel, stride=self.stride, dilation=self.dilation
        )
        return out if self.bias is None else out + self.bias[...].astype(x.dtype)


def stack(*layers: Callable) -> nnx.Module:
    """Returns the module that applies layers one after another."""
    return nnx.Sequential(*layers)


@stride_lib.refuse_strides
def relu_conv_norm(
    in_features: int,
    out_features: int,
    kernel: tuple[int, int] = (1, 1),
    *,
    stride: stride_lib.Stride = 1,
    use_bias: bool = False,
    norm: Callable,
    rngs: nnx.Rngs,
) -> nnx.Module:
    """Builds ReLU, convolution, norm; the arguments are those of ``Conv``."""
    conv = Conv(
        in_features,
        out_features,
        kernel,
        stride=stride,
        use_bias=use_bias,
        rngs=rngs,
    )
    return stack(activation(norm), conv, norm(out_features, rngs=rngs))


class FactorizedReduce(nnx.Module):
    """Halves the image: ReLU, two 1x1 convolutions of stride 2, joined, norm.

    The second sees the image shifted by one pixel in both directions, and each gives
    half of the features. Differs: at odd sizes the shifted image gains a row or column
    of zeros, where torch fails.
    """

    def __init__(self, in_features, out_features, *, norm, rngs):
        """Makes two kernels f32[1, 1, in, out / 2]; out must be even."""
        if out_features % 2:
            raise ValueError(
                "features must be even where a cell halves the image, got "
                f"{out_features}. Choose an even number."
            )
        half = out_features // 2
        self.even = Conv(in_features, half, stride=2, rngs=rngs)
        self.odd = Conv(in_features, half, stride=2, rngs=rngs)
        self.activation = activation(norm)
        self.norm = norm(out_features, rngs=rngs)

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f32[B, H, W, in] to f32[B, ceil(H / 2), ceil(W / 2), out]."""
        x = self.activation(x)
        rows, columns = x.shape[1] % 2, x.shape[2] % 2
        shifted = jnp.pad(x[:, 1:, 1:], ((0, 0), (0, rows), (0, columns), (0, 0)))
        both = jnp.concatenate([self.even(x), self.odd(shifted)], -1)
        return self.norm(both)


def _separable(features, kernel, *, stride, dilation, norm, rngs) -> tuple:
    """One ReLU, depthwise, pointwise, norm."""
    return (
        activation(norm),
        DepthwiseConv(features, kernel, stride=stride, dilation=dilation, rngs=rngs),
        Conv(features, features, rngs=rngs),
        norm(features, rngs=rngs),
    )


def separable_conv(features, stride, kernel, *, norm, rngs) -> nnx.Module:
    """Builds the separable convolution of DARTS, which is applied twice."""
    first = _separable(
        features, kernel, stride=stride, dilation=1, norm=norm, rngs=rngs
    )
    second = _separable(features, kernel, stride=1, dilation=1, norm=norm, rngs=rngs)
    return stack(*first, *second)


def dilated_conv(features, stride, kernel, *, norm, rngs) -> nnx.Module:
    """Builds the dilated separable convolution: taps two pixels apart, once."""
    layers = _separable(
        features, kernel, stride=stride, dilation=2, norm=norm, rngs=rngs
    )
    return stack(*layers)


@registry.OPERATIONS.register
@family("sep_conv")
def sep_conv_3x3(features, stride, *, norm, rngs):
    """Builds the 3x3 separable convolution, applied twice."""
    return separable_conv(features, stride, 3, norm=norm, rngs=rngs)


@registry.OPERATIONS.register
@family("sep_conv")
def sep_conv_5x5(features, stride, *, norm, rngs):
    """Builds the 5x5 separable convolution, applied twice."""
    return separable_conv(features, stride, 5, norm=norm, rngs=rngs)


@registry.OPERATIONS.register
@family("sep_conv")
def sep_conv_7x7(features, stride, *, norm, rngs):
    """Builds the 7x7 separable convolution, applied twice."""
    return separable_conv(features, stride, 7, norm=norm, rngs=rngs)


@registry.OPERATIONS.register
@family("dil_conv")
def dil_conv_3x3(features, stride, *, norm, rngs):
    """Builds the 3x3 dilated convolution, which sees 5x5 pixels."""
    return dilated_conv(features, stride, 3, norm=norm, rngs=rngs)


@registry.OPERATIONS.register
@family("dil_conv")
def dil_conv_5x5(features, stride, *, norm, rngs):
    """Builds the 5x5 dilated convolution, which sees 9x9 pixels."""
    return dilated_conv(features, stride, 5, norm=norm, rngs=rngs)


@registry.OPERATIONS.register
def conv_7x1_1x7(features, stride, *, norm, rngs):
    """Builds ReLU, a 1x7 convolution, a 7x1 convolution, norm."""
    return stack(
        activation(norm),
        Conv(features, features, (1, 7), stride=(1, stride), rngs=rngs),
        Conv(features, features, (7, 1), stride=(stride, 1), rngs=rngs),
        norm(features, rngs=rngs),
    )


def _nor_conv(features, stride, kernel, *, norm, rngs):
    # NAS-Bench-201's rule: the convolution has a bias where the norm has none
    return relu_conv_norm(
        features,
        features,
        (kernel, kernel),
        stride=stride,
        use_bias=not getattr(norm, "affine", True),
        norm=norm,
        rngs=rngs,
    )


@registry.OPERATIONS.register
@family("nor_conv")
def nor_conv_1x1(features, stride, *, norm, rngs):
    """Builds NAS-Bench-201's ReLU, 1x1 convolution, norm."""
    return _nor_conv(features, stride, 1, norm=norm, rngs=rngs)


@registry.OPERATIONS.register
@family("nor_conv")
def nor_conv_3x3(features, stride, *, norm, rngs):
    """Builds NAS-Bench-201's ReLU, 3x3 convolution, norm."""
    return _nor_conv(features, stride, 3, norm=norm, rngs=rngs)
