"""Tests of chains: published counts, one network in four forms, gradients, strides."""

import dataclasses
import functools
import json

import forks
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jnas import networks, ops, registry, spaces, testing
from jnas.networks import chain
from jnas.ops import inverted
from jnas.spaces import genotype_choices, genotype_text, published, rows

TINY = spaces.zoo_chains.tiny_chain()
SIZE = networks.Size(4, 1, 3, channels=2)
IMAGE = (8, 6, 2)
# parameters and MACs of the authors' code: mobile-vision's, with its own counter, and
# nas-bench-macro_cifar10.json
FBNET = {
    "FBNET_A": (4_319_712, 244_452_664),
    "FBNET_B": (4_816_216, 291_004_424),
    "FBNET_C": (5_590_784, 378_136_224),
}
MACRO = {
    "00000000": (387_882, 7_713_280),
    "11111111": (1_588_874, 53_246_464),
    "22222222": (2_932_586, 105_660_928),
    "02012100": (890_666, 47_327_744),
}


def macro_genotype(name):
    """The genotype of NAS-Bench-Macro's name, a digit a position."""
    options = spaces.zoo_chains.MACRO
    rows_of = tuple((f"block_0{i}", options[int(d)]) for i, d in enumerate(name))
    return genotype_choices.Choices("macro", rows_of)


@pytest.mark.parametrize("name", FBNET)
def test_fbnet_s_published_counts(name):
    """Parameters to the unit, and both as published, rounded to 0.1 million."""
    genotype = published.genotype(name)
    size = networks.Size(16, 1, 1000, stem="imagenet")
    found = networks.measure(networks.derived(genotype, size), (224, 224, 3))
    assert (found["parameters"], found["macs"]) == FBNET[name]
    known = published.published(name)
    assert abs(found["parameters"] - known["imagenet_parameters"]) < 1e5
    assert abs(found["macs"] - known["imagenet_macs"]) < 1e5


@pytest.mark.parametrize("name", MACRO)
def test_nas_bench_macro_s_counts(name):
    """To the unit, for CIFAR-10, by derived network and by the sum over options."""
    space, size = registry.SPACES["macro"](), networks.Size(32, 1, 10)
    genotype = macro_genotype(name)
    found = networks.measure(networks.derived(genotype, size), (32, 32, 3))
    assert (found["parameters"], found["macs"]) == MACRO[name]
    costs = networks.option_costs(space, size, (32, 32, 3))
    weights = space.weights(space.encode(genotype))
    assert float(costs["parameters"].of(weights)) == MACRO[name][0]
    assert abs(float(costs["macs"].of(weights)) - MACRO[name][1]) <= 8  # float32


def derived_params(params, genotype):
    """The parameters of a supernet that a derived network has."""
    own = {"stem": params["stem"], "head": params["head"]}
    runs = chain.runs(chain.plan(TINY, SIZE))
    for run in runs:
        for number, position in enumerate(run.positions):
            name = TINY.gene_names[position]
            of_run = params[run.name][genotype[name]]
            if len(run.positions) > 1:
                of_run = jax.tree.map(lambda a, n=number: a[n], of_run)
            own[name] = of_run
    return own


