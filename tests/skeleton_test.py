"""Skeleton and space fit: every kind of cell occurs, or nothing is built."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import networks, registry, spaces
from jnas.networks import skeleton
from jnas.spaces import genotype as genotypes

CHAIN = spaces.CellSpace(
    "chain", tuple(f"block{i}" for i in range(6)), 1, 1, ("skip_connect",), None, (1,)
)
TWO_OF_ONE = spaces.CellSpace(
    "twins", ("a", "b"), 1, 1, ("skip_connect", "nor_conv_1x1"), None, (1,)
)
THREE = spaces.CellSpace(
    "three", ("a", "b", "c"), 2, 1, ("skip_connect", "nor_conv_1x1"), 1, (2,)
)


def builders(space):
    """Returns the functions that build a network of a space, by name."""
    genotype = space.genotype([0] * len(space.sizes))
    return {
        "supernet": lambda size: networks.supernet(space, size),
        "derived": lambda size: networks.derived(genotype, size),
        "switched": lambda size: networks.switched(space, size),
        "one_shot": lambda size: networks.one_shot(space, size),
        "costs": lambda size: networks.option_costs(space, size, (8, 8, 3)),
    }


BUILDERS = list(builders(spaces.zoo.tiny()))


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("space", [CHAIN, TWO_OF_ONE, THREE], ids=lambda s: s.name)
def test_more_kinds_than_the_skeleton_uses(space, name):
    """Kinds that no layer is of would get a gradient of zero."""
    kinds = "one kind of cell" if space.num_inputs == 1 else "one or two kinds of cells"
    message = (
        f"cells must be {kinds} for the network of {space.num_inputs}-input cells, got "
        f"{', '.join(space.cells)}. Describe the cell that is repeated."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        builders(space)[name](networks.Size(2, 6, 3))


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("layers", [1, 2])
def test_too_few_layers_for_both_kinds(layers, name):
    """Of one or two layers each is a reduction; the advice works."""
    build = builders(spaces.zoo.tiny())[name]
    message = (
        f"num_layers must be at least 3 for the cells normal, reduce, got {layers}, "
        "which leaves one of them out. Use --layers=3."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        build(networks.Size(2, layers, 3))
    build(networks.Size(2, 3, 3))


def test_a_genotype_of_three_kinds():
    """Also where no space is registered."""
    cell = genotypes.Cell(((0, 2, "skip_connect"), (1, 2, "skip_connect")), (2,))
    three = genotypes.Genotype("mine", (("a", cell), ("b", cell), ("c", cell)))
    with pytest.raises(ValueError, match="cells must be one or two kinds"):
        networks.derived(three, networks.Size(2, 6, 3))


@pytest.mark.parametrize("layers", range(1, 40))
def test_check_is_the_plan(layers):
    """It refuses exactly the sizes whose layers have not both kinds.

    A third and two thirds of the layers are reductions (arXiv:1806.09055, 2.4), so the
    kinds are counted without the skeleton's own list.
    """
    reductions = {int(layers / 3), int(2 * layers / 3)} & set(range(layers))
    both = 0 < len(reductions) < layers
    try:
        skeleton.check(2, ("normal", "reduce"), layers)
    except ValueError:
        assert not both
    else:
        assert both
        size = networks.Size(2, layers, 3)
        places = skeleton.plan(2, ("normal", "reduce"), 2, size)
        found = [i for i, place in enumerate(places) if place.cell]
        assert found == sorted(reductions)


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_one_kind_needs_one_layer(layers):
    """One kind makes normal cells and reductions; each row has a gradient."""
    for num_inputs in (1, 2):
        skeleton.check(num_inputs, ("cell",), layers)
    space = spaces.CellSpace(
        "one", ("cell",), 2, 1, ("skip_connect", "avg_pool_3x3"), None, (2,)
    )
    net = networks.supernet(space, networks.Size(2, layers, 3))
    params = net.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    weights = jnp.full(space.shape, 0.5)
    grads = jax.grad(lambda w: (net.apply(params, x, w) ** 2).sum())(weights)
    assert (np.abs(grads).max(-1) > 0).all()


CELLS = [n for n, make in registry.SPACES.items() if make().supernet == "cells"]


@pytest.mark.parametrize("name", CELLS)
def test_registered_spaces_have_a_smallest_network(name):
    """Three layers of two kinds, one of one kind."""
    space = registry.SPACES[name]()
    least = 3 if len(space.cells) == 2 else 1
    skeleton.check(space.num_inputs, space.cells, least)
    if least > 1:
        with pytest.raises(ValueError, match=f"must be at least {least}"):
            skeleton.check(space.num_inputs, space.cells, least - 1)
