"""Tests of the most probable cells of mixing weights."""

import itertools

import jax
import numpy as np
import pytest
from absl.testing import absltest

from jnas import networks, registry
from jnas.networks import limits
from jnas.spaces.canonical import canonical, prune


def brute(space, weights):
    """Lists all cells of a space by their products of weights, distinct ones once."""
    found, seen = [], set()
    every = np.array(list(itertools.product(*map(range, space.sizes))), np.int32)
    rows = np.asarray(jax.vmap(space.weights)(every))
    left = np.asarray(jax.vmap(lambda one: prune(space, one))(rows)).sum((2, 3))
    empty = {tuple(one) for one in every[(left == 0).any(1)].tolist()}
    for encoding, one_hot in zip(every, rows, strict=True):
        kept = (one_hot * weights).sum(-1)[one_hot.sum(-1) > 0]
        found.append((-np.log(kept).sum(), encoding))
    found.sort(key=lambda pair: pair[0])
    cells = []
    for cost, encoding in found:
        form = canonical(space, encoding)
        if tuple(encoding.tolist()) in empty or form in seen:
            continue
        seen.add(form)
        cells.append((cost, encoding))
    return cells


def small(operations):
    """Returns NAS-Bench-201's cells with a few operations."""
    return registry.SPACES["nasbench201"]().with_operations(operations)


class LikeliestTest(absltest.TestCase):
    """Against a list of all cells."""

    def test_they_are_those_of_brute_force(self):
        """Products in order, isomorphic and empty cells left out; limits are kept."""
        space = small(["none", "skip_connect", "nor_conv_1x1"])
        weights = np.random.default_rng(0).dirichlet(np.ones(3), space.shape[:2])
        wanted = brute(space, weights)
        found = networks.likeliest(space, weights, 30)
        self.assertLen(found, 30)
        for one, (_, encoding) in zip(found, wanted, strict=False):
            np.testing.assert_array_equal(one, encoding)
        costs = networks.option_costs(space, networks.Size(4, 1, 10), (8, 8, 3))
        low, high = limits.extent(costs["parameters"])
        bound = limits.limit("parameters", (2 * low + high) / 3, costs["parameters"])
        cheap = [one for _, one in wanted if limits.fits(space, one, [bound])]
        found = networks.likeliest(space, weights, 10, [bound])
        np.testing.assert_array_equal(found, cheap[:10])
        self.assertFalse(
            all(limits.fits(space, one, [bound]) for _, one in wanted[:30])
        )

    def test_a_small_space_gives_what_it_has(self):
        """All distinct cells, when more are asked for."""
        space = small(["none", "skip_connect"])
        weights = np.full(space.shape, 0.5)
        self.assertLen(
            networks.likeliest(space, weights, 1000), len(brute(space, weights))
        )


@pytest.mark.parametrize("name", ["tiny", "darts"])
def test_the_first_is_the_strongest(name):
    """Of cells of two inputs too, whose nodes choose their inputs."""
    space = registry.SPACES[name]()
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(space.shape[-1]), space.shape[:2])
    found = networks.likeliest(space, weights, 5)
    np.testing.assert_array_equal(found[0], space.strongest(weights))
    scores = []
    for one in found:
        one_hot = np.asarray(space.weights(one))
        scores.append(np.log((one_hot * weights).sum(-1)[one_hot.sum(-1) > 0]).sum())
    assert scores == sorted(scores, reverse=True)


if __name__ == "__main__":
    absltest.main()