@pytest.mark.parametrize("genes", [(2, 1, 0, 1), (1, 1, 1, 1), (0, 0, 0, 0)])
def test_one_network_in_four_forms(genes):
    """At one-hot weights: supernet, skipping zeros, switched, and derived."""
    x = jax.random.normal(jax.random.key(0), (3, *IMAGE))
    weights = TINY.weights(jnp.array(genes))
    net = networks.supernet(TINY, SIZE)
    params = net.init(jax.random.key(1))
    want = net.apply(params, x, weights)
    skips = networks.EdgeVariant(skip_zeros=True)
    skipping = networks.supernet(TINY, SIZE, variant=skips)
    one_shot = networks.one_shot(TINY, SIZE)
    shapes = [jax.tree.map(jnp.shape, n.init(jax.random.key(1))) for n in
              (net, skipping, one_shot)]  # fmt: skip
    assert shapes[0] == shapes[1] == shapes[2]
    for other in (skipping, one_shot):
        np.testing.assert_allclose(
            jax.jit(other.apply)(params, x, weights), want, atol=1e-5
        )
    genotype = TINY.genotype(genes)
    norms = {"norm": ops.SEARCH, "stem_norm": ops.STEM}
    alone = networks.derived(genotype, SIZE, **norms)
    own, stats = derived_params(params, genotype), alone.init(jax.random.key(2))[1]
    (found, extra), _ = alone.apply(own, stats, x, train=True)
    np.testing.assert_allclose(found, want, atol=1e-5)
    assert extra is None


def test_training_and_evaluation_of_a_derived_chain():
    """Switched and derived networks keep equal statistics, and evaluate by them."""
    x = 2 + jax.random.normal(jax.random.key(0), (3, *IMAGE))
    genes = jnp.array([1, 1, 0, 1])
    weights, genotype = TINY.weights(genes), TINY.genotype(genes)
    one = networks.switched(TINY, SIZE)(weights)
    alone = networks.derived(genotype, SIZE)
    params, stats = one.init(jax.random.key(1))
    own = derived_params(params, genotype), derived_params(stats, genotype)
    (y, _), new = jax.jit(functools.partial(one.apply, train=True))(params, stats, x)
    (z, _), after = alone.apply(*own, x, train=True)
    np.testing.assert_allclose(y, z, atol=1e-5)
    for a, b in zip(
        jax.tree.leaves(derived_params(new, genotype)),
        jax.tree.leaves(after),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-5)
    (y, _), _ = one.apply(params, new, x, train=False)
    (z, _), _ = alone.apply(own[0], after, x, train=False)
    np.testing.assert_allclose(y, z, atol=1e-5)
    (first, _), _ = alone.apply(own[0], after, x[:1], train=False)
    np.testing.assert_allclose(first, z[:1], atol=1e-5)


def test_gradients_are_those_of_differences():
    """Of weights in float64, in every row; mixed and by the bare gradient of zeros."""
    with jax.enable_x64(True):
        x = jax.random.normal(jax.random.key(0), (3, *IMAGE), jnp.float64)
        net = networks.supernet(TINY, SIZE)
        params = jax.tree.map(
            lambda a: a.astype(jnp.float64), net.init(jax.random.key(1))
        )
        rng = np.random.default_rng(0)
        weights = jax.tree.map(
            lambda s: jnp.asarray(rng.random(s.shape)), rows.shapes(TINY)
        )

        @jax.jit
        def value(weights):
            return (net.apply(params, x, weights) ** 3).sum()

        grads = jax.grad(value)(weights)
        for leaf in weights:
            for place in np.ndindex(weights[leaf].shape):
                step = 1e-5
                ends = [
                    value(weights | {leaf: weights[leaf].at[place].add(sign * step)})
                    for sign in (1, -1)
                ]
                slope = float(ends[0] - ends[1]) / (2 * step)
                assert abs(slope - float(grads[leaf][place])) < 1e-5 * max(
                    1, abs(slope)
                )


def test_skipped_options_have_the_gradient_of_a_bare_number():
    """A weight of zero: the sum of the output's gradient, as in a cell's scan."""
    block = spaces.Position(("skip_connect", "max_pool_3x3"), 2)
    one = spaces.ChainSpace("one", (block,), 2, 0)
    size = networks.Size(2, 1, 3, channels=1)
    skips = networks.EdgeVariant(skip_zeros=True)
    net = networks.supernet(one, size, variant=skips)
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 1))
    params = net.init(jax.random.key(1))
    plain = networks.supernet(one, size)

    def loss(net, weights):
        return net.apply(params, x, weights).sum()

    weights = one.weights(jnp.array([0]))
    found = jax.grad(functools.partial(loss, net))(weights)["of_2"][0]
    want = jax.grad(functools.partial(loss, plain))(weights)["of_2"][0]
    np.testing.assert_allclose(found[0], want[0], rtol=1e-5)
    # the head averages 16 pixels of each of 2 images: sum of kernel, once an image
    kernel = params["head"]["layers"][1]["kernel"]
    np.testing.assert_allclose(found[1], 2 * kernel.sum(), rtol=1e-5)


