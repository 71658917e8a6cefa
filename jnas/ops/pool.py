"""The pooling candidates.

Source: Liu, Simonyan and Yang 2019, arXiv:1806.09055. Neither counts padding. Inside
a DARTS mixture each is followed by a norm without scale, which ``normalise_in_mixture``
asks the network for; in the derived network there is none.
"""

from collections.abc import Callable

from flax import nnx

from jnas import registry, types
from jnas.ops.kernels import windows


class Pool(nnx.Module):
    """A 3x3 pooling window; it has no parameters."""

    normalise_in_mixture = True

    def __init__(self, pool: Callable, stride: int):
        """Makes the pooling of a function of kernels/windows.py; stride in pixels."""
        self.pool = pool
        self.stride = stride

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f32[B, H, W, F] to f32[B, ceil(H / s), ceil(W / s), F]."""
        return self.pool(x, window=3, stride=self.stride)


@registry.OPERATIONS.register
def max_pool_3x3(features, stride, *, norm, rngs):
    """Builds the 3x3 max-pooling."""
    del features, norm, rngs  # a window needs none of them
    return Pool(windows.max_pool, stride)


@registry.OPERATIONS.register
def avg_pool_3x3(features, stride, *, norm, rngs):
    """Builds the 3x3 average pooling."""
    del features, norm, rngs  # a window needs none of them
    return Pool(windows.avg_pool, stride)
