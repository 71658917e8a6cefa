"""Tests of several paths a step: strict fairness, copies of a split supernet."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import own_paths
import pytest

from jnas import gradient, networks, registry, spaces
from jnas.data import tasks
from jnas.gradient import losses, relaxations, weight_regularizers
from jnas.gradient.weight_regularizers import path_gradients
from jnas.networks import few_shot
from jnas.spaces import rows
from jnas.training import program

SPACE = own_paths.SPACE
LEAVES = {"block": (2, 3), "pool": (2,)}


def problem(supernet):
    """What the rules are built from."""
    whole = supernet._replace(
        apply=lambda p, x, w, key=None, variant_inputs=None: supernet.apply(p, x, w)
    )
    return weight_regularizers.Problem(
        whole, relaxations.softmax, None, None, 1, tasks.CLASSIFICATION
    )


def batch(mask=None):
    """Eight images."""
    images, labels = own_paths.split(8)
    return losses.Batch(images, labels, jnp.float32(0), mask)


def plain_gradient(supernet, params, path, given):
    """The gradient of the mean cross-entropy of one path."""

    def loss(params):
        outputs = supernet.apply(params, given.images, path)
        each = optax.softmax_cross_entropy_with_integer_labels(outputs, given.labels)
        return each.mean()

    return jax.grad(loss)(params)


def assert_close(found, wanted):
    """Sums of float32 in another order: a few units of the last place of the largest.

    Absolute, as terms of either sign cancel.
    """
    for a, b in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_every_option_is_drawn_once():
    """In rows of as many options as paths; in shorter ones the numbers differ by 1."""
    mask = jax.tree.map(lambda s: jnp.ones(s.shape, bool), rows.shapes(SPACE))
    draw = jax.jit(lambda key: path_gradients.fair_paths(key, mask))
    orders = set()
    for seed in range(20):
        found = draw(jax.random.key(seed))
        assert {n: leaf.shape[1:] for n, leaf in found.items()} == LEAVES
        assert all(len(leaf) == 3 for leaf in found.values())
        for leaf in found.values():
            assert (leaf.sum(-1) == 1).all() and set(np.unique(leaf)) == {0, 1}
        np.testing.assert_array_equal(found["block"].sum(0), np.ones((2, 3)))
        assert sorted(np.asarray(found["pool"].sum(0)).tolist()) == [1, 2]
        orders.add(str(found["block"].argmax(-1).T.tolist()))
    assert len(orders) > 10  # permutations of both rows, each drawn by itself


def test_removed_options_have_no_turn():
    """The others share the paths; a row without any stays zero."""
    mask = {"block": jnp.array([[True, False, True], [False] * 3])}
    mask["pool"] = jnp.ones(2, bool)
    found = path_gradients.fair_paths(jax.random.key(0), mask)
    counts = np.asarray(found["block"].sum(0))
    assert counts[0, 1] == 0 and sorted(counts[0, ::2].tolist()) == [1, 2]
    assert not counts[1].any()


def test_orders_of_a_row_are_uniform():
    """The six permutations of three options, to five deviations."""
    mask, count = jnp.ones((1, 3), bool), 6_000
    keys = jax.random.split(jax.random.key(0), count)
    found = jax.jit(jax.vmap(lambda k: path_gradients.fair_paths(k, mask)))(keys)
    _, counts = np.unique(found.argmax(-1)[..., 0], axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.abs(counts - count / 6).max() < 5 * (count * 5 / 36) ** 0.5


def test_the_fair_gradient_is_the_sum_over_its_paths():
    """Against one jax.grad a path in a plain loop; what it is given is replaced."""
    net = own_paths.supernet(SPACE, own_paths.SIZE)
    params, given, key = net.init(jax.random.key(1)), batch(), jax.random.key(2)
    rule = path_gradients.strict_fairness(problem(net))
    other = jax.tree.map(lambda leaf: leaf + 9, params)
    found, moves, carry = jax.jit(
        lambda p: rule.call(key, None, p, None, other, given, None, ())
    )(params)
    mask = jax.tree.map(lambda s: jnp.ones(s.shape, bool), rows.shapes(SPACE))
    drawn = path_gradients.fair_paths(jax.random.split(key)[0], mask)
    each = [plain_gradient(net, params, one, given) for one in rows.apart(drawn)]
    assert_close(found, jax.tree.map(lambda *g: sum(g), *each))
    assert moves is None and carry == ()
    # each kernel moves by one path alone: the options without parameters stay
    assert not np.asarray(found["block"])[:, 0].any()
    assert all(np.abs(found["block"][:, o]).max() > 1e-3 for o in (1, 2))


def test_a_split_supernet_is_a_network_of_its_own_for_each_option():
    """At one-hot weights; the gradient reaches that copy alone; others are mixed."""
    net = own_paths.supernet(SPACE, own_paths.SIZE)
    for row, leaf, place in ((1, "block", (1,)), (2, "pool", ())):
        made = few_shot.split(net, row)
        params, given = made.init(jax.random.key(3)), batch()
        assert made.split == row
        count = LEAVES[leaf][-1]
        assert all(len(one) == count for one in jax.tree.leaves(params))
        for option in range(count):
            path = SPACE.weights(jnp.array([2, 1, 0]))
            path[leaf] = path[leaf].at[place].set(jnp.eye(count)[option])
            own = jax.tree.map(lambda p, o=option: p[o], params)
            np.testing.assert_array_equal(
                made.apply(params, given.images, path),
                net.apply(own, given.images, path),
            )
            slopes = plain_gradient(made, params, path, given)
            wanted = plain_gradient(net, own, path, given)
            assert_close(jax.tree.map(lambda g, o=option: g[o], slopes), wanted)
            rest = [np.delete(g, option, 0) for g in jax.tree.leaves(slopes)]
            assert not any(one.any() for one in rest)
        half = path | {leaf: jnp.full(LEAVES[leaf], 1 / count)}
        middle = jax.tree.map(lambda p: p.mean(0), params)
        np.testing.assert_allclose(
            made.apply(params, given.images, half),
            net.apply(middle, given.images, half), rtol=1e-4, atol=1e-5,
        )  # fmt: skip


def test_each_copy_is_trained_on_a_path_of_its_own():
    """Copy k's gradient is that of a supernet alone, on path k."""
    net = own_paths.supernet(SPACE, own_paths.SIZE)
    made, key, given = few_shot.split(net, 0), jax.random.key(4), batch()
    params = made.init(jax.random.key(5))
    rule = path_gradients.each_copy(problem(made))
    found, _, _ = rule.call(key, None, params, None, params, given, None, ())
    draw_key = jax.random.split(key)[0]
    drawn, factors = path_gradients.split_paths(draw_key, SPACE, 0, None)
    np.testing.assert_array_equal(drawn["block"][:, 0], np.eye(3))
    np.testing.assert_array_equal(factors, np.ones(3))
    for option, path in enumerate(rows.apart(drawn)):
        own = jax.tree.map(lambda p, o=option: p[o], params)
        wanted = plain_gradient(net, own, path, given)
        assert_close(jax.tree.map(lambda g, o=option: g[o], found), wanted)
    whole = path_gradients.each_copy(problem(net))
    same, _, _ = whole.call(key, None, own, None, own, given, None, ())
    assert same is own  # a supernet that is not split