def test_the_chain_supernet_keeps_its_contract():
    """And its space: every row moves the outputs."""
    testing.check_supernet("chain", "tiny_chain")


@pytest.mark.parametrize("name", ["fbnet", "macro"])
def test_strides_follow_the_stem(name):
    """A chain for large images halves small ones twice less: in stem and first."""
    space = registry.SPACES[name]()
    large, small = (networks.Size(16, 1, 2, stem=s) for s in ("imagenet", "small"))
    halving = [
        [i for i, b in enumerate(chain.plan(space, size)) if b.stride == 2]
        for size in (large, small)
    ]
    stems = [chain.stem_stride(space, size) for size in (large, small)]
    wide = {"fbnet": [1, 5, 9, 17], "macro": [0, 2, 5]}[name]
    assert halving[0] == wide
    assert halving[1] == (wide[1:] if name == "fbnet" else wide)
    assert stems == ([2, 1] if name == "fbnet" else [1, 1])


def test_equal_positions_that_halve_are_no_loop():
    """Two of stride 2 and one width in a row: each has its own images."""
    halving = spaces.Position(("skip_connect", "mbconv_3x3_e3"), 4, 2)
    space = dataclasses.replace(TINY, positions=(halving, halving, halving))
    net = networks.supernet(space, SIZE)
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 2))
    weights = space.weights(jnp.array([1, 0, 1]))
    outputs = net.apply(net.init(jax.random.key(1)), x, weights)
    assert outputs.shape == (2, 3)
    one = networks.one_shot(space, SIZE)
    assert one.apply(one.init(jax.random.key(1)), x, weights).shape == (2, 3)


def test_operations_of_a_chain_are_its_own(tmp_path):
    """--operations is for cells: what is found must be in the registered space."""
    done = forks.launch(
        "search", f"--workdir={tmp_path / 'run'}", "--data=digits",
        "--space=tiny_chain", "--operations=skip_connect,mbconv_3x3_e3",
    )  # fmt: skip
    assert done.status
    assert done.err.startswith("operations must be left out for space tiny_chain, who")


def test_widths_scale_with_the_features():
    """Half the stem's features: half of each, in multiples of 8, at least 8."""
    space = registry.SPACES["macro"]()
    half = chain.plan(space, networks.Size(16, 1, 10))
    assert sorted({b.features for b in half}) == [32, 64, 128]
    tenth = chain.plan(space, networks.Size(3, 1, 10))
    assert [b.features for b in tenth][::3] == [8, 16, 24]
    whole = chain.plan(space, networks.Size(32, 1, 10))
    assert [b.features for b in whole] == [64] * 2 + [128] * 3 + [256] * 3


def test_drop_path_drops_branches_alone():
    """At rate 1 in training, an inverted residual with a shortcut is its input."""
    position = spaces.Position(("mbconv_3x3_e3",), 4)
    one = spaces.ChainSpace("one", (position,), 4, 0)
    entries = dict(registry.SPACES) | {"one": lambda: one}
    size = networks.Size(4, 1, 3, channels=2)
    registry.SPACES._entries, kept = entries, registry.SPACES._entries
    try:
        net = networks.derived(one.genotype([0]), size)
    finally:
        registry.SPACES._entries = kept
    params, stats = net.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (2, 4, 4, 2))
    rates = (jnp.float32(0), jnp.float32(0.999999))
    none, all_ = (
        net.apply(
            params, stats, x, train=True, key=jax.random.key(2), drop_path_rate=rate
        )[0][0]
        for rate in rates
    )
    stem = chain.stem(one, size, ops.TRAINING)
    head = chain.head(one, size, 4, ops.TRAINING)
    y, _ = stem.apply(params["stem"], stats["stem"], x, train=True)
    want, _ = head.apply(params["head"], stats["head"], y, train=True)
    np.testing.assert_allclose(all_, want, atol=1e-4)
    assert np.abs(none - want).max() > 1e-2


