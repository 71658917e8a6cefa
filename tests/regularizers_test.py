"""Tests of regularizers: closed forms in SciPy's float64, an integral, logits out."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from jnas import data, gradient, networks, registry, spaces, testing
from jnas.gradient import losses, methods, regularizers, relaxations, resolve
from jnas.training import program

OUT = -jnp.inf


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        # (w - 1/2)^2 is .16, 0, .25, .01: mean .105
        (regularizers.zero_one, -1.05),
        # |w - 1/2| is .4, 0, .5, .1: mean .25
        (regularizers.zero_one_l1, -2.5),
    ],
)
def test_zero_one_by_hand(penalty, expected):
    """Ten times the mean, negated; a fifth candidate that is out changes nothing."""
    weights = jnp.array([[[0.9, 0.5], [0.0, 0.6]]])
    got = penalty(jnp.zeros((1, 2, 2)), weights, jnp.float32(0))
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    half = penalty(jnp.zeros((1, 2, 2)), weights, jnp.float32(0), strength=5.0)
    np.testing.assert_allclose(half, expected / 2, rtol=1e-6)
    wider = jnp.concatenate([weights, jnp.zeros((1, 2, 1))], -1)
    logits = jnp.array([[[0.0, 0.0, OUT], [0.0, 0.0, OUT]]])
    np.testing.assert_allclose(
        penalty(logits, wider, jnp.float32(0)), expected, rtol=1e-6
    )


def test_zero_one_slopes_through_the_sigmoid():
    """-10 / N times 2 (w - 1/2) w (1 - w), or sign(w - 1/2) w (1 - w); 0 at a half."""
    logits = jnp.array([[[0.0, 1.5, -2.0, OUT]]])
    w = 1 / (1 + np.exp(-np.array([0.0, 1.5, -2.0])))
    for penalty, outer in (
        (regularizers.zero_one, 2 * (w - 0.5)),
        (regularizers.zero_one_l1, np.sign(w - 0.5)),
    ):
        got = jax.grad(lambda a, f=penalty: f(a, jax.nn.sigmoid(a), jnp.float32(0)))(
            logits
        )
        expected = -10 / 3 * outer * w * (1 - w)
        np.testing.assert_allclose(got[0, 0], [*expected, 0], atol=1e-6)


def kl(c):
    """KL(Dir(c) || Dir(1)) as minus the entropy, plus log of the simplex's volume."""
    return -stats.dirichlet(c).entropy() - special.gammaln(len(c))


def penalty(logits, strength=1.0):
    """Computes dirichlet_kl; the weights and the progress are not read."""
    return regularizers.dirichlet_kl(logits, None, None, strength=strength)


def test_kl_against_an_integral():
    """Of two candidates: the integral of p log p over [0, 1], p the Beta density."""
    for a, b in ((0.0, 0.0), (1.0, 0.2), (-0.4, 2.0)):
        c, d = (x + 1 if x > 0 else np.exp(x) for x in (a, b))
        density = stats.beta(c, d).pdf
        expected, _ = integrate.quad(
            lambda x, p=density: special.xlogy(p(x), p(x)), 0, 1
        )
        with jax.enable_x64(True):
            got = penalty(jnp.array([[[a, b]]]))
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_kl_sums_over_edges_of_any_width():
    """Against SciPy's entropy, edges with candidates out as narrower edges."""
    with jax.enable_x64(True):
        logits = jnp.array([[[1.0, -1.0, 0.5], [OUT, 3.0, -2.0], [OUT, 0.7, OUT]]])
        e = np.exp
        expected = kl([2.0, e(-1), 1.5]) + kl([4.0, e(-2)]) + 0  # one left: no choice
        np.testing.assert_allclose(penalty(logits), expected, rtol=1e-10)
        np.testing.assert_allclose(
            regularizers.dirichlet_kl(logits, None, None), 1e-3 * expected, rtol=1e-10
        )


