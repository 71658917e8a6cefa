"""A small model for tests: NAS-Bench-201's network with statistics of its own."""

import functools

import jax
import numpy as np

from jnas import data, models, networks
from jnas.spaces import genotype_text

CELL = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|"
NAMES = tuple("zero one two three four five six seven eight nine".split())


def genotype(text=CELL):
    """The genotype of a NAS-Bench-201 string."""
    return genotype_text.parse(text, space="nasbench201")


@functools.cache
def digits(shrink=2):
    """Digits of 4x4 pixels."""
    return data.shrink(data.load("digits"), shrink)


def drawn(seed, tree):
    """A tree of positive numbers around 1, as scales and variances have to be."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: rng.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype), tree
    )


@functools.cache
def model(seed=0, *, layers=1, names=NAMES):
    """A model of ten classes of 4x4 digits whose answers differ from image to image."""
    size = networks.Size(4, layers, 10, 1)
    architecture = models.of_genotype(genotype(), size)
    init = jax.jit(architecture.network.init)
    params, stats = jax.device_get(init(jax.random.key(seed)))
    made = models.Model(
        architecture,
        params,
        drawn(seed, stats),
        models.of_dataset(digits(), shrink=2),
        names,
        {"test_accuracy": 0.25},
    )
    # logits around 0 that differ, so that every class is predicted
    linear = params["classifier"]["layers"][3]
    linear["kernel"] = 20 * linear["kernel"]
    linear["bias"] = linear["bias"] - made.logits(digits().x_train[:200]).mean(0)
    return made
