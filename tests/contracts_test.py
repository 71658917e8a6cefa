"""The contracts of jnas/testing.py over the registries: a new entry is covered here."""

import jax.numpy as jnp
import pytest
from flax import nnx

from jnas import networks, ops, registry, spaces, testing


@pytest.mark.parametrize("name", list(registry.OPERATIONS))
def test_operations(name):
    """Every operation keeps its contract."""
    testing.check_operation(name)


@pytest.mark.parametrize("name", list(registry.RELAXATIONS))
def test_relaxations(name):
    """Every relaxation keeps its contract."""
    testing.check_relaxation(name)


@pytest.mark.parametrize("name", list(registry.CONTROLLERS))
def test_controllers(name):
    """Every controller keeps its contract."""
    testing.check_controller(name)


@pytest.mark.parametrize("name", list(registry.SPACES))
def test_spaces(name):
    """Every space keeps its contract."""
    testing.check_space(name)


@pytest.mark.parametrize("name", list(registry.DATASETS))
def test_datasets(name):
    """Every embedded data set keeps its contract."""
    testing.check_dataset(name)


def test_methods_name_registered_pieces():
    """A row of pieces names pieces that exist."""
    for make in registry.METHODS.values():
        method = make()
        assert method.relaxation in registry.RELAXATIONS
        assert method.hypergradient in registry.HYPERGRADIENTS


def test_objective():
    """A function of encodings passes, one of the wrong shape does not."""
    testing.check_objective(lambda key, e: e.sum(-1, keepdims=True), (3, 2))
    with pytest.raises(AssertionError, match=r"objective must give f32\[P, M\]"):
        testing.check_objective(lambda key, e: e.sum(-1), (3, 2))


def test_wrong_operations_are_caught():
    """An operation that keeps its size at stride 2, and one that keeps statistics."""

    def flat(features, stride, *, norm, rngs):
        return ops.Identity()

    def leaky(features, stride, *, norm, rngs):
        return nnx.BatchNorm(features, rngs=rngs)

    saved = dict(registry.OPERATIONS._entries)
    try:
        registry.OPERATIONS.register(flat)
        registry.OPERATIONS.register(leaky)
        with pytest.raises(AssertionError, match="flat must map"):
            testing.check_operation("flat")
        with pytest.raises(AssertionError, match="leaky must keep no statistics"):
            testing.check_operation("leaky")
        space = spaces.zoo.tiny().with_operations(("none", "leaky", "skip_connect"))
        with pytest.raises(ValueError, match="'leaky' must keep no statistics"):
            networks.supernet(space, networks.Shape(2, 1, 3))
    finally:
        registry.OPERATIONS._entries = saved


def test_registry_guesses_and_refuses():
    """A miss names the nearest; a second thing of one name is refused."""
    with pytest.raises(KeyError, match="Did you mean 'sep_conv_3x3'"):
        registry.OPERATIONS["sep_conv3x3"]
    table = registry.Registry("thing")
    table.register(lambda: 1, name="a")
    with pytest.raises(ValueError, match="thing must have a new name, got 'a'"):
        table.register(jnp.sin, name="a")
    assert list(table) == ["a"]
