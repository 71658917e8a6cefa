"""Batch normalisation: by the batch alone, or with running statistics.

The supernet normalises by batch statistics and keeps none, so that it is a pure
function of its parameters and nothing leaks between the two levels of the search. The
network that is trained from scratch keeps running statistics.

A batch of one image of one pixel has one value a feature, which minus its own mean is
0 for every image: no norm takes its statistics from it.

Statistics that are measured on other images than those that are evaluated need no state
either: a calibrated norm reads one batch of both, and takes them from its first images.

A batch that several devices split is normalised as a whole; where the ambient mesh has
an axis ``norm`` (``--norm_group=device``), each device along it normalises its own
images, as data parallel training in PyTorch does.

Source: Ioffe and Szegedy 2015, arXiv:1502.03167. Epsilon 1e-5 and momentum 0.9 (torch
writes the latter 0.1), as in every network of the DARTS family.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jnas import types

AXIS = "norm"  # mesh axis along which each device normalises its own images
EPSILON = 1e-5


def standardise(x: types.Array) -> types.Array:
    """Subtracts each feature's batch mean and divides by its standard deviation.

    y = (x - mean) / sqrt(variance + 1e-5), over batch, rows and columns. The derivative
    is written out: dy = r dx - mean(r dx) - y mean(y r dx), r the inverse deviation. It
    is its own transpose but for r, so that a gradient is two sums and one pass, where
    autodiff through the two moments takes more of both. So is that of r, for the second
    order: dr = -r mean(y r dx), a sum that is there already.

    Args:
      x: f[B, H, W, F].

    Returns:
      The same shape and dtype; statistics are float32 at least.

    Raises:
      ValueError: one value a feature, while tracing.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.
    """
    groups = num_groups(x)
    check_values(x, groups)
    if groups == 1:
        return _standardised(x)[0]
    apart = x.reshape(groups, -1, *x.shape[1:])
    return jax.vmap(_standardised)(apart)[0].reshape(x.shape)


def num_groups(x: types.Array) -> int:
    """Returns how many parts of a batch are normalised by themselves.

    Args:
      x: f[B, H, W, F].

    Returns:
      The number of devices along the ambient mesh's axis ``norm``; 1 without it, and
      where it does not divide B, as in an evaluation of all images as one batch.
    """
    groups = dict(jax.sharding.get_abstract_mesh().shape).get(AXIS, 1)
    return groups if len(x) % groups == 0 else 1


def check_values(x: types.Array, groups: int = 1) -> None:
    """Refuses to take a mean and a deviation from one value.

    Args:
      x: f[..., F].
      groups: number of parts that are normalised by themselves.

    Raises:
      ValueError: there is one value of each feature.
    """
    if x.size == groups * x.shape[-1]:
        raise ValueError(
            "batch_size must be at least 2 where a normalisation reads one pixel of "
            "each image, got 1. Use a larger batch: one value minus its mean is 0."
        )


@jax.custom_jvp
def _standardised(x):
    """Returns y, and each feature's inverse deviation r f32[F]."""
    wide = _wide(x)
    mean = _mean(wide)
    variance = jnp.maximum(_mean(wide * wide) - mean * mean, 0)
    scale = lax.rsqrt(variance + EPSILON)
    return ((wide - mean) * scale).astype(x.dtype), scale


@_standardised.defjvp
def _standardised_jvp(primals, tangents):
    (x,), (d_x,) = primals, tangents
    y, scale = _standardised(x)
    scaled, wide = _wide(d_x) * scale, _wide(y)
    along = _mean(wide * scaled)
    inner = scaled - _mean(scaled) - wide * along
    return (y, scale), (inner.astype(x.dtype), -scale * along)


