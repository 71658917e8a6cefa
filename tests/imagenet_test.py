"""The ImageNet skeleton: stem, head and counts, against formulas of their own."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jnas import data, networks, ops, registry, spaces
from jnas.networks import functional, heads, skeleton, stems
from jnas.spaces import published
from jnas.training import program, scratch, top

SIZE = networks.Size(48, 14, 1000, stem="imagenet")
SHAPE = (224, 224, 3)
TINY = spaces.zoo.tiny()


def operation(name, features, stride, size):
    """Returns (parameters, MACs) of an operation by hand, at inputs of a size."""
    out = -(-size // stride)
    if name == "skip_connect" and stride == 2:
        return features**2 + 2 * features, out**2 * features**2
    if name == "skip_connect" or "pool" in name:
        return 0, 0
    if name == "conv_7x1_1x7":
        macs = (size * out + out * out) * 7 * features**2
        return 14 * features**2 + 2 * features, macs
    kernel = int(name[-1]) ** 2 * features + features**2
    times = 2 if name.startswith("sep") else 1
    return times * (kernel + 2 * features), times * out**2 * kernel


def counts(genotype):
    """Counts the network of 48 features, 14 cells and 224 pixels cell by cell.

    As the released code of arXiv:1806.09055 has it: stem0 3x3/2 to 24, norm, ReLU,
    3x3/2 to 48, norm; stem1 ReLU, 3x3/2 to 48, norm; reductions at cells 4 and 9; after
    cell 9 a head of 768 features without a second norm.
    """
    cells = dict(genotype.cells)
    parameters = 27 * 24 + 2 * 24 + 9 * 24 * 48 + 2 * 48 + 9 * 48 * 48 + 2 * 48
    macs = 112**2 * 27 * 24 + 56**2 * 9 * 24 * 48 + 28**2 * 9 * 48 * 48
    before, last, features, size = 48, 48, 48, 28
    for i in range(14):
        reduction = i in (4, 9)
        features, out = (2 * features, size // 2) if reduction else (features, size)
        cell = cells["reduce" if reduction else "normal"]
        parameters += (before + last) * features + 4 * features
        macs += size**2 * (before + last) * features
        for source, _, name in cell.edges:
            halves = reduction and source < 2
            at = size if halves else out
            own = operation(name, features, 2 if halves else 1, at)
            parameters, macs = parameters + own[0], macs + own[1]
        before, last, size = last, len(cell.concat) * features, out
        if i == 9:
            head = 128 * last + 2 * 128 + 4 * 128 * 768 + 769_000
    return {
        "parameters": parameters + 1000 * last + 1000,
        "auxiliary_parameters": head,
        "macs": macs + 1000 * last,
    }


# FLOPs in millions for 48 features and 14 cells, as PC-DARTS' released code lists them.
# DARTS' own 574 follows from no rule that was tried.
PAPERS = {"PC_DARTS_image": 597}


def derived(name, **options):
    """Returns the ImageNet network of a published genotype."""
    return networks.derived(published.genotype(name), SIZE, **options)


def test_darts_v2_to_the_unit():
    """4,718,752 parameters, as published; all three counts by hand."""
    found = networks.measure(derived("DARTS_V2", auxiliary=True), SHAPE)
    assert found["parameters"] == 4_718_752
    assert found == counts(published.genotype("DARTS_V2"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["PC_DARTS_image", "PDARTS"])
def test_published_flops(name):
    """All three counts by hand; with norms the published FLOPs within 0.5 %."""
    found = networks.measure(derived(name, auxiliary=True), SHAPE, norms=True)
    with_norms = found.pop("macs_with_norms")
    assert found == counts(published.genotype(name))
    if name in PAPERS:
        assert abs(with_norms / 1e6 / PAPERS[name] - 1) < 0.005


def test_elementwise_by_hand():
    """A norm counts two and a ReLU one for each value; a 3x3 average two for each."""

    def build(rngs):
        norm = ops.TRAINING
        conv = ops.relu_conv_norm(4, 8, (3, 3), stride=2, norm=norm, rngs=rngs)
        return ops.stack(conv, ops.DepthwiseConv(8, 3, rngs=rngs))

    module = functional.functional(build)
    params, stats = jax.eval_shape(module.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((1, 9, 7, 4), jnp.float32)

    def apply(params, stats, x):
        return module.apply(params, stats, x, train=False)[0]

    relu, norm = 9 * 7 * 4, 5 * 4 * 8
    assert networks.count_elementwise(apply, params, stats, x) == relu + 2 * norm
    assert networks.count_macs(apply, params, stats, x) == 5 * 4 * (9 * 4 * 8 + 9 * 8)


def convolve(x, kernel):
    """Convolves f[B, H, W, I] at stride 2 with zeros around, by NumPy loops."""
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = -(-(x.shape[1] - 2) // 2), -(-(x.shape[2] - 2) // 2)
    out = np.zeros((len(x), rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            window = x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            out[:, i, j] = np.einsum("bhwi,hwio->bo", window, kernel)
    return out


def normalise(x):
    """Standardises each feature over batch, rows and columns."""
    return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)


def test_stem_values():
    """Both states of the stem, by NumPy, at odd sizes and in float64."""
    with jax.enable_x64(True):
        made = stems.imagenet(2, 4, 3)
        module = functional.functional(lambda rngs: made.build(ops.STEM, rngs))
        params, stats = module.init(jax.random.key(0))
        params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
        x = np.random.default_rng(0).normal(size=(2, 21, 19, 3))
        (before, last), _ = module.apply(params, stats, x, train=True)
    leaves = [np.asarray(p) for p in jax.tree.leaves(params) if p.ndim == 4]
    # they read 3, 2 and 4 features
    first, second, third = (
        next(kernel for kernel in leaves if kernel.shape[2] == n) for n in (3, 2, 4)
    )
    want = normalise(convolve(x, first))
    want = normalise(convolve(np.maximum(want, 0), second))
    np.testing.assert_allclose(before, want, atol=1e-9)
    want = normalise(convolve(np.maximum(want, 0), third))
    np.testing.assert_allclose(last, want, atol=1e-9)
    assert before.shape == (2, 6, 5, 4) and last.shape == (2, 3, 3, 4)


@pytest.mark.parametrize("pixels", [129, 224, 225])
def test_strides_are_those_of_the_states(pixels):
    """The pixels that a stem says its states have are those that they have."""
    for name, build in registry.STEMS.items():
        made = build(2, 4, 3)
        module = functional.functional(lambda rngs, m=made: m.build(ops.STEM, rngs))
        params, stats = jax.eval_shape(module.init, jax.random.key(0))
        x = jax.ShapeDtypeStruct((1, pixels, pixels, 3), jnp.float32)
        states, _ = jax.eval_shape(module.apply, params, stats, x)
        states = states if isinstance(states, tuple) else (states, states)
        for state, stride, features in zip(
            states, made.strides, made.features, strict=True
        ):
            side = -(-pixels // stride)
            assert state.shape == (1, side, side, features), name


def test_the_first_cell_reads_two_sizes():
    """Its first input is halved (arXiv:1806.09055's code: reduction_prev=True)."""
    first, second, *_ = skeleton.plan(2, ("normal", "reduce"), 4, SIZE)
    assert first.after_reduction and not second.after_reduction
    assert first.in_features == (48, 48) and second.in_features == (48, 192)
    small = networks.Size(48, 14, 1000)
    first, *_ = skeleton.plan(2, ("normal", "reduce"), 4, small)
    assert not first.after_reduction and first.in_features == (144, 144)


@pytest.mark.parametrize("imagenet", [False, True])
def test_auxiliary_head(imagenet):
    """ImageNet's pools 7x7 pixels by windows of 5 and steps of 2; one norm fewer."""
    head = heads.auxiliary(16, 10, ops.TRAINING, imagenet=imagenet)
    params, _ = jax.eval_shape(head.init, jax.random.key(0))
    norms = 2 * 128 + (0 if imagenet else 2 * 768)
    by_hand = 16 * 128 + 4 * 128 * 768 + 768 * 10 + 10 + norms
    assert networks.count_params(params) == by_hand
    x = np.random.default_rng(0).normal(size=(1, 7, 7, 3))
    want = [[x[0, i : i + 5, j : j + 5].mean((0, 1)) for j in (0, 2)] for i in (0, 2)]
    np.testing.assert_allclose(heads._pool_to_2x2(x)[0], want, atol=1e-6)


def test_a_supernet_has_the_stem_too():
    """One-hot weights are the derived network, also where a scan begins at the stem."""
    space = TINY.with_operations(["skip_connect", "nor_conv_1x1"])
    size = networks.Size(2, 6, 3, stem="imagenet")  # normal, normal, reduce, ...
    encoding = spaces.encoding.sample(jax.random.key(1), space.sizes)
    cell = space.genotype(encoding)
    with jax.enable_x64(True):
        net = networks.supernet(space, size)
        assert net.layers[0][1] == 2
        params = program.once(net.init)(jax.random.key(0))
        x = jax.random.normal(jax.random.key(7), (2, 37, 33, 3), jnp.float64)
        own = networks.derived(
            cell, size, norm=ops.SEARCH, stem_norm=ops.STEM, normalise_pools=True
        )
        inherited = networks.inherit(net, params, cell, size)
        stats = jax.eval_shape(own.init, jax.random.key(0))[1]
        want = jax.jit(net.apply)(params, x, space.weights(encoding))
        (got, _), _ = jax.jit(lambda p, x: own.apply(p, stats, x, train=True))(
            inherited, x
        )
        np.testing.assert_allclose(got, want, atol=1e-9)


@pytest.mark.parametrize(("name", "layers"), [("tiny", 3), ("nasbench201", 1)])
def test_costs_of_edges_add_up(name, layers):
    """Behind the stem the cells read an eighth of each axis."""
    space = registry.SPACES[name]()
    size = networks.Size(2, layers, 3, stem="imagenet")
    encoding = spaces.encoding.sample(jax.random.key(1), space.sizes)
    found = networks.measure(
        networks.derived(space.genotype(encoding), size), (37, 65, 3)
    )
    costs = networks.option_costs(space, size, (37, 65, 3))
    for key, cost in costs.items():
        assert round(float(cost.of(space.weights(encoding)))) == found[key]


def test_auto_follows_the_images():
    """From 129 pixels on the shorter side; a name that is given stays."""
    sides = {(128, 128): "small", (129, 129): "imagenet", (500, 128): "small"}
    assert {s: stems.named("auto", (*s, 3)) for s in sides} == sides
    assert stems.named("small", SHAPE) == "small"
    assert stems.named("imagenet", (32, 32, 3)) == "imagenet"


def test_what_is_refused():
    """One line each, before anything is built; the advice works."""
    with pytest.raises(KeyError, match="Did you mean 'imagenet'"):
        networks.Size(4, 3, 10, stem="imagnet")
    with pytest.raises(KeyError, match="Did you mean 'imagenet'"):
        stems.named("imagnet", SHAPE)
    cell = TINY.genotype([0] * len(TINY.sizes))
    with pytest.raises(ValueError, match="features must be even for the ImageNet stem"):
        networks.derived(cell, networks.Size(3, 3, 10, stem="imagenet"))
    networks.derived(cell, networks.Size(4, 3, 10, stem="imagenet"))


@pytest.mark.parametrize(("stem", "least"), [("small", 5), ("imagenet", 33)])
def test_smallest_image_of_the_auxiliary_head(stem, least):
    """The smallest that the check lets through is the smallest that can be traced."""
    size = networks.Size(2, 3, 3, stem=stem)
    network = networks.derived(
        TINY.genotype([0] * len(TINY.sizes)), size, auxiliary=True
    )
    params, stats = jax.eval_shape(network.init, jax.random.key(0))

    def trace(side):
        x = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
        jax.eval_shape(
            lambda p, s, x: network.apply(p, s, x, train=True), params, stats, x
        )

    networks.check_auxiliary(size, (least, least, 3))
    trace(least)
    message = f"images must have more than {least - 1} rows and columns"
    with pytest.raises(ValueError, match=re.escape(message)):
        networks.check_auxiliary(size, (least - 1, least, 3))
    with pytest.raises(ValueError, match="auxiliary must read at least 2x2"):
        trace(least - 1)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k(k):
    """The fraction by sorting each row; ties go to the lower class, as in argmax."""
    rng = np.random.default_rng(k)
    outputs = rng.integers(0, 4, (50, 5)).astype(np.float32)
    labels = rng.integers(0, 5, 50)
    order = np.argsort(-outputs, axis=-1, kind="stable")[:, :k]
    want = [label in row for label, row in zip(labels, order, strict=True)]
    found = top.top_k(jnp.asarray(outputs), jnp.asarray(labels), k)
    np.testing.assert_array_equal(found, np.asarray(want, np.float32))


def test_top_k_of_too_many():
    """k is at most the number of classes; a NaN is never right."""
    with pytest.raises(ValueError, match="k must be from 1 to the number of classes"):
        top.top_k(jnp.zeros((1, 3)), jnp.zeros(1, int), k=4)
    outputs = jnp.array([[jnp.nan, 0.0, 1.0]])
    assert top.top_k(outputs, jnp.array([0]), k=2).tolist() == [0.0]


def test_outputs_of_every_image_once():
    """A last batch that is not full is cut; top 5 is the mean over all images."""
    rng = np.random.default_rng(1)
    images = jnp.asarray(rng.integers(0, 256, (7, 1, 1, 12)), jnp.uint8)
    labels = jnp.asarray(rng.integers(0, 12, 7), jnp.int32)

    def apply(params, stats, x, *, train, key=None, drop_path_rate=None):
        return (x[:, 0, 0] * params, None), stats

    network = networks.Network(lambda key: (1.0, {}), apply)
    augment = data.Augment((0.0,) * 12, (1.0,) * 12)
    right = scratch.map_outputs(
        lambda outputs, row: top.top_k(outputs, labels[row]),
        jax.random.key(0), network, 1.0, {}, images, augment=augment, batch_size=3,
    )  # fmt: skip
    pixels = np.asarray(images)[:, 0, 0].astype(float)
    places = (pixels > pixels[np.arange(7), labels][:, None]).sum(1)
    assert right.tolist() == (places < 5).astype(float).tolist()
    assert 0 < right.mean() < 1
