"""Tests of factors of low rank beside kernels, and of LoRA-DARTS' frozen kernels."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jnas import data, gradient, networks, ops, spaces
from jnas.gradient import methods, weight_regularizers
from jnas.gradient.weight_regularizers import frozen_kernels
from jnas.networks import functional, low_rank
from jnas.spaces import zoo_chains
from jnas.training import program

SPACE = spaces.CellSpace(
    "mini",
    ("normal", "reduce"),
    2,
    1,
    ("none", "skip_connect", "dil_conv_3x3", "dil_conv_5x5"),
    2,
    (2,),
)
CELL = spaces.CellSpace(
    "one", ("cell",), 1, 1, ("none", "skip_connect", "nor_conv_1x1"), None, (1,)
)
VARIANT = networks.EdgeVariant(entangled=True, lora_rank=2)


def factors(params):
    """Says which leaves are factors: a list of bools, in the order of leaves."""
    return jax.tree.leaves(low_rank.map_adapted(params, False, True, False))


def kernels(params):
    """Says which leaves are kernels with factors."""
    return jax.tree.leaves(low_rank.map_adapted(params, True, False, False))


def filled(key, params):
    """Returns parameters whose factors are all drawn, so that the sum is not zero."""

    def draw(path, leaf, is_factor):
        name = jax.tree_util.keystr(path)
        own = jax.random.fold_in(key, sum(map(ord, name)))
        return 0.3 * jax.random.normal(own, leaf.shape) if is_factor else leaf

    marks = low_rank.map_adapted(params, False, True, False)
    return jax.tree_util.tree_map_with_path(draw, params, marks)


@pytest.mark.parametrize(
    ("shape", "a", "b", "inputs"),
    [
        ((3, 3, 4, 6), (6, 12), (18, 6), 4),  # r k x I k, O k x r k
        ((1, 1, 4, 6), (2, 4), (6, 2), 4),
        ((5, 5, 7), (10, 35), (5, 10), 1),  # depthwise: r k x F k, k x r k
        ((5, 5, 1, 7), (10, 35), (5, 10), 1),
        ((1, 7, 4, 6), (2, 28), (6, 2), 4),
    ],
)
def test_the_kernel_is_w_and_the_product_read_in_torch_order(shape, a, b, inputs):
    """Against plain loops over the flat product, with leading axes as well."""
    rank, rng = 2, np.random.default_rng(0)

    op = low_rank.adapt(functional.functional(lambda rngs: _Kernel(shape)), rank)
    params = op.init(jax.random.key(0))[0]
    assert params["lora_a"].shape == a and params["lora_b"].shape == b
    assert not params["lora_b"].any()
    bound = a[1] ** -0.5
    drawn = np.abs(np.asarray(params["lora_a"]))
    assert drawn.max() <= bound and abs(drawn.mean() - bound / 2) < bound / 4
    down, up = rng.normal(size=a), rng.normal(size=b)
    kernel = rng.normal(size=shape)
    flat, outputs = (up @ down).ravel() / rank, shape[-1]
    want = kernel.copy()
    for o in range(outputs):
        for i in range(inputs):
            for u in range(shape[0]):
                for v in range(shape[1]):
                    at = (u, v, o) if len(shape) == 3 else (u, v, i, o)
                    want[at] += flat[((o * inputs + i) * shape[0] + u) * shape[1] + v]
    given = {"kernel": kernel, "lora_a": down, "lora_b": up}
    with jax.enable_x64(True):
        found = low_rank.merged({"own": jax.tree.map(jnp.asarray, given), "n": 1.0})
        np.testing.assert_allclose(found["own"].pop("kernel"), want, rtol=1e-12)
        assert found == {"own": {}, "n": 1.0}
        many = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf])[:, None], given)
        twice = low_rank.merged(many)["kernel"]
        assert twice.shape == (2, 1, *shape)
        np.testing.assert_allclose(twice[0, 0], want, rtol=1e-12)
        np.testing.assert_allclose(
            twice[1, 0], 2 * kernel + 4 * (want - kernel), rtol=1e-9
        )


class _Kernel(nnx.Module):
    """A module of one kernel of any shape."""

    def __init__(self, shape):
        self.kernel = nnx.Param(jnp.ones(shape))


@functools.cache
def built(variant):
    """A supernet of six cells, two a stage, and its parameters."""
    net = networks.supernet(SPACE, SIZE, variant=variant)
    return net, program.once(net.init)(jax.random.key(0))


SIZE = networks.Size(4, 6, 3, channels=1)


def outputs(net, params, weights, x):
    """Computes a supernet's outputs, compiled."""
    return jax.jit(net.apply)(params, x, weights)


def test_factors_start_at_nothing_and_can_be_merged():
    """Same kernels and outputs as the plain supernet's; merged ones give the same."""
    adapted = networks.EdgeVariant(lora_rank=2)
    (net, params), (plain, own) = built(adapted), built(networks.EdgeVariant())
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(1), SPACE.shape), -1)
    x = jax.random.normal(jax.random.key(2), (4, 8, 8, 1))
    jax.tree.map(np.testing.assert_array_equal, low_rank.merged(params), own)
    np.testing.assert_array_equal(
        outputs(net, params, weights, x), outputs(plain, own, weights, x)
    )
    moved = filled(jax.random.key(3), params)
    want = outputs(net, moved, weights, x)
    assert np.abs(want - outputs(net, params, weights, x)).max() > 1e-2
    found = outputs(plain, low_rank.merged(moved), weights, x)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
    # two kernels of a candidate, one or two of a preprocessing; none of the stem
    assert not any(factors(params["stem"])) and not any(factors(params["classifier"]))
    marked = low_rank.map_adapted(params, 1, 0, 0)
    assert all(
        marked[layer][cell][name]["layers"][1]["kernel"]
        for layer in ("layers_00",)
        for cell in ("cell_00", "cell_01")
        for name in ("preprocess0", "preprocess1")
    )


