"""Three inputs, a picture, numbers and a token; two targets, a class and a number."""

import jax
import jax.numpy as jnp
import optax

from jnas import data, networks, registry, spaces

CLASSES = 10
MIXES = {"sum": jnp.add, "product": jnp.multiply, "largest": jnp.maximum}


@registry.TASKS.register
def kind_and_size(targets):
    """Returns the task: cross-entropy of the class, squared error of the number."""

    def loss(outputs, y):
        kinds, size = outputs[:, :CLASSES], outputs[:, CLASSES]
        entropy = optax.softmax_cross_entropy_with_integer_labels(kinds, y["kind"])
        return entropy + (size - y["size"]) ** 2

    def right(outputs, y):
        return outputs[:, :CLASSES].argmax(-1) == y["kind"]

    def error(outputs, y):
        return (outputs[:, CLASSES] - y["size"]) ** 2

    return data.Task(CLASSES + 1, loss, {"kind_accuracy": right, "size_error": error})


@registry.SPACES.register
def joined():
    """Returns the space: how two inputs are joined, and an activation after it."""
    choices = {"mix": (tuple(MIXES),), "act": (("relu", "tanh"),)}
    return spaces.ChoiceSpace("joined", choices, supernet="joined")


@registry.SUPERNETS.register(name="joined")
def joined_supernet(space, size):
    """Builds the network of pictures [B, 8, 8, 1], numbers [B, 3], tokens i32[B]."""
    wide = 8 * size.features
    shapes = {"picture": (64, wide), "numbers": (3, wide), "token": (5, wide)}
    shapes |= {"last": (wide, CLASSES + 1)}

    def init(key):
        keys = jax.random.split(key, len(shapes))
        drawn = map(jax.random.normal, keys, shapes.values())
        return {n: w * w.shape[0] ** -0.5 for n, w in zip(shapes, drawn, strict=True)}

    def apply(params, x, weights):
        a = x["picture"].reshape(-1, 64) @ params["picture"]
        b = x["numbers"] @ params["numbers"] + params["token"][x["token"]]
        (mix,), (relu, tanh) = weights["mix"], weights["act"][0]
        x = sum(w * f(a, b) for w, f in zip(mix, MIXES.values(), strict=True))
        return (relu * jax.nn.relu(x) + tanh * jnp.tanh(x)) @ params["last"]

    return networks.Supernet(init, apply, space)
