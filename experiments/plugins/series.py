"""A space of networks of series [N, L, C]: a kernel's width for each of four layers.

    python experiments/search.py --workdir=runs/series --data=waves --space=series \
        --plugins=experiments/plugins/series.py

The supernet and the network of one choice are written in plain JAX. A layer adds the
ReLU of a convolution along the series, or is left out; two of the four layers halve the
series before it.
"""

import jax
import jax.numpy as jnp

from jnas import networks, registry, spaces
from jnas.spaces import genotype_choices

WIDTHS = {"skip": 0, "conv_3": 3, "conv_7": 7, "conv_15": 15}
HALVES = False, True, False, True


@registry.SPACES.register
def series():
    """Returns the space: skip or one of three widths, for each layer."""
    choices = {"layer": (tuple(WIDTHS),) * len(HALVES)}
    return spaces.ChoiceSpace("series", choices, supernet="series")


def _init(key, size, kept):
    """Draws the kernels of the options that each layer keeps."""
    features = 4 * size.features
    shapes = {
        "stem": (3, size.channels, features),
        "last": (features, size.num_classes),
    }
    for layer, names in enumerate(kept):
        for name in names:
            if WIDTHS[name]:
                shapes[f"{layer}_{name}"] = (WIDTHS[name], features, features)
    keys = jax.random.split(key, len(shapes))
    drawn = zip(shapes.items(), keys, strict=True)
    return {
        name: jax.random.normal(own, shape) * (2 / (shape[0] * shape[-2])) ** 0.5
        for (name, shape), own in drawn
    }


def _conv(x, kernel):
    """Convolves a series f32[B, L, F] along L."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
    )


def _apply(params, x, weights):
    """Maps series f32[B, L, C] to outputs f32[B, K]; layers are name -> weight."""
    x = _conv(x, params["stem"])
    for layer, (halves, row) in enumerate(zip(HALVES, weights, strict=True)):
        if halves:
            even = x.shape[1] // 2 * 2
            x = (x[:, :even:2] + x[:, 1:even:2]) / 2
        y = x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5)
        x = x + sum(
            a * jax.nn.relu(_conv(y, params[f"{layer}_{name}"]))
            for name, a in row.items()
            if WIDTHS[name]
        )
    return x.mean(1) @ params["last"]


@registry.SUPERNETS.register(name="series")
def series_supernet(space, size):
    """Builds the network that computes every width of every layer."""

    def apply(params, x, weights):
        rows = [dict(zip(WIDTHS, row, strict=True)) for row in weights["layer"]]
        return _apply(params, x, rows)

    every = [tuple(WIDTHS)] * len(HALVES)
    return networks.Supernet(lambda key: _init(key, size, every), apply, space)


@registry.DERIVED.register(name="series")
def series_network(genotype, size):
    """Builds the network of one choice a layer, which costs what it computes."""
    space = genotype_choices.space_of(genotype)
    chosen = [
        space.choices["layer"][gene][option]
        for gene, option in enumerate(space.encode(genotype))
    ]

    def apply(params, stats, x, *, train, key=None, drop_path_rate=None):
        return (_apply(params, x, [{name: 1.0} for name in chosen]), None), stats

    kept = [(name,) for name in chosen]
    return networks.Network(lambda key: (_init(key, size, kept), {}), apply)
