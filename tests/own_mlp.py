"""A space and its supernet in plain JAX: residual dense layers on pooled pixels."""

import jax
import jax.numpy as jnp

from jnas import networks, registry, spaces

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "gelu": jax.nn.gelu}
LAYERS = 2


@registry.SPACES.register
def mlp():
    """Returns the space: an activation for each layer, and a pooling."""
    choices = {"act": (tuple(ACTIVATIONS),) * LAYERS, "pool": ("mean", "max")}
    return spaces.ChoiceSpace("mlp", choices, supernet="mlp")


@registry.SUPERNETS.register(name="mlp")
def mlp_supernet(space, size):
    """Builds the network that computes every activation and both poolings."""
    width = 4 * size.features

    def dense(key, before, after):
        kernel = jax.random.normal(key, (before, after)) * before**-0.5
        return {"kernel": kernel, "bias": jnp.zeros(after)}

    def init(key):
        first, last, *keys = jax.random.split(key, LAYERS + 2)
        return {
            "first": dense(first, 4 * size.channels, width),
            "layers": [dense(key, width, width) for key in keys],
            "last": dense(last, width, size.num_classes),
        }

    def apply(params, x, weights):
        b, h, w, c = x.shape
        x = x.reshape(b, 2, h // 2, 2, w // 2, c)
        mean, largest = weights["pool"]
        x = (mean * x.mean((2, 4)) + largest * x.max((2, 4))).reshape(b, -1)
        x = x @ params["first"]["kernel"] + params["first"]["bias"]
        for own, row in zip(params["layers"], weights["act"], strict=True):
            y = x @ own["kernel"] + own["bias"]
            x = x + sum(
                a * f(y) for a, f in zip(row, ACTIVATIONS.values(), strict=True)
            )
        return x @ params["last"]["kernel"] + params["last"]["bias"]

    return networks.Supernet(init, apply, space)
