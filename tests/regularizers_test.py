"""Tests of regularizers: closed forms in SciPy's float64, an integral, logits out."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from jnas import networks, registry, spaces, testing
from jnas.gradient import losses, methods, regularizers, relaxations, resolve

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
    resolve.check(method, space)
    made = resolve.resolve(method, space, steps_per_epoch=1, epochs=1).regularizers
    weights = jnp.full(space.shape, 0.25)
    assert [float(r(weights, weights, 0.0, space)) for r in made] == [5.0, 2.5]


@pytest.mark.parametrize(
    "penalty", [lambda logits, weights: 0.0, lambda a, b, c, d, e: 0.0]
)
def test_a_regularizer_of_other_arguments_is_refused(penalty):
    """Before anything is compiled, with what to write."""
    method = dataclasses.replace(methods.darts(), regularizers=(penalty,))
    rule = r"must take \(logits, weights, progress, space\), got"
    with pytest.raises(TypeError, match=rule):
        resolve.check(method, spaces.zoo.tiny())