def test_kl_gradient_in_closed_form():
    """dKL/dc = (c - 1) psi'(c) - (s - K) psi'(s), times dc/da; 0 at logits of 0."""
    a = np.array([1.0, -1.0, 0.5, -3.0])
    c = np.where(a > 0, a + 1, np.exp(a))
    trigamma = lambda x: special.polygamma(1, x)  # noqa: E731
    slopes = (c - 1) * trigamma(c) - (c.sum() - 4) * trigamma(c.sum())
    expected = slopes * np.where(a > 0, 1, np.exp(a))
    logits = jnp.array([[[*a, OUT], [0.0, 0.0, OUT, 0.0, 0.0]]], jnp.float32)
    value, got = jax.value_and_grad(penalty)(logits)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(got[0, 0], [*expected, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[0, 1], 0, atol=1e-6)


def test_kl_of_tiny_concentrations_is_finite():
    """At the floor of the concentration the slope is 0, not NaN."""
    value, slopes = jax.value_and_grad(penalty)(jnp.array([[[-100.0, 0.0, -200.0]]]))
    assert np.isfinite(value) and np.isfinite(slopes).all()


@pytest.mark.parametrize(
    "factor",
    [lambda p: p, lambda p: 1 - p, lambda p: p * (1 - p), lambda p: 1.0],
    ids=["rising", "falling", "between", "constant"],
)
def test_a_factor_may_be_zero_at_either_end(factor, monkeypatch):
    """The contract asks that the logits matter somewhere in the search."""

    def scheduled(logits, weights, progress):
        return factor(progress) * (weights**2).mean()

    monkeypatch.setattr(registry.REGULARIZERS, "_entries", {"mine": scheduled})
    testing.check_regularizer("mine")


def test_a_penalty_that_never_depends_on_the_logits_is_refused(monkeypatch):
    """A value that changes over the search, with a gradient of 0 throughout."""

    def idle(logits, weights, progress):
        return progress + 0 * (weights**2).mean()

    monkeypatch.setattr(registry.REGULARIZERS, "_entries", {"mine": idle})
    rule = "mine must depend on the logits at progress 0, 1/2 or 1"
    with pytest.raises(AssertionError, match=rule):
        testing.check_regularizer("mine")


def by_space(logits, weights, progress, space, *, strength=2.0):
    """A penalty that needs the space: the weight of skip connections."""
    return strength * (weights * space.where("skip_connect")).sum()


def of_three(logits, weights, progress):
    """A penalty of an earlier release."""
    return (weights**2).sum()


def with_number(logits, weights, progress, strength=3.0):
    """A number that is passed by position is no space."""
    return strength * (weights**2).sum()


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        # skip_connect has a weight of .25 on each of tiny's 2 x 5 edges
        (by_space, 5.0),
        (functools.partial(by_space, strength=4.0), 10.0),
        (of_three, 2.5),
        (with_number, 7.5),
        (regularizers.zero_one, -10 * 0.0625),
    ],
    ids=["space", "partial", "three", "number", "zero_one"],
)
def test_the_loss_gives_the_space_to_those_that_take_it(penalty, expected):
    """In the validation loss of a network whose cross-entropy is log 2."""
    space = spaces.zoo.tiny()
    supernet = networks.Supernet(
        None, lambda params, x, weights, **more: jnp.zeros((len(x), 2)), space
    )
    _, valid_loss = losses.build_losses(
        supernet, relaxations.softmax, regularizers=[penalty]
    )
    batch = losses.Batch(jnp.zeros((3, 4, 4, 1)), jnp.array([0, 1, 0]), jnp.float32(0))
    loss, _ = valid_loss(jax.random.key(0), {}, jnp.zeros(space.shape), batch)
    np.testing.assert_allclose(loss, np.log(2) + expected, rtol=1e-5)


def test_a_method_s_regularizers_get_the_space_too(monkeypatch):
    """By name, and checked by the contract."""
    known = {"by_space": by_space, "of_three": of_three}
    monkeypatch.setattr(registry.REGULARIZERS, "_entries", known)
    for name in known:
        testing.check_regularizer(name)
    method = dataclasses.replace(methods.darts(), regularizers=tuple(known))
    space = spaces.zoo.tiny()
    gradient.check(method, space)
    made = resolve.resolve(method, space, steps_per_epoch=1, epochs=1).regularizers
    made = [regularizers.with_all(one) for one in made]
    weights = jnp.full(space.shape, 0.25)
    given = weights, weights, 0.0, space, 1.0, None
    assert [float(penalty(*given)) for penalty in made] == [5.0, 2.5]


@pytest.mark.parametrize(
    "penalty", [lambda logits, weights: 0.0, lambda a, b, c, d, e, f, g: 0.0]
)
def test_a_regularizer_of_other_arguments_is_refused(penalty):
    """Before anything is compiled, with what to write."""
    method = dataclasses.replace(methods.darts(), regularizers=(penalty,))
    rule = r"must take \(logits, weights, progress, space, loss, costs\), got"
    with pytest.raises(TypeError, match=rule):
        gradient.check(method, spaces.zoo.tiny())