@pytest.mark.parametrize("operation", ["dil_conv_3x3", "dil_conv_5x5"])
def test_a_derived_network_inherits_cut_and_merged_kernels(operation):
    """The supernet at one-hot weights is the derived network, both variants at once."""
    with jax.enable_x64(True):
        net, params = built(VARIANT)
        params = jax.tree.map(
            lambda a: a.astype(jnp.float64), filled(jax.random.key(3), params)
        )
        option = SPACE.candidates.index(operation)
        options = np.array([[option, 1], [1, option]])  # a skip at each stride
        weights = jnp.eye(len(SPACE.candidates))[options]
        genotype = SPACE.genotype(SPACE.strongest(weights))
        x = jax.random.normal(jax.random.key(2), (4, 9, 9, 1), jnp.float64)
        own = networks.inherit(net, params, genotype, SIZE)
        assert not any(factors(own))
        derived = networks.derived(
            genotype, SIZE, norm=ops.SEARCH, stem_norm=ops.STEM, normalise_pools=True
        )
        stats = jax.eval_shape(derived.init, jax.random.key(0))[1]
        stats = jax.tree.map(lambda a: jnp.zeros(a.shape), stats)
        (found, _), _ = jax.jit(lambda p, x: derived.apply(p, stats, x, train=True))(
            own, x
        )
        np.testing.assert_allclose(found, outputs(net, params, weights, x), rtol=1e-8)


def searched(method, **changes):
    """Runs a search of six epochs of two steps; its parameters after each epoch."""
    small = {"epochs": 6, "batch_size": 4, "watch_interval": 0, "features": 4}
    method = dataclasses.replace(method, layers=1, **small | changes)
    size = networks.Size(method.features, 1, 2, channels=1)
    setting = gradient.Setting(size, data.Augment((0.5,), (0.3,)), (8, 8))
    (segment,) = gradient.build_segments(method, CELL, setting)
    images = jax.random.normal(jax.random.key(5), (8, 4, 4, 1))
    split, seen = (images, jnp.arange(8) % 2), []

    def observe(step, state, metrics, epoch_ended):
        if epoch_ended:
            seen.append(jax.device_get(state.inner.params))

    state = segment.program.init(jax.random.key(0))
    seen.append(jax.device_get(state.inner.params))
    program.run(segment.program, state, (split, split), observe=observe)
    return seen


def test_kernels_move_first_and_then_their_factors_alone():
    """Three warm epochs of six; what is still keeps its bits, the rest moves."""
    half = functools.partial(frozen_kernels.freeze_kernels, warm_rate=0.5)
    seen = searched(methods.lora_darts(), weight_regularizers=(half,))
    assert len(seen) == 7
    is_kernel, is_factor = kernels(seen[0]), factors(seen[0])
    assert sum(is_factor) == 2 * sum(is_kernel) > 0
    for epoch, (old, new) in enumerate(zip(seen, seen[1:], strict=False), 1):
        leaves = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
        for (before, after), kernel, factor in zip(
            leaves, is_kernel, is_factor, strict=True
        ):
            still = kernel if epoch > 3 else factor
            assert np.array_equal(before, after) == still, epoch


def test_what_is_frozen_has_no_part_in_the_clipped_norm():
    """Its gradient is zero; everything else has its own."""
    net, params = built(networks.EdgeVariant(lora_rank=2))
    problem = weight_regularizers.Problem(net, None, None, None, num_epochs=20)
    rule = frozen_kernels.freeze_kernels(problem, warm_rate=0.1)
    ones = jax.tree.map(jnp.ones_like, params)
    for epoch in (0, 1, 2, 19):
        clock = program.Clock(jnp.int32(epoch), jnp.float32(0), jnp.int32(0))
        grads, moves, _ = rule.call(None, clock, params, None, ones, None, None, ())
        still = kernels(params) if epoch >= 2 else factors(params)
        for leaf, move, frozen in zip(
            jax.tree.leaves(grads), jax.tree.leaves(moves), still, strict=True
        ):
            assert np.all(leaf == (not frozen)) and bool(move) == (not frozen)


def test_the_row_and_what_is_refused():
    """Its numbers are those of the released scripts; what does not fit is one line."""
    row = methods.lora_darts()
    plain = dict(lora_rank=0, frozen_rate=0, weight_regularizers=(), epochs=50)
    darts = methods.darts()
    assert dataclasses.replace(row, source=darts.source, **plain) == darts
    assert row.lora_rank == 1 and round(row.frozen_rate * row.epochs) == 10
    with pytest.raises(ValueError, match="lora_rank must be 0 for space"):
        gradient.check(row, zoo_chains.tiny_chain())
    for name, value in (("widens", True), ("projection_epochs", 1)):
        with pytest.raises(ValueError, match=f"{name} must be left out with lora_rank"):
            gradient.check(dataclasses.replace(row, **{name: value}), CELL)
    with pytest.raises(ValueError, match="lora_rank must be at least 1 with the weigh"):
        searched(row, lora_rank=0)
    never = functools.partial(frozen_kernels.freeze_kernels, warm_rate=2.0)
    with pytest.raises(ValueError, match="warm_rate of freeze_kernels must be from 0"):
        searched(row, weight_regularizers=(never,))
    with pytest.raises(ValueError, match="lora_rank must be at least 0, got -1"):
        networks.EdgeVariant(lora_rank=-1)
