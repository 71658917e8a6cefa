"""A space, its supernet in plain JAX and a task of one's own: quantiles of a number.

    python experiments/search.py --workdir=runs/own --space=dense --data=friedman \
        --task=quantiles --method=snas --drop_path_rate=0 \
        --plugins=experiments/plugins/quantiles.py
"""

import jax
import jax.numpy as jnp

from jnas import data, networks, registry, spaces

LEVELS = jnp.array([0.1, 0.5, 0.9])
GUESS = jnp.array([-1.2816, 0.0, 1.2816])  # of a normal distribution
ACTIVATIONS = {"relu": jax.nn.relu, "sine": jnp.sin, "tanh": jnp.tanh}


@registry.TASKS.register
def quantiles(targets):
    """Returns the task: pinball loss, and its skill against a normal distribution."""
    mean, std = targets.mean[0], targets.std[0]

    def loss(outputs, y):
        away = (y[:, None] - mean) / std - outputs
        return jnp.maximum(LEVELS * away, (LEVELS - 1) * away).mean(-1)

    def each(outputs, y):
        return loss(outputs, y), loss(GUESS, y)

    skill = data.Metric(each, lambda pair: 1 - pair[0].mean() / pair[1].mean())
    return data.Task(
        3, loss, {"skill": skill}, answer=lambda o: {"quantile": o * std + mean}
    )


@registry.SPACES.register
def dense():
    """Returns the space: an activation for each of three layers."""
    choices = {"act": (tuple(ACTIVATIONS),) * 3}
    return spaces.ChoiceSpace("dense", choices, supernet="dense")


@registry.SUPERNETS.register(name="dense")
def dense_supernet(space, size):
    """Builds the network of vectors that computes every activation."""
    wide, ends = 8 * size.features, (size.channels, size.num_classes)
    shapes = [(ends[0], wide), (wide, wide), (wide, wide), (wide, ends[1])]

    def init(key):
        drawn = map(jax.random.normal, jax.random.split(key, 4), shapes)
        return [(w * w.shape[0] ** -0.5, jnp.zeros(w.shape[1])) for w in drawn]

    def apply(params, x, weights):
        *layers, (last, bias) = params
        for (kernel, own), row in zip(layers, weights["act"], strict=True):
            y = x @ kernel + own
            x = sum(a * f(y) for a, f in zip(row, ACTIVATIONS.values(), strict=True))
        return x @ last + bias

    return networks.Supernet(init, apply, space)
