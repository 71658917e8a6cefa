"""Tests of RLNAS' angles: against flattened vectors in NumPy, of derived paths."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import own_paths
import pytest

from jnas import data, gradient, networks, registry, spaces
from jnas.gradient import hooks, mixing, relaxations
from jnas.gradient.hooks import angles
from jnas.gradient.hooks import hook as hook_lib
from jnas.training import program

SPACE = own_paths.SPACE
CELLS = spaces.CellSpace(
    "mini", ("cell",), 1, 2, ("none", "skip_connect", "nor_conv_1x1"), None, (2,)
)


def cosine_angle(u, v):
    """Arccosine in float64."""
    return math.acos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))


@pytest.mark.parametrize("wanted", [1e-3, 0.5, 1.5, 3.0])
def test_angles_are_accurate_where_an_arccosine_is_not(wanted):
    """Of two vectors in a plane, at any lengths; float32 keeps five digits."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(40, 2)))
    u, v = basis[:, 0], np.cos(wanted) * basis[:, 0] + np.sin(wanted) * basis[:, 1]
    both = [{"a": 3.0 * x[:7], "b": 3.0 * x[7:].reshape(11, 3)} for x in (u, v)]
    both[1] = jax.tree.map(lambda leaf: leaf / 40, both[1])
    chosen = jax.tree.map(lambda leaf: np.ones(leaf.shape, bool), both[0])
    found = angles.angle(*jax.tree.map(np.float32, both), chosen)
    np.testing.assert_allclose(found, wanted, rtol=2e-4)
    zero = jax.tree.map(jnp.zeros_like, both[0])
    assert angles.angle(zero, both[1], chosen) == 0


def apply_of(supernet):
    """The supernet's apply as ``used`` takes it."""
    return lambda params, x, weights, key: supernet.apply(params, x, weights)


def test_a_path_uses_its_own_parameters():
    """Of all 18 paths; the shift before the normalisation is nobody's."""
    net = own_paths.supernet(SPACE, own_paths.SIZE)
    params, (images, _) = net.init(jax.random.key(0)), own_paths.split(16)
    find = jax.jit(
        lambda w: angles.used(jax.random.key(1), apply_of(net), params, w, images, 30)
    )  # draws enough that each unit of a relu after a relu is above 0 in one of them
    for encoding in own_paths.ALL:
        found, depends = find(SPACE.weights(jnp.asarray(encoding)))
        wanted = jax.tree.map(lambda leaf: np.zeros(leaf.shape, bool), params)
        wanted["stem"][:], wanted["head"][:], wanted["pool"][encoding[2]] = (True,) * 3
        for row, block in enumerate(encoding[:2]):
            wanted["block"][row, block] = block > 0
        for leaf, want in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
            np.testing.assert_array_equal(leaf, want)
        assert bool(depends)


def test_a_cells_path_has_the_parameters_of_its_derived_network():
    """Any supernet: a cell's edges, by number; what ``none`` cuts off is not used."""
    size = networks.Size(2, 1, 2, channels=1)
    net = networks.supernet(CELLS, size)
    params = program.once(net.init)(jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (4, 4, 4, 1))
    find = jax.jit(
        lambda w: angles.used(jax.random.key(1), apply_of(net), params, w, images)
    )
    edges = list(CELLS.edges)

    def convolutions(found):
        """Which edges' convolution is used, in every layer of cells."""
        seen = []
        for name, _, mixture in net.layers:
            if not mixture:
                continue
            own = found[name]["nodes"]
            where = {}
            for group in mixture.groups:
                for place, edge in enumerate(group.edges):
                    kernel = jax.tree.leaves(
                        {k: v for k, v in own[group.name].items() if "conv" in k}
                    )
                    # [layers, edges, ...] or [edges, ...]
                    used = [
                        bool(np.asarray(leaf)[..., place, :, :, :, :].all())
                        for leaf in kernel if leaf.ndim >= 5
                    ]  # fmt: skip
                    where[edge.source, edge.target] = any(used)
            seen.append(where)
        return seen

    for encoding, wanted in (
        ([2, 1, 2], {(0, 1), (1, 2)}),
        ([2, 2, 0], {(0, 2)}),  # node 1 reaches nothing
        ([0, 2, 2], {(0, 2)}),  # nothing reaches node 1
    ):
        weights = CELLS.weights(jnp.array(encoding))
        found, depends = find(weights)
        assert bool(depends)
        for where in convolutions(found):
            assert {edge for edge in edges if where[edge]} == wanted
    found, depends = find(CELLS.weights(jnp.array([0, 0, 0])))
    assert not bool(depends)


