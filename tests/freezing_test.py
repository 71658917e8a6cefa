"""Tests of OLES: similarities and decisions against loops over instances."""

import dataclasses
import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, gradient, networks, registry, spaces
from jnas.gradient import losses, relaxations, weight_regularizers
from jnas.gradient.weight_regularizers import freezing
from jnas.training import program

SPACE = spaces.CellSpace(
    "mini", ("normal", "reduce"), 2, 2,
    ("none", "skip_connect", "nor_conv_3x3", "sep_conv_3x3"), 2, (2, 3),
)  # fmt: skip
CHAIN = spaces.zoo_chains.tiny_chain()


def problem_of(net, valid_loss):
    """A problem of which the rule reads the network and the validation loss."""
    return weight_regularizers.Problem(net, None, None, valid_loss, 3)


def inner(key, params, logits, batch):
    """A loss whose gradient in the params is the batch."""
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, params, batch))), {}


def instances_of(net, params):
    """Lists (path, index of the instance) of all operations but skips, by loops."""
    found = []
    for one in net.inside.candidates:
        if one.name == "skip_connect":
            continue
        leaf = jax.tree.leaves(functools.reduce(operator.getitem, one.path, params))[0]
        found += [(one.path, i) for i in np.ndindex(leaf.shape[: one.axes])]
    return found


def arrays(tree, path, index):
    """The arrays of one instance."""
    leaves = jax.tree.leaves(functools.reduce(operator.getitem, path, tree))
    return [np.float64(leaf[index]) for leaf in leaves]


def authors_similarity(a, b):
    """Mean over arrays of the mean of cosines over the output features."""
    found = []
    for x, y in zip(a, b, strict=True):
        x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
        found.append(np.mean([
            p @ q / (np.linalg.norm(p) * np.linalg.norm(q))
            for p, q in zip(x, y, strict=True)
        ]))  # fmt: skip
    return np.mean(found)


def noisy(key, base, share):
    """A pytree like the base: a share of it, and noise."""
    leaves, treedef = jax.tree.flatten(base)
    keys = jax.random.split(key, len(leaves))
    noise = [
        share * leaf + jax.random.normal(k, leaf.shape)
        for k, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, noise)


NETS = {
    "cells": lambda: networks.supernet(SPACE, networks.Size(4, 4, 3)),
    "chain": lambda: networks.supernet(CHAIN, networks.Size(8, 1, 3)),
}


@pytest.mark.parametrize(("name", "least"), [("cells", 0.55), ("chain", 0.586)])
def test_decisions_are_those_of_loops_over_instances(name, least):
    """Four rounds of three steps of gradients at random; what freezes stays so."""
    net = NETS[name]()
    params = jax.jit(net.init)(jax.random.key(0))
    made = freezing.freeze_operations(problem_of(net, inner), steps=3, threshold=least)
    carry, call = made.init(params, None), jax.jit(made.call)
    named = instances_of(net, params)
    assert sum(leaf.size for leaf in carry.frozen) == len(named)
    sums, frozen = dict.fromkeys(named, 0.0), dict.fromkeys(named, False)
    rounds = []
    for step in range(12):
        keys = jax.random.split(jax.random.key(step), 3)
        base = noisy(keys[0], params, 0.0)
        train, valid = (noisy(key, base, 1.2) for key in keys[1:])
        grads, moves, carry = call(
            keys[0], None, params, None, train, None, valid, carry
        )
        for one in named:
            sums[one] += authors_similarity(arrays(train, *one), arrays(valid, *one))
            if step % 3 == 2:
                frozen[one] |= sums[one] / 3 < least
                sums[one] = 0.0
        whole = jax.tree.map(lambda m, p: jnp.broadcast_to(m, p.shape), moves, params)
        for one in named:
            still = [not leaf.any() for leaf in arrays(whole, *one)]
            free = [leaf.all() for leaf in arrays(whole, *one)]
            assert all(still) if frozen[one] else all(free)
        jax.tree.map(
            lambda g, t, m: np.testing.assert_array_equal(g, np.where(m, t, 0)),
            grads, train, whole,
        )  # fmt: skip
        rounds.append(sum(frozen.values()))
        others = whole.get("stem")
        assert all(leaf.all() for leaf in jax.tree.leaves(others))
    # the decisions tell instances apart, and more are frozen over time
    assert rounds[1] == 0 < rounds[2] < len(named)
    assert rounds[2] < rounds[-1] and rounds == sorted(rounds)


def test_skips_are_never_frozen():
    """Not even those of stride 2, which have parameters."""
    net = NETS["cells"]()
    params = jax.jit(net.init)(jax.random.key(0))
    paths = {c.path for c in net.inside.candidates if c.name == "skip_connect"}
    assert paths
    made = freezing.freeze_operations(problem_of(net, inner), steps=1, threshold=2.0)
    _, moves, carry = made.call(
        None, None, params, None, params, None, params, made.init(params, None)
    )
    assert all(leaf.all() for leaf in carry.frozen)
    for path in paths:
        own = functools.reduce(operator.getitem, path, moves)
        assert all(leaf.all() for leaf in jax.tree.leaves(own))


def test_steps_without_a_gradient_do_not_count():
    """A mean of two similarities of 1 and one step of zeros is 1, and of none no mean.

    With zeros counted as similarity 0 the mean of three would be below .8.
    """
    net = NETS["chain"]()
    params = jax.jit(net.init)(jax.random.key(0))
    made = freezing.freeze_operations(problem_of(net, inner), steps=3, threshold=0.8)
    zeros, none = jax.tree.map(jnp.zeros_like, params), made.init(params, None)
    carry = none
    for train in (params, zeros, params):
        _, _, carry = made.call(None, None, params, None, train, None, params, carry)
    assert not any(leaf.any() for leaf in carry.frozen) and carry.steps == 0
    for valid in (zeros, zeros, zeros):
        _, _, none = made.call(None, None, params, None, params, None, valid, none)
    assert not any(leaf.any() for leaf in none.frozen)


