"""A space of 18 paths, its supernet in plain JAX, and the same network in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jnas import data, networks, registry, spaces

WIDTH = 5
BLOCKS = ("skip", "tanh", "relu")
SPACE = spaces.ChoiceSpace(
    "paths", {"block": (BLOCKS, BLOCKS), "pool": ("mean", "max")}, supernet="paths"
)
ALL = np.array(list(itertools.product(range(3), range(3), range(2))), np.int32)
PLAIN = data.Augment((0.5,), (0.25,))
SIZE = networks.Size(1, 1, 2, channels=1, image_size=(4, 4))


@registry.SUPERNETS.register(name="paths")
def supernet(space, size):
    """Two blocks of an activation each, after a pool; a shift that changes nothing."""

    def init(key):
        names = {"stem": (4, WIDTH), "block": (2, 3, WIDTH, WIDTH), "pool": (2, 4)}
        names |= {"shift": (WIDTH,), "head": (WIDTH, size.num_classes)}
        keys = jax.random.split(key, len(names))
        return {
            name: jax.random.normal(own, shape)
            for own, (name, shape) in zip(keys, names.items(), strict=True)
        }

    def apply(params, x, weights):
        x = x.reshape(-1, 4, 4)
        pooled = x.mean(1) * params["pool"][0], x.max(1) * params["pool"][1]
        x = sum(w * one for w, one in zip(weights["pool"], pooled, strict=True))
        x = x @ params["stem"] + params["shift"]
        x = (x - x.mean(0)) / (x.std(0) + 1e-3)
        for row, kernels in zip(weights["block"], params["block"], strict=True):
            ways = x, jnp.tanh(x @ kernels[1]), jax.nn.relu(x @ kernels[2])
            x = sum(w * way for w, way in zip(row, ways, strict=True))
        return x @ params["head"]

    return networks.Supernet(init, apply, space)


def outputs(params, images, encoding):
    """Computes one path in NumPy, float64, with its own parameters only."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    x = np.asarray(images, np.float64).reshape(-1, 4, 4)
    first, second, pool = encoding
    x = (x.mean(1), x.max(1))[pool] * p["pool"][pool]
    x = x @ p["stem"]
    x = (x - x.mean(0)) / (x.std(0) + 1e-3)
    for kernels, block in zip(p["block"], (first, second), strict=True):
        if BLOCKS[block] == "tanh":
            x = np.tanh(x @ kernels[1])
        if BLOCKS[block] == "relu":
            x = np.maximum(x @ kernels[2], 0)
    return x @ p["head"]


def vector(params, encoding):
    """Flattens the parameters that one path computes with."""
    first, second, pool = encoding
    found = [params["stem"], params["pool"][pool], params["head"]]
    for row, block in enumerate((first, second)):
        if block:
            found.append(params["block"][row, block])
    return np.concatenate([np.asarray(one, np.float64).reshape(-1) for one in found])


def split(count, seed=0):
    """Random images and labels that a threshold on a pixel gives."""
    images = jax.random.uniform(jax.random.key(seed), (count, 4, 4, 1))
    return images, (images[:, 1, 2, 0] > 0.5).astype(jnp.int32)