def trained(seed=0, **changes):
    """Runs RLNAS on the 18 paths; returns the segment, the first and last state."""
    small = {"epochs": 3, "batch_size": 8, "learning_rate": 0.1}
    method = dataclasses.replace(registry.METHODS["rlnas"](), **small | changes)
    gradient.check(method, SPACE)
    setting = gradient.Setting(own_paths.SIZE, own_paths.PLAIN, (24, 16))
    (segment,) = gradient.build_segments(method, SPACE, setting)
    splits = own_paths.split(24), own_paths.split(16, 1)
    first = segment.program.init(jax.random.key(seed))
    begun = jax.device_get(first.inner.params)
    state, metrics = program.run(segment.program, first, splits)
    return segment, begun, state, metrics


def test_the_chosen_path_has_the_largest_angle():
    """Of all 18, in NumPy on the flattened vectors of each path."""
    segment, begun, state, metrics = trained()
    after = jax.device_get(state.inner.params)
    each = [
        cosine_angle(*(own_paths.vector(p, e) for p in (begun, after)))
        for e in own_paths.ALL
    ]
    order = np.sort(each)
    assert order[-1] > order[-2] + 1e-4 and order[0] > 0.05  # the test can fail
    encoding, _ = gradient.derive(segment.pieces, SPACE, state)
    np.testing.assert_array_equal(encoding, own_paths.ALL[np.argmax(each)])
    # float32 parameters of length 5 or so
    np.testing.assert_allclose(metrics["best_path_angle"], order[-1], rtol=1e-4)
    carry = state.inner.hooks[0].carry
    jax.tree.map(np.testing.assert_array_equal, carry.initial, begun)


def test_a_path_that_passes_nothing_has_no_angle():
    """Of cells of ``none`` and one convolution: the path that connects is chosen."""
    net = networks.Supernet(None, lambda p, x, w, key=None, variant_inputs=None: (
        w["edge"][1] * (x.reshape(len(x), -1)[:, :3] @ p["w"]) + p["b"]
    ), spaces.ChoiceSpace("cut", {"edge": ("none", "conv")}, "cut"))  # fmt: skip
    search = hooks.Search(
        net, mixing.build_weights_of(net.space, relaxations.softmax),
        registry.SELECTIONS["strongest"], own_paths.PLAIN, 4, 1,
    )  # fmt: skip
    hook = angles.angle_paths(
        search, controller="random_search", num_evaluations=8,
        population_size=None, mutation_rate=None, crossover_rate=None,
    )  # fmt: skip
    params = {"w": jnp.ones((3, 2)), "b": jnp.array([1.0, 0.0])}
    first = gradient.GradientState(params, None, (), (), None)
    # the bias turns by a right angle, the path through the kernel by less
    params = {"w": jnp.ones((3, 2)), "b": jnp.array([0.0, 1.0])}
    clock = program.Clock(jnp.int32(0), jnp.float32(1), jnp.int32(1))
    carry, values = hook.call(
        jax.random.key(0), clock, first._replace(params=params), hook.init(first),
        own_paths.split(8),
    )[1:3]  # fmt: skip
    assert hook.found(carry) == (True, jnp.array([1]))
    np.testing.assert_allclose(values["best_path_angle"], math.acos(6 / 7), rtol=1e-4)


def test_keys_and_counts():
    """The same key, the same path; other paths by another; nothing below one."""
    states = [trained(seed, epochs=1)[2].inner for seed in (0, 0, 1)]
    jax.tree.map(np.testing.assert_array_equal, states[0].hooks, states[1].hooks)
    values = [float(s.hooks[0].values["mean_path_angle"]) for s in states]
    assert values[0] != values[2]
    with pytest.raises(ValueError, match="num_evaluations at least 1, got 0"):
        angles.angle_paths(hook_search(), num_evaluations=0)


def hook_search():
    """What a hook on the 18 paths is built from."""
    net = own_paths.supernet(SPACE, own_paths.SIZE)
    return hook_lib.Search(net, None, None, data.Augment((0.5,), (0.25,)), 4, 1)


def test_the_row_has_its_papers_numbers():
    """Random labels, no signal, NSGA-II in 20 rounds of 50."""
    row = registry.METHODS["rlnas"]()
    assert row.random_labels and row.hooks == ("angle_paths",)
    assert (row.epochs, row.batch_size, row.weight_decay) == (250, 64, 3e-4)
    numbers = registry.HOOKS["angle_paths"].__kwdefaults__
    assert (numbers["num_evaluations"], numbers["population_size"]) == (1000, 50)
