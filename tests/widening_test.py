"""Tests of what a wider stage of a search begins with, and of its optimiser."""

import dataclasses
import functools
import os
import subprocess
import sys

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

from jnas import networks, spaces
from jnas.training import devices, optimizers, placement, program

TINY = spaces.zoo.tiny()
KEY = jax.random.key(7)


def numbered(*shape):
    """An array whose entries all differ."""
    return jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape)


def features(new, axis, old_length):
    """Which old feature each new one is, read off an array that numbers them."""
    rows = np.moveaxis(np.asarray(new), axis, 0).reshape(new.shape[axis], -1)
    first = rows[:old_length]
    return [int(np.flatnonzero((first == row).all(1))[0]) for row in rows]


@hypothesis.given(
    st.lists(
        st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from([0, 1, 4])),
        min_size=1,
        max_size=3,
    ),
    st.integers(0, 3),
)
@hypothesis.settings(deadline=None, max_examples=30)
def test_features_stay_and_new_ones_are_copies(axes, seed):
    """On any axes: what was there stays in place, the rest repeats whole rows of it."""
    old = numbered(*(length for length, _ in axes))
    like = jnp.zeros([length + more for length, more in axes])
    new = networks.widen(jax.random.key(seed), old, like)
    assert new.shape == like.shape
    corner = tuple(slice(0, length) for length, _ in axes)
    np.testing.assert_array_equal(new[corner], old)
    # entry (i, j, ...) of the new is entry (f(i), g(j), ...) of the old
    index = [
        features(np.asarray(new), axis, length) for axis, (length, _) in enumerate(axes)
    ]
    np.testing.assert_array_equal(new, np.asarray(old)[np.ix_(*index)])


def test_equal_lengths_draw_alike():
    """A layer's inputs are the features that the layer before gives out.

    Widths are drawn apart from each other; all features may be copied, and another key
    copies others.
    """
    old = {
        "kernel": numbered(3, 3, 8, 8),
        "next": numbered(5, 8),
        "other": numbered(4, 8),
        "scale": numbered(8),
        "count": jnp.int32(3),
    }
    like = {
        "kernel": jnp.zeros((3, 3, 40, 40)),
        "next": jnp.zeros((5, 40)),
        "other": jnp.zeros((4, 24)),
        "scale": jnp.zeros(40),
        "count": jnp.int32(0),
    }
    new = networks.widen(KEY, old, like)
    drawn = features(new["scale"], 0, 8)
    assert drawn[:8] == list(range(8)) and set(drawn[8:]) == set(range(8))
    assert features(new["kernel"], 2, 8) == drawn == features(new["kernel"], 3, 8)
    assert features(new["next"], 1, 8) == drawn
    assert features(new["other"], 1, 8) != drawn[:24]
    assert new["count"] is old["count"]
    again = networks.widen(jax.random.key(8), old, like)
    assert features(again["scale"], 0, 8) != drawn
    jitted = jax.jit(networks.widen)(KEY, old, like)
    jax.tree.map(np.testing.assert_array_equal, jitted, new)


def test_a_linear_chain_of_copies():
    """Two wider layers compute what the sums over copies say: none is divided.

    y = B A x: each new row of A repeats an old one and so does each new column of B, so
    that the hidden feature i counts as often as it was drawn.
    """
    rng = np.random.default_rng(0)
    a, b, x = (rng.normal(size=s).astype(np.float32) for s in ((6, 4), (4, 3), (2, 6)))
    wide_a, wide_b = networks.widen(KEY, (a, b), (np.zeros((6, 9)), np.zeros((9, 3))))
    times = np.bincount(features(np.asarray(wide_a), 1, 4), minlength=4)
    assert times.sum() == 9 and times.min() >= 1 and times.max() > 1
    want = (x @ a * times) @ b
    np.testing.assert_allclose(x @ wide_a @ wide_b, want, rtol=1e-4, atol=1e-5)


def test_a_supernet_of_fewer_channels_becomes_wider():
    """A fourth to a half of the features: shapes of a fresh one, and its optimiser's.

    By eval_shape; what is as wide as before is the same array's shape and dtype.
    """
    shape = networks.Size(8, 3, 3, channels=1)
    optimizer = optimizers.momentum_sgd(
        optimizers.cosine_by_epoch(start=0.1, end=0, num_epochs=2, steps_per_epoch=3)
    )

    def fresh(partial):
        net = networks.supernet(
            TINY, shape, variant=networks.EdgeVariant(partial=partial)
        )

        def init(key):
            params = net.init(key)
            return params, optimizer.init(params)

        return jax.eval_shape(init, jax.random.key(0))

    before, like = fresh(4), fresh(2)
    after = jax.eval_shape(networks.widen, jax.random.key(0), before, like)
    assert jax.tree.structure(after) == jax.tree.structure(like)
    same = changed = 0
    for old, new, want in zip(
        *map(jax.tree.leaves, (before, after, like)), strict=True
    ):
        assert new.shape == want.shape and new.dtype == want.dtype
        same, changed = (
            same + (old.shape == new.shape),
            changed + (old.shape != new.shape),
        )
    assert same and changed


