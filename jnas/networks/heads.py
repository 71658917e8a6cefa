"""The heads: the classifier, and the auxiliary head used in training."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import nnx

from jnas import ops, types
from jnas.networks import functional
from jnas.ops import conv


class Linear(nnx.Module):
    """An affine map that starts as torch's: uniform in +-1 / sqrt(in_features)."""

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs):
        """Makes kernel f32[in, out] and bias f32[out]."""
        kernel = conv.TORCH_UNIFORM(rngs.params(), (in_features, out_features))
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(conv.torch_bias(rngs, in_features, out_features))

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f32[B, in] to f32[B, out]."""
        return x @ self.kernel[...] + self.bias[...]


def classifier(
    in_features: int, num_classes: int, norm: ops.Norm | None
) -> functional.Functional:
    """Builds the global average pooling and the linear classifier.

    Args:
      in_features: F of the last cell's output.
      num_classes: outputs.
      norm: a norm and ReLU before the pooling, as in NAS-Bench-201; None omits both.

    Returns:
      f32[B, H, W, F] -> f32[B, num_classes].
    """

    def build(rngs):
        before = [norm(in_features, rngs=rngs), ops.activation(norm)] if norm else []
        linear = Linear(in_features, num_classes, rngs=rngs)
        return ops.stack(*before, global_average, linear)

    return functional.functional(build)


def head_norm(num_inputs: int, norm: ops.Norm) -> ops.Norm | None:
    """Returns the norm before the classifier: NAS-Bench-201 has one, DARTS has none.

    Args:
      num_inputs: of the cells.
      norm: inside them; the head's has scale and bias.
    """
    return None if num_inputs == 2 else dataclasses.replace(norm, affine=True)


class GlobalDepthwise(nnx.Module):
    """A sum over pixels with a learned weight for each pixel and feature, and a norm.

    Source: Chen et al. 2018, arXiv:1804.07573, section 3.1.
    """

    def __init__(self, pixels: tuple[int, int], features: int, *, norm, rngs: nnx.Rngs):
        """Makes kernel f32[H, W, F], which starts as an average, and the norm."""
        self.norm = norm(features, rngs=rngs)
        self.kernel = nnx.Param(
            jnp.full((*pixels, features), 1 / math.prod(pixels), jnp.float32)
        )

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f32[B, H, W, F] to f32[B, F], in float32 at least."""
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        summed = (wide * self.kernel[...]).sum((1, 2), keepdims=True)
        return self.norm(summed)[:, 0, 0]


def depthwise_classifier(
    in_features: int, num_classes: int, pixels: tuple[int, int], norm: ops.Norm
) -> functional.Functional:
    """Builds a norm, a ReLU, a global depthwise convolution and the linear classifier.

    Args:
      in_features: F of the last cell's output.
      num_classes: outputs.
      pixels: rows and columns of the last cell's output.
      norm: with scale and bias.

    Returns:
      f32[B, H, W, F] -> f32[B, num_classes].

    Source: Chen et al. 2018, arXiv:1804.07573, section 3.1.
    """

    def build(rngs):
        return ops.stack(
            norm(in_features, rngs=rngs),
            ops.activation(norm),
            GlobalDepthwise(pixels, in_features, norm=norm, rngs=rngs),
            Linear(in_features, num_classes, rngs=rngs),
        )

    return functional.functional(build)


def global_average(x: types.Array) -> types.Array:
    """Maps f[B, H, W, F] to the means over pixels f32[B, F], in float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean((1, 2))


def auxiliary(
    in_features: int, num_classes: int, norm: ops.Norm, *, imagenet: bool = False
) -> functional.Functional:
    """Builds the auxiliary head of DARTS' evaluation network, used in training only.

    ReLU, average pooling to 2x2 pixels, 1x1 convolution to 128, norm, ReLU, 2x2
    convolution to 768, norm, ReLU, linear. That of ImageNet has no second norm, as the
    authors' released code, whose figures were measured without it.

    Args:
      in_features: F of the output it reads.
      num_classes: outputs.
      norm: its normalisation.
      imagenet: whether the second norm is left out.

    Returns:
      f32[B, H, W, F] -> f32[B, num_classes]; H and W at least 2.

    Source: arXiv:1806.09055. Differs: window and stride follow the image (5 and 3 at
    its 8x8, 5 and 2 at ImageNet's 7x7, as there), where the original takes these alone.
    """

    def build(rngs):
        second = [] if imagenet else [norm(768, rngs=rngs)]
        return ops.stack(
            jax.nn.relu,
            _pool_to_2x2,
            ops.Conv(in_features, 128, rngs=rngs),
            norm(128, rngs=rngs),
            jax.nn.relu,
            ops.Conv(128, 768, (2, 2), padding=(0, 0), rngs=rngs),
            *second,
            jax.nn.relu,
            lambda x: x[:, 0, 0],
            Linear(768, num_classes, rngs=rngs),
        )

    return functional.functional(build)


def _pool_to_2x2(x: types.Array) -> types.Array:
    """Averages two by two windows that overlap as 5 and 3 do at 8 pixels."""
    if min(x.shape[1:3]) < 2:
        raise ValueError(
            "auxiliary must read at least 2x2 pixels, got "
            f"{x.shape[1]}x{x.shape[2]}. Train without it or use larger images."
        )
    rows, columns = (_halves(n) for n in x.shape[1:3])
    return jnp.stack(
        [jnp.stack([x[:, r, c].mean((1, 2)) for c in columns], 1) for r in rows], 1
    )


def _halves(size: int) -> list[slice]:
    stride = max(1, size * 3 // 8)
    return [slice(0, size - stride), slice(stride, size)]