def test_the_axis_is_that_of_the_output_features():
    """Two kernels [1, 1, in, out] with opposite outputs: cosine 1 and -1, mean 0."""
    a = jnp.array([[[[1.0, 2.0], [3.0, 1.0]]]])
    b = jnp.array([[[[2.0, 4.0], [-3.0, -1.0]]]])
    np.testing.assert_allclose(freezing.similarity(a, b, 0), 0, atol=1e-6)
    np.testing.assert_allclose(freezing.similarity(a, a, 0), 1, rtol=1e-6)
    np.testing.assert_allclose(freezing.similarity(a[0, 0], b[0, 0], 1), [1, -1])
    np.testing.assert_allclose(
        freezing.similarity(jnp.array([2.0, -1.0]), jnp.array([3.0, 1.0]), 1), [1, -1]
    )


def test_frozen_parameters_keep_their_bits():
    """Though momentum and weight decay would move them: in a search of six steps."""
    space = spaces.CellSpace(
        "one", ("cell",), 1, 2, ("none", "skip_connect", "nor_conv_1x1"), None, (2,)
    )
    rule = functools.partial(freezing.freeze_operations, steps=2, threshold=0.0)
    method = dataclasses.replace(
        registry.METHODS["oles"](), weight_regularizers=(rule,), epochs=3,
        batch_size=4, features=4, layers=1, weight_decay=0.1, hooks=(),
        logits_learning_rate=0.1,
    )  # fmt: skip
    setting = gradient.Setting(
        networks.Size(4, 1, 2, channels=1), data.Augment((0.5,), (0.3,)), (8, 8)
    )
    (segment,) = gradient.build_segments(method, space, setting)
    splits = tuple(
        (jax.random.uniform(jax.random.key(i), (8, 4, 4, 1)), jnp.arange(8) % 2)
        for i in range(2)
    )
    seen = []

    def observe(step, state, metrics, epoch_ended):
        seen.append(jax.device_get(state.inner))

    state = segment.program.init(jax.random.key(1))
    program.run(
        segment.program, state, splits, suggest_steps=lambda: 1, observe=observe
    )
    net = segment.supernet
    flags = [
        {
            (one.path, i): bool(frozen[i])
            for one, frozen in zip(net.inside.candidates, inner_.regularizers[0].frozen,
                                   strict=True)
            for i in np.ndindex(frozen.shape)
        }
        for inner_ in seen
    ]  # fmt: skip
    assert not any(flags[0].values())
    # the decision of step 2 tells some apart, or the test says nothing
    assert 0 < sum(flags[1].values()) < len(flags[1])
    for before, after, now in zip(seen[1:], seen[2:], flags[1:], strict=False):
        for one, still in now.items():
            pairs = zip(arrays(before.params, *one), arrays(after.params, *one),
                        strict=True)  # fmt: skip
            same = [np.array_equal(a, b) for a, b in pairs]
            later = flags[-1][one]
            assert all(same) if still else (later or not any(same))
    assert (seen[1].logits != seen[-1].logits).any()


def test_what_cannot_be_frozen_is_refused():
    """A supernet that hides its operations, and no steps."""
    bare = NETS["chain"]()._replace(inside=None)
    with pytest.raises(ValueError, match="freeze_operations out for space tiny_chain"):
        freezing.freeze_operations(problem_of(bare, inner))
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        freezing.freeze_operations(problem_of(NETS["chain"](), inner), steps=0)


def test_the_validation_gradient_is_that_of_the_loss():
    """Of the search's own validation loss, at its logits."""
    net = networks.supernet(CHAIN, networks.Size(8, 1, 2))
    params = jax.jit(net.init)(jax.random.key(0))
    train_loss, valid_loss = losses.build_losses(net, relaxations.softmax)
    logits = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), spaces.rows.shapes(CHAIN))
    batches = [
        losses.Batch(
            jax.random.normal(jax.random.key(i), (4, 8, 8, 3)), jnp.arange(4) % 2,
            jnp.float32(0),
        )
        for i in range(2)
    ]  # fmt: skip
    made = freezing.freeze_operations(problem_of(net, valid_loss))
    slope = jax.jit(
        jax.grad(lambda p, b: valid_loss(jax.random.key(0), p, logits, b)[0])
    )
    grads, other = (slope(params, batch) for batch in batches)
    _, _, carry = jax.jit(made.call)(
        jax.random.key(0), None, params, logits, grads, None, batches[1],
        made.init(params, logits),
    )  # fmt: skip
    position = 0
    own = [one for one in net.inside.candidates if one.name != "skip_connect"]
    for one, sums in zip(own, carry.sums, strict=True):
        for i in np.ndindex(sums.shape):
            want = authors_similarity(
                arrays(grads, one.path, i), arrays(other, one.path, i)
            )
            np.testing.assert_allclose(sums[i], want, atol=1e-4)
            position += 1
    assert position == len(instances_of(net, params))


def test_the_row_has_its_programs_numbers():
    """DARTS', with twenty steps and .4."""
    row = registry.METHODS["oles"]()
    assert dataclasses.replace(
        registry.METHODS["darts"](), source=row.source,
        weight_regularizers=("freeze_operations",),
    ) == row  # fmt: skip
    build = registry.WEIGHT_REGULARIZERS["freeze_operations"]
    assert build.__kwdefaults__ == {"steps": 20, "threshold": 0.4}
