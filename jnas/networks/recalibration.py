"""Recalibration: a supernet that is normalised by other images than it evaluates.

A supernet keeps no statistics (``ops/norm.py``). For one architecture they can be
measured whenever they are needed: the images that are evaluated follow the calibration
images in one batch, and every norm takes its statistics from the latter. The result is
that of running statistics set to those of the calibration images, for each architecture
its own, and an image's outputs do not depend on which images stand beside it.
"""

import jax
import jax.numpy as jnp

from jnas.networks.network import Supernet


def recalibrated(supernet: Supernet, images: jax.Array | dict) -> Supernet:
    """Builds the same supernet, normalised by the statistics of other images.

    ``recalibrated(supernet, images).apply(params, x, weights)`` computes the outputs of
    x alone; memory and time are those of a batch of both.

    Args:
      supernet: as from ``networks.supernet`` or ``networks.one_shot``; its parameters
        serve both.
      images: f32[N, H, W, channels], the calibration images, normalised as x is, or
        other inputs; they may be traced.

    Returns:
      The supernet; its batches may be of one image.

    Raises:
      ValueError: a network whose builder takes no norms.

    Source: Guo et al. 2020, arXiv:1904.00420, section 3.2. Differs: the statistics are
    those of all calibration images as one batch, the variance with n; the released code
    lets running averages, with torch's momentum of .1, follow batches of 128, so that
    the last ten or twenty batches count.
    """
    if supernet.calibrated is None:
        raise ValueError(
            "supernet must be built by networks.supernet or networks.one_shot to be "
            "recalibrated, got another. Build it there."
        )
    count = len(jax.tree.leaves(images)[0])
    network = supernet.calibrated(count)

    def apply(params, x, weights, **given):
        both = jax.tree.map(lambda *two: jnp.concatenate(two), images, x)
        outputs = network.apply(params, both, weights, **given)
        return jax.tree.map(lambda rows: rows[count:], outputs)

    return network._replace(apply=apply)


def recalibrates(supernet: Supernet) -> bool:
    """Returns whether a supernet's builder takes norms, so that it can be recalibrated.

    Args:
      supernet: of any space.
    """
    if supernet.calibrated is None:
        return False
    try:
        supernet.calibrated(1)
    except ValueError:
        return False
    return True