def test_a_variant_of_edges_is_refused():
    """In one line that names it."""
    with pytest.raises(ValueError, match="auxiliary_skip must be left out for space"):
        networks.supernet(TINY, SIZE, variant=networks.EdgeVariant(auxiliary_skip=True))
    with pytest.raises(ValueError, match="auxiliary must be left out for the network"):
        networks.derived(TINY.genotype([0] * 4), SIZE, auxiliary=True)


def test_an_operation_that_cannot_change_features_is_refused():
    """Where a position widens; it names the operation and what to do."""
    wide = spaces.Position(("sep_conv_3x3",), 8)
    space = dataclasses.replace(TINY, positions=(wide,))
    with pytest.raises(ValueError, match="operation 'sep_conv_3x3' must take in_feat"):
        networks.supernet(space, SIZE)
    kept = dataclasses.replace(TINY, positions=(dataclasses.replace(wide, features=4),))
    networks.supernet(kept, SIZE)


BAD = {
    "positions must be a tuple of Position": {"positions": ()},
    "stem_stride must be an integer from 1 to 2, got 3": {"stem_stride": 3},
    "activation must be relu or relu6": {"activation": "gelu"},
    "head_features must be an integer from 0": {"head_features": -1},
    "options of block_00 must be different": {
        "positions": (spaces.Position(("a", "a"), 4),)
    },
}


@pytest.mark.parametrize("message", BAD)
def test_bad_chains(message):
    """One line that names the field."""
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **BAD[message])


def test_squeeze_excitation_by_hand():
    """x times hard_sigmoid(W2 relu(W1 mean + b1) + b2), a quarter wide, at least 8."""
    module = inverted.SqueezeExcitation(12, rngs=nnx.Rngs(0))
    x = np.asarray(jax.random.normal(jax.random.key(1), (2, 3, 5, 12)))
    w1, b1 = (np.asarray(p[...]) for p in (module.squeeze.kernel, module.squeeze.bias))
    w2, b2 = (np.asarray(p[...]) for p in (module.excite.kernel, module.excite.bias))
    assert w1.shape == (1, 1, 12, 8)
    inside = np.maximum(x.mean((1, 2)) @ w1[0, 0] + b1, 0)
    gate = np.clip((inside @ w2[0, 0] + b2 + 3) / 6, 0, 1)
    np.testing.assert_allclose(module(x), x * gate[:, None, None], atol=1e-6)


def test_shuffle_and_groups_by_hand():
    """Features are dealt in turn; each group has a convolution of its own."""
    x = jnp.arange(6.0).reshape(1, 1, 1, 6)
    assert inverted.shuffle(x, 2).ravel().tolist() == [0, 3, 1, 4, 2, 5]
    module = inverted.GroupedPointwise(6, 4, 2, use_bias=True, rngs=nnx.Rngs(0))
    first, second = module.convs
    out = np.asarray(module(x))[0, 0, 0]
    flat = np.arange(6.0)
    for conv, part, got in ((first, flat[:3], out[:2]), (second, flat[3:], out[2:])):
        want = part @ np.asarray(conv.kernel[...])[0, 0] + np.asarray(conv.bias[...])
        np.testing.assert_allclose(got, want, atol=1e-6)
    with pytest.raises(ValueError, match="features must be divisible by 2"):
        inverted.GroupedPointwise(5, 4, 2, use_bias=True, rngs=nnx.Rngs(0))