CHAIN = spaces.zoo_chains.tiny_chain()
SIZE = networks.Size(4, 1, 2, channels=1, image_size=(8, 8))


def cost_by_hand(weights, cost):
    """Sum over positions of sum p_o cost_o, by measuring derived networks."""
    base = networks.measure(networks.derived(CHAIN.genotype([0] * 4), SIZE), (8, 8, 1))[
        cost
    ]
    total = float(base)
    for gene, size in enumerate(CHAIN.sizes):
        leaf, row = CHAIN.row_of(gene)
        p = np.asarray(weights[leaf][row], np.float64)
        p = p / p.sum()
        for option in range(1, size):
            genes = [0] * 4
            genes[gene] = option
            network = networks.derived(CHAIN.genotype(genes), SIZE)
            total += p[option] * (networks.measure(network, (8, 8, 1))[cost] - base)
    return total


@pytest.mark.parametrize("cost", ["parameters", "macs"])
def test_cost_terms_are_their_formulas(cost):
    """Of the expected cost, in a chain of unequal rows; gradients by differences."""
    costs = networks.option_costs(CHAIN, SIZE, (8, 8, 1))
    rng = np.random.default_rng(0)
    weights = {
        "of_2": jnp.asarray(rng.random((3, 2)) + 0.2, jnp.float32),
        "of_3": jnp.asarray(rng.random((1, 3)) + 0.2, jnp.float32),
    }
    expected = cost_by_hand(weights, cost)
    ends = [
        networks.measure(networks.derived(CHAIN.genotype(g), SIZE), (8, 8, 1))[cost]
        for g in itertools.product(range(3), range(2), range(2), range(2))
    ]
    given = weights, weights, 0.0, CHAIN, jnp.float32(1.7), costs
    found = regularizers.expected_cost(*given, strength=3.0, cost=cost)
    want = 3 * (expected - min(ends)) / (max(ends) - min(ends))
    np.testing.assert_allclose(found, want, rtol=1e-4)
    numbers = {"alpha": 0.3, "beta": 0.5, "cost": cost}
    whole = 1.7 + regularizers.log_cost(*given, **numbers)
    np.testing.assert_allclose(whole, 1.7 * 0.3 * np.log(expected) ** 0.5, rtol=1e-5)

    def of_loss(loss):
        more = weights, weights, 0.0, CHAIN, loss, costs
        return loss + regularizers.log_cost(*more, **numbers)

    slope = jax.grad(of_loss)(jnp.float32(1.7))  # of the loss itself too
    np.testing.assert_allclose(slope, 0.3 * np.log(expected) ** 0.5, rtol=1e-5)


def test_cost_terms_in_a_search():
    """A strong one finds the cheapest chain; it needs the size of the images."""
    piece = functools.partial(regularizers.expected_cost, strength=100.0)
    method = dataclasses.replace(
        methods.darts(), regularizers=(piece,), epochs=4, batch_size=4, features=4,
        layers=1, watch_interval=0, logits_learning_rate=0.3,
    )  # fmt: skip
    augment = data.Augment((0.5,), (0.3,))
    without = dataclasses.replace(SIZE, image_size=None)
    with pytest.raises(ValueError, match="image_size must be rows and columns where"):
        gradient.build_segments(
            method, CHAIN, gradient.Setting(without, augment, (8, 8))
        )
    setting = gradient.Setting(SIZE, augment, (8, 8))
    (segment,) = gradient.build_segments(method, CHAIN, setting)
    split = jax.random.uniform(jax.random.key(0), (8, 8, 8, 1)), jnp.arange(8) % 2
    state = segment.program.init(jax.random.key(1))
    state, _ = program.run(segment.program, state, (split, split))
    encoding, _ = gradient.derive(segment.pieces, CHAIN, state)
    cost = segment.pieces.costs["parameters"]
    weights = CHAIN.weights(encoding)
    assert float(cost.of(weights)) == networks.extent(cost)[0]
    with pytest.raises(ValueError, match="cost must be one of parameters, macs, got"):
        regularizers.expected_cost(
            weights, weights, 0.0, CHAIN, 1.0, segment.pieces.costs, cost="mac"
        )