def test_a_wider_supernet_runs_and_keeps_its_stem():
    """Values: stem and classifier as they were, candidates repeated."""
    one_kind = dataclasses.replace(TINY, name="mini", cells=("cell",))
    space = one_kind.with_operations(["skip_connect", "sep_conv_3x3"])
    shape = networks.Size(8, 1, 3, channels=1)
    narrow, wide = (
        networks.supernet(space, shape, variant=networks.EdgeVariant(partial=p))
        for p in (4, 2)
    )
    params = program.once(narrow.init)(jax.random.key(0))
    like = jax.eval_shape(wide.init, jax.random.key(0))
    widened = networks.widen(KEY, params, like)
    for name in ("stem", "classifier"):
        jax.tree.map(np.testing.assert_array_equal, widened[name], params[name])
    weights = jnp.full(space.shape, 0.5)
    outputs = jax.jit(wide.apply)(widened, jnp.ones((2, 4, 4, 1)), weights)
    assert np.isfinite(outputs).all()


# Seeds over devices.


def counted(state):
    """A function of one seed that is not the same for two."""
    return {"sum": state["x"].sum() + state["n"], "x": jnp.sin(state["x"])}


STATES = {"x": numbered(4, 3), "n": jnp.arange(4)}


def test_one_device_takes_seeds_in_turn():
    """The same numbers as ``in_turn``, jitted or not; and as a loop."""
    assert len(jax.local_devices()) == 1
    for run in (placement.divided, jax.jit(placement.divided, static_argnums=0)):
        got, want = run(counted, STATES), devices.in_turn(counted, STATES)
        jax.tree.map(np.testing.assert_array_equal, got, want)
    for seed in range(4):
        one = counted(jax.tree.map(lambda a, s=seed: a[s], STATES))
        np.testing.assert_allclose(got["sum"][seed], one["sum"])
        np.testing.assert_allclose(got["x"][seed], one["x"], rtol=1e-6)


TWO_DEVICES = """
import jax, jax.numpy as jnp
from jnas import program
from jnas.training import placement
assert len(jax.devices()) == 2
function = lambda s: {"y": jnp.sin(s["x"]).sum()}
for seeds in (4, 3):
    states = {"x": jnp.arange(5.0 * seeds).reshape(seeds, 5)}
    share = placement.jit(
        lambda s: program.divided(function, s), count=seeds, out_specs=placement.APART)
    got = share(states)["y"]
    want = program.in_turn(function, states)["y"]
    assert jnp.allclose(got, want, rtol=1e-6), (got, want)
    print(seeds, len({str(shard.index) for shard in got.addressable_shards}))
"""


def test_two_devices_share_the_seeds():
    """Half of four on each; three, which two do not divide, on one."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES],
        env=os.environ | flags | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["4", "2", "3", "1"]


# Weight decay that may be changed.


@functools.cache
def tree(seed):
    """Parameters of two layers."""
    rng = np.random.default_rng(seed)
    shapes = {"a": (3, 2), "b": (4,)}
    return {n: jnp.float32(rng.normal(size=s)) for n, s in shapes.items()}


@pytest.mark.parametrize("rate", [0.0, 3e-4, 0.5])
def test_carried_decay_is_weight_decay(rate):
    """Three steps of the whole optimiser, as with ``optax.add_decayed_weights``."""
    plain, carried = (
        optimizers.momentum_sgd(0.1, weight_decay=rate, nesterov=True, **more)
        for more in ({}, {"decay": optimizers.carried_decay})
    )
    params = [tree(0), tree(0)]
    states = [plain.init(tree(0)), carried.init(tree(0))]
    for step in range(3):
        for i, optimizer in enumerate((plain, carried)):
            updates, states[i] = optimizer.update(tree(step), states[i], params[i])
            params[i] = optax.apply_updates(params[i], updates)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
            *params,
        )


def test_the_rate_of_decay_can_be_set():
    """g + rate w at each rate that is set, in a chain and under jit; w stays apart."""
    optimizer = optax.chain(optax.identity(), optimizers.carried_decay(1e-3))
    state, update = optimizer.init(tree(0)), jax.jit(optimizer.update)
    for rate in (1e-3, 0.25, 4.0):
        state = optax.tree.set(state, decay_rate=jnp.float32(rate))
        moved, state = update(tree(1), state, tree(0))
        for name, gradient in tree(1).items():
            want = np.asarray(gradient) + rate * np.asarray(tree(0)[name])
            np.testing.assert_allclose(moved[name], want, rtol=1e-6, atol=1e-6)
        assert optax.tree.get(state, "decay_rate") == np.float32(rate)
    assert update._cache_size() == 1