def standardise_by_first(x: types.Array, num_images: int) -> types.Array:
    """Standardises a batch by the statistics of its first images.

    y = (x - mean) / sqrt(variance + 1e-5), both of x[:num_images]: what evaluation does
    after running statistics were set to those of these images. They belong to the whole
    batch, so that a mesh axis ``norm`` is not read.

    Args:
      x: f[B, H, W, F].
      num_images: number of images; all of them where B is smaller.

    Returns:
      The same shape and dtype; statistics are float32 at least.

    Raises:
      ValueError: one value a feature, while tracing.
    """
    check_values(x[:num_images])
    # a mask, not a slice: where devices share a batch a slice moves images between
    # them, which deadlocks inside a conditional that they do not all take
    first = jnp.arange(len(x))[:, None, None, None] < num_images
    count = min(num_images, len(x)) * (x.size // (len(x) * x.shape[-1]))
    wide = _wide(x)
    chosen = jnp.where(first, wide, 0)
    mean = chosen.sum((0, 1, 2)) / count
    variance = jnp.maximum((chosen * chosen).sum((0, 1, 2)) / count - mean * mean, 0)
    return ((wide - mean) * lax.rsqrt(variance + EPSILON)).astype(x.dtype)


def _mean(x):
    return x.sum((0, 1, 2)) * (x.shape[-1] / x.size)


def _wide(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class BatchStatisticsNorm(nnx.Module):
    """Normalises by the mean and variance of the batch, in training and after it."""

    def __init__(self, features: int, *, affine: bool, calibrated: int = 0):
        """Makes the norm; scale and bias, each f32[F], only where affine."""
        self.calibrated = calibrated
        self.scale = nnx.Param(jnp.ones(features)) if affine else None
        self.bias = nnx.Param(jnp.zeros(features)) if affine else None

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f[B, H, W, F] to the same shape and dtype; statistics are float32."""
        if self.calibrated:
            y = standardise_by_first(x, self.calibrated)
        else:
            y = standardise(x)
        if self.scale is None:
            return y
        return (_wide(y) * self.scale[...] + self.bias[...]).astype(x.dtype)


class RunningNorm(nnx.BatchNorm):
    """Normalises by the batch in training, by running statistics after it.

    The running variance takes the batch's with n / (n - 1), n its values of a feature,
    as torch does; Flax takes it without.
    """

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f[B, H, W, F] to the same shape and dtype; statistics are float32."""
        if self.use_running_average:
            return super().__call__(x).astype(x.dtype)
        groups = num_groups(x)
        check_values(x, groups)
        if groups == 1:
            before = self.momentum * self.var[...]
            y = super().__call__(x).astype(x.dtype)
            noted = self.var[...]  # before + (1 - momentum) * variance
            self.var[...] = noted + (noted - before) / (x.size // x.shape[-1] - 1)
            return y
        return (
            self._apart(_wide(x).reshape(groups, -1, x.shape[-1]))
            .reshape(x.shape)
            .astype(x.dtype)
        )

    def _apart(self, x: types.Array) -> types.Array:
        """Normalises f32[G, N, F] group by group; notes the means of their moments."""
        mean = x.mean(1, keepdims=True)
        variance = jnp.maximum((x * x).mean(1, keepdims=True) - mean * mean, 0)
        unbiased = variance * (x.shape[1] / (x.shape[1] - 1))
        for running, new in ((self.mean, mean), (self.var, unbiased)):
            new = lax.stop_gradient(new.mean((0, 1)))
            running[...] = self.momentum * running[...] + (1 - self.momentum) * new
        y = (x - mean) * lax.rsqrt(variance + self.epsilon)
        if self.scale is not None:
            y *= self.scale[...]
        return y if self.bias is None else y + self.bias[...]


class NoNorm(nnx.Module):
    """The identity, in place of a norm."""

    def __call__(self, x: types.Array) -> types.Array:
        """Maps f[B, H, W, F] to itself."""
        return x


@dataclasses.dataclass(frozen=True)
class Norm:
    """Describes a network's normalisation; called with features, it builds one.

    Attributes:
      affine: whether it has a trained scale and bias.
      running: whether it keeps running statistics for evaluation.
      active: whether it normalises at all.
      recorded: images of a batch whose activations are compared; 0 disables that.
      calibrated: first images of a batch whose statistics normalise all of it; 0 takes
        those of the whole batch. Not with running statistics.
    """

    affine: bool
    running: bool
    active: bool = True
    recorded: int = 0
    calibrated: int = 0

    def __post_init__(self):
        """Raises ValueError where a calibrated norm is to keep running statistics."""
        if self.running and self.calibrated:
            raise ValueError(
                "calibrated must be 0 for a norm with running statistics, got "
                f"{self.calibrated}. Choose one of the two."
            )

    def __call__(self, features: int, *, rngs: nnx.Rngs) -> nnx.Module:
        """Builds the normalisation of f32[..., features]."""
        if not self.active:
            return NoNorm()
        if not self.running:
            return BatchStatisticsNorm(
                features, affine=self.affine, calibrated=self.calibrated
            )
        return RunningNorm(
            features,
            epsilon=EPSILON,
            momentum=0.9,
            use_bias=self.affine,
            use_scale=self.affine,
            rngs=rngs,
        )


SEARCH = Norm(affine=False, running=False)  # every norm inside a supernet's cells
STEM = Norm(affine=True, running=False)  # the supernet's stem
TRAINING = Norm(affine=True, running=True)  # the network trained from scratch