def test_derived_chances_of_unequal_rows():
    """A row's own shares, whatever the other rows' number of options."""
    weights = {"of_2": jnp.array([[1.0, 3], [2, 2], [0, 5]]),
               "of_3": jnp.array([[1.0, 1, 2]])}  # fmt: skip
    found = networks.derived_chances(TINY, weights)
    np.testing.assert_allclose(found["of_3"], [[0.25, 0.25, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(
        found["of_2"], [[0.25, 0.75], [0.5, 0.5], [0, 1]], rtol=1e-6
    )


def test_the_best_chain_within_limits_is_that_of_brute_force():
    """Over all 24 chains, at bounds between the cheapest and the dearest."""
    costs = networks.option_costs(TINY, SIZE, IMAGE)["parameters"]
    rng = np.random.default_rng(1)
    weights = jax.tree.map(lambda s: rng.random(s.shape), rows.shapes(TINY))
    every = [
        np.array([a, b, c, d])
        for a in range(3) for b in range(2) for c in range(2) for d in range(2)
    ]  # fmt: skip

    def score(encoding):
        one_hot = jax.tree.map(np.asarray, TINY.weights(encoding))
        return sum(float((np.log(weights[n]) * one_hot[n]).sum()) for n in weights)

    cost = [float(costs.of(TINY.weights(e))) for e in every]
    least, most = networks.extent(costs)
    assert (least, most) == (min(cost), max(cost))
    for bound in np.linspace(least, most, 6):
        limit = networks.limit("parameters", float(bound), costs)
        found = networks.best_within(TINY, weights, [limit])
        fits = [e for e, c in zip(every, cost, strict=True) if c <= bound]
        np.testing.assert_array_equal(found, max(fits, key=score))
    ranked = networks.likeliest(TINY, weights, 24)
    assert [tuple(e) for e in ranked] == [
        tuple(e) for e in sorted(every, key=score, reverse=True)
    ]


def test_layers_of_a_chain_are_refused(tmp_path):
    """By each launcher that would not read them, in one line."""
    genotype = tmp_path / "genotype.json"
    genotype.write_text(genotype_text.to_json(TINY.genotype([0, 0, 0, 0])))
    for launcher, more in (
        ("search", ("--space=tiny_chain",)),
        ("search_discrete", ("--space=tiny_chain",)),
        ("retrain", (f"--genotype={genotype}",)),
    ):
        done = forks.launch(
            launcher, f"--workdir={tmp_path / launcher}", "--data=digits",
            "--layers=3", *more,
        )  # fmt: skip
        assert done.status
        assert done.err.startswith("layers must be left out for space tiny_chain, a ch")


def test_a_chain_within_limits_by_every_family(tmp_path):
    """Gradient, evolution and REINFORCE keep a bound; what is found is trained."""
    common = (
        "--data=digits", "--shrink=2", "--space=tiny_chain", "--features=4",
        "--epochs=1", "--batch_size=256", "--max_parameters=1500",
    )  # fmt: skip
    for name, line in {
        "gradient": ("search", "--watch_interval=0"),
        "evolution": ("search_discrete", "--num_evaluations=8"),
        "reinforce": (
            "search_discrete", "--num_evaluations=8", "--controller=reinforce",
            "--num_proposals=4",
        ),
    }.items():  # fmt: skip
        folder = tmp_path / name
        done = forks.launch(line[0], f"--workdir={folder}", *common, *line[1:],
                            limit=200)  # fmt: skip
        assert not done.status, done.err
        result = json.loads((folder / "result.json").read_text())
        assert result["parameters"] <= 1500
        limit = result["limits"]["parameters"]
        assert limit["bound"] == 1500 and limit["found"] == result["parameters"]
        assert "--layers" not in result["next"]