def test_paths_through_options_are_uniform_elsewhere():
    """And an option that is removed, or that no cell has, counts with 0."""
    keys = jax.random.split(jax.random.key(0), 3_000)
    mask = {"block": jnp.ones((2, 3), bool).at[0, 1].set(False)}
    mask["pool"] = jnp.ones(2, bool)
    draw = jax.vmap(lambda key: path_gradients.split_paths(key, SPACE, 0, mask))
    drawn, factors = jax.jit(draw)(keys)
    np.testing.assert_array_equal(factors[0], [1, 0, 1])
    share = np.asarray(drawn["block"][:, 0, 1].mean(0))
    assert np.abs(share - 1 / 3).max() < 5 * (2 / 9 / 3_000) ** 0.5
    cells = spaces.zoo.tiny()  # none is no option of its cells
    assert cells.num_kept is not None
    names = rows.rows(cells)[0].options
    paths, factors = path_gradients.split_paths(keys[0], cells, 0, None)
    np.testing.assert_array_equal(factors, [n != "none" for n in names])
    for path, factor in zip(paths, factors, strict=True):
        encoding = cells.strongest(path)
        np.testing.assert_array_equal(cells.weights(encoding), path)
        assert factor == 0 or path[0, 0].any()


def test_few_shot_continues_the_supernet_in_each_copy():
    """The second stage starts from the first one's parameters, thrice; all move."""
    small = {"epochs": 3, "batch_size": 8, "learning_rate": 0.1, "hooks": ()}
    method = dataclasses.replace(registry.METHODS["few_shot"](), **small)
    gradient.check(method, SPACE)
    setting = gradient.Setting(own_paths.SIZE, own_paths.PLAIN, (16, 16))
    splits = own_paths.split(16), own_paths.split(16, 1)
    first, second = gradient.build_segments(method, SPACE, setting)
    assert first.supernet.split is None and second.supernet.split == 0
    state = first.program.init(jax.random.key(0))
    state, _ = program.run(first.program, state, splits)
    start = second.carry(state, second.program.init(jax.random.key(1)))
    for old, new in zip(*map(jax.tree.leaves, (state.inner.params, start.inner.params)),
                        strict=True):  # fmt: skip
        assert new.shape == (3, *old.shape)
        for copy in new:
            np.testing.assert_array_equal(copy, old)
    begun = jax.device_get(start.inner.params)
    end, _ = program.run(second.program, start, splits)
    moved = np.abs(np.asarray(end.inner.params["head"]) - begun["head"])
    assert (moved.max((1, 2)) > 1e-3).all()  # every copy
    assert (end.inner.params["head"][0] != end.inner.params["head"][1]).any()


@pytest.mark.parametrize(
    ("space", "row", "message"),
    [
        (SPACE, 3, "split must be a row of space paths, from 0 to 2, got 3"),
        (SPACE, -1, "split must be a row of space paths"),
        (spaces.zoo.darts(), 2, "split must be a row that every architecture of darts"),
    ],
)
def test_rows_that_cannot_be_split_are_refused(space, row, message):
    """Before anything runs."""
    with pytest.raises(ValueError, match=message):
        networks.check_split(space, row)


def test_what_every_cell_has_can_be_split():
    """The first two edges into a node that keeps both; any row elsewhere."""
    for space, rows_of in (
        (spaces.zoo.darts(), (0, 1, 14, 15)),
        (spaces.zoo.nasbench201(), range(6)),
        (spaces.zoo_chains.tiny_chain(), range(4)),
    ):
        for row in rows_of:
            networks.check_split(space, row)


def test_stages_that_cannot_be_continued_are_refused():
    """A copy has the size of what it is copied from."""
    method = registry.METHODS["few_shot"]()
    one, two = method.stages
    for stages in ((one, dataclasses.replace(two, depth_rate=2.0)), (two, two)):
        with pytest.raises(ValueError, match="split must be that of a stage that con"):
            gradient.check(dataclasses.replace(method, stages=stages), SPACE)
