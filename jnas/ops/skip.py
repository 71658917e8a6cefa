"""The candidates that compute next to nothing: none, skip_connect, noise.

Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055; ``noise`` from Zela et al. 2020,
arXiv:1909.09656 (space S4), where any search that picks it has failed.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from jnas import registry, types
from jnas.ops import conv


class Zero(nnx.Module):
    """Returns zeros; an edge with it is no edge."""

    def __init__(self, stride: int):
        """Makes the operation; stride in pixels."""
        self.stride = stride

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f32[B, H, W, F] to zeros f32[B, ceil(H / s), ceil(W / s), F]."""
        return jnp.zeros_like(x[:, :: self.stride, :: self.stride])


class Identity(nnx.Module):
    """Returns its input; drop path does not apply to it."""

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f32[B, H, W, F] to itself."""
        return x


class Noise(nnx.Module):
    """Returns standard normal noise, whatever its input."""

    def __init__(self, stride: int, *, rngs: nnx.Rngs):
        """Makes the operation; it keeps a random stream of its own."""
        self.stride = stride
        self.rngs = rngs.noise.fork()

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f32[B, H, W, F] to noise f32[B, ceil(H / s), ceil(W / s), F]."""
        shape = x[:, :: self.stride, :: self.stride].shape
        return jax.random.normal(self.rngs(), shape, x.dtype)


@registry.OPERATIONS.register
def none(features, stride, *, norm, rngs):
    """Builds the operation that gives zeros."""
    del features, norm, rngs  # zeros need none of them
    return Zero(stride)


@registry.OPERATIONS.register
def skip_connect(features, stride, *, norm, rngs, in_features=None):
    """Builds the identity; at stride 2, FactorizedReduce.

    In a chain, which gives the input's features, it is a 1x1 convolution and a norm
    where it changes the shape (released code of arXiv:2103.11922).
    """
    if stride == 1 and in_features in (None, features):
        return Identity()
    if in_features is None:
        return conv.FactorizedReduce(features, features, norm=norm, rngs=rngs)
    change = conv.Conv(in_features, features, stride=stride, rngs=rngs)
    return conv.stack(change, norm(features, rngs=rngs))


@registry.OPERATIONS.register
def noise(features, stride, *, norm, rngs):
    """Builds the operation that gives standard normal noise."""
    del features, norm  # noise needs neither
    return Noise(stride, rngs=rngs)
