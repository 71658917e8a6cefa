"""check_space builds the supernet and finds rows that change nothing, by name."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jnas import networks, ops, registry, spaces, testing
from jnas.networks import rows
from jnas.training import program

TWO = ("skip_connect", "avg_pool_3x3")


class Blind(nnx.Module):
    """The identity, without a gradient."""

    def __init__(self, stride):
        """Makes the operation."""
        self.stride = stride

    def __call__(self, x):
        """Maps f32[B, H, W, F] to every stride-th pixel of it."""
        return jax.lax.stop_gradient(x[:, :: self.stride, :: self.stride])


def blind(features, stride, *, norm, rngs):
    """Builds an operation that passes no gradient on."""
    return Blind(stride)


def late(features, stride, *, norm, rngs):
    """Builds a convolution whose kernel starts at zero, as some papers' do."""
    conv = ops.Conv(features, features, stride=stride, rngs=rngs)
    conv.kernel[...] = jnp.zeros_like(conv.kernel[...])
    return conv


def space(name, *fields):
    """Returns a function that makes a space."""
    return lambda: spaces.CellSpace(name, *fields)


DEAD = {
    # what is wrong -> space, message
    "six kinds of cell": (
        space("wrong", tuple(f"block{i}" for i in range(6)), 1, 1, TWO, None, (1,)),
        "cells must be one kind of cell for the network of 1-input cells, got block0, "
        "block1, block2, block3, block4, block5.",
    ),
    "two kinds of one input": (
        space("wrong", ("a", "b"), 1, 1, TWO, None, (1,)),
        "cells must be one kind of cell",
    ),
    "a node that leads nowhere": (
        space("wrong", ("cell",), 2, 2, TWO, None, (2,)),
        "wrong must have a gradient at every row of its weights, got none at "
        "cell/0->3, cell/1->3, cell/2->3.",
    ),
}


@pytest.fixture
def register(monkeypatch):
    """Returns a function that registers a space as ``wrong``, and operations."""
    operations = registry.OPERATIONS._entries | {"blind": blind, "late": late}
    monkeypatch.setattr(registry.OPERATIONS, "_entries", operations)

    def make(space):
        monkeypatch.setattr(registry.SPACES, "_entries", {"wrong": space})

    return make


@pytest.mark.parametrize("name", DEAD)
def test_dead_rows_are_named(name, register):
    """A space that has passed so far, and could not be searched."""
    make, message = DEAD[name]
    register(make)
    with pytest.raises(AssertionError, match=re.escape(message)):
        testing.check_space("wrong")


def test_rows_behind_an_operation_without_a_gradient(register):
    """The rows into node 2 are seen through its edge alone, which passes nothing on."""
    register(space("wrong", ("cell",), 2, 2, ("blind", "none"), None, (3,)))
    with pytest.raises(AssertionError, match=r"got none at cell/0->2, cell/1->2\.$"):
        testing.check_space("wrong")


def test_what_may_be_zero(register):
    """Rows of ``none`` alone, and operations that start at zero, are no fault."""
    lists = ((("none", "late"), ("none", "skip_connect")),)
    register(space("wrong", ("cell",), 2, 1, lists, None, (2,)))
    testing.check_space("wrong")
    alone = ((("late",), ("none",)),)
    register(space("wrong", ("cell",), 2, 1, alone, None, (2,)))
    testing.check_space("wrong")


def test_gradients_are_those_of_finite_differences():
    """Central differences of the same sum, in float64, at a few entries."""
    mini = spaces.CellSpace("mini", ("cell",), 2, 1, TWO, None, (2,))
    with jax.enable_x64(True):
        found = program.once(rows.row_gradients(mini))(jax.random.key(3))
        keys = jax.random.split(jax.random.key(3), 5)
        net = networks.supernet(mini, networks.Size(2, 1, 2))
        params = rows._drawn(keys[0], net.init)
        images = jax.random.normal(keys[1], (2, 8, 8, 3))
        weights = jax.nn.softmax(jax.random.normal(keys[3], mini.shape))
        shares = jax.random.normal(keys[4], (2, 2))
        value = jax.jit(lambda w: (net.apply(params, images, w) * shares).sum())
        for e, o in np.ndindex(2, 2):
            step = jnp.zeros(mini.shape).at[0, e, o].set(1e-5)
            slope = (value(weights + step) - value(weights - step)) / 2e-5
            np.testing.assert_allclose(found[0, e, o], slope, rtol=1e-5, atol=1e-9)
