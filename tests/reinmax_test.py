"""Tests of ReinMax: its mean by enumeration, the authors' formula, every rule for w."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas import gradient, registry, spaces
from jnas.gradient import methods, one_hot

OUT = -jnp.inf


def softmax(x):
    """Computes softmax over the last axis in NumPy's float64."""
    e = np.exp(np.asarray(x, np.float64) - np.max(x, -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def by_formula(logits, drawn, slope, temperature):
    """The backward pass of the authors' code, row by row."""
    found = np.zeros_like(logits)
    for row in np.ndindex(*logits.shape[:-1]):
        p, d, g = softmax(logits[row]), drawn[row], slope[row]
        q = 0.5 * (softmax(logits[row] / temperature) + d)
        jacobian = lambda x: np.diag(x) - np.outer(x, x)  # noqa: E731
        whole = jacobian(q) @ (2 * g) - 0.5 * jacobian(p) @ g
        found[row] = whole - whole.mean()
    return found


@pytest.mark.parametrize("temperature", [1.0, 1.4])
def test_the_gradient_is_the_authors_formula(temperature):
    """For the sample that was drawn, in float64, at both temperatures."""
    rng = np.random.default_rng(0)
    logits, slope = rng.normal(size=(2, 2, 5, 4))
    with jax.enable_x64(True):
        relax = functools.partial(one_hot.reinmax, temperature=temperature)
        for seed in range(3):
            drawn, back = jax.vjp(
                lambda a, s=seed: relax(jax.random.key(s), a, 0.5), jnp.asarray(logits)
            )
            assert set(np.unique(drawn)) == {0.0, 1.0}
            np.testing.assert_array_equal(np.asarray(drawn).sum(-1), 1)
            want = by_formula(logits, np.asarray(drawn), slope, temperature)
            np.testing.assert_allclose(back(jnp.asarray(slope))[0], want, atol=1e-12)


def mean_estimate(relax, loss, logits):
    """The estimator's mean over all samples of two rows, each by its probability."""
    num = logits.shape[-1]
    p, total, seen = softmax(logits), np.zeros(logits.shape), {}
    gradient_of = jax.jit(
        lambda key: (
            relax(key, logits, 0.0),
            jax.grad(lambda a: loss(relax(key, a, 0.0)))(logits),
        )
    )
    for seed in range(200):  # until each pair of options was drawn
        drawn, found = gradient_of(jax.random.key(seed))
        seen[tuple(np.asarray(drawn).argmax(-1))] = np.asarray(found)
        if len(seen) == num**2:
            break
    for pair in itertools.product(range(num), repeat=2):
        total += p[0, pair[0]] * p[1, pair[1]] * seen[pair]
    return total


def test_the_mean_is_exact_for_quadratics_at_temperature_one():
    """Against the gradient of the enumerated mean loss; other cases are not exact.

    Two rows of three, with terms across the rows; the sample decides the whole
    gradient, so that each pair of options needs to be seen once.
    """
    rng = np.random.default_rng(1)
    square, linear = rng.normal(size=(6, 6)), rng.normal(size=6)
    with jax.enable_x64(True):
        logits = jnp.asarray(rng.normal(size=(2, 3)))

        def quadratic(w):
            w = w.reshape(-1)
            return w @ square @ w + linear @ w

        def cubic(w):
            return (linear @ w.reshape(-1)) ** 3

        def exact(loss):
            eye = jnp.eye(3)

            def mean(logits):
                p = jax.nn.softmax(logits, -1)
                pairs = itertools.product(range(3), repeat=2)
                return sum(
                    p[0, i] * p[1, j] * loss(jnp.stack([eye[i], eye[j]]))
                    for i, j in pairs
                )

            return np.asarray(jax.grad(mean)(logits))

        warm = functools.partial(one_hot.reinmax, temperature=1.5)
        error = lambda relax, loss: np.abs(  # noqa: E731
            mean_estimate(relax, loss, logits) - exact(loss)
        ).max()
        assert error(one_hot.reinmax, quadratic) < 1e-12
        assert error(warm, quadratic) > 1e-2
        assert error(one_hot.reinmax, cubic) > 1e-2


def test_options_are_drawn_by_softmax():
    """40,000 draws, to 5 standard errors; what is out is never drawn."""
    logits = jnp.array([0.0, 1.0, OUT, -1.0])
    keys = jax.random.split(jax.random.key(0), 40_000)
    drawn = jax.vmap(lambda key: one_hot.reinmax(key, logits, 0.0))(keys)
    p = softmax(np.array([0.0, 1.0, -1.0]))
    error = np.sqrt(p * (1 - p) / 40_000)
    assert not np.asarray(drawn[:, 2]).any()
    share = np.asarray(drawn[:, jnp.array([0, 1, 3])]).mean(0)
    assert (np.abs(share - p) < 5 * error).all()


def test_rows_with_options_out_are_narrower_rows():
    """The gradient of a row of five, two of them out, is that of a row of three."""
    logits, slope = jnp.array([0.4, OUT, -0.3, 1.2, OUT]), jnp.arange(5.0)
    drawn, back = jax.vjp(lambda a: one_hot.reinmax(jax.random.key(1), a, 0.0), logits)
    inside = np.array([0, 2, 3])
    want = by_formula(
        np.asarray(logits, np.float64)[inside],
        np.asarray(drawn)[inside],
        np.asarray(slope)[inside],
        1.0,
    )
    got = np.asarray(back(slope)[0])
    np.testing.assert_allclose(got[inside], want, atol=1e-6)
    assert got[1] == got[4] == drawn[1] == drawn[4] == 0


def test_a_temperature_below_one_is_refused_before_anything_runs():
    """As the released code does; in one line that says what to do."""
    method = methods.reinmax()
    gradient.check(method, spaces.zoo.tiny())
    cold = functools.partial(one_hot.reinmax, temperature=0.5)
    for name in ("relaxation", "eval_relaxation"):
        with pytest.raises(ValueError, match="temperature must be at least 1 in reinm"):
            changed = dataclasses.replace(method, **{name: cold})
            gradient.check(changed, spaces.zoo.tiny())


# zarts compares losses at other logits, where the matrix has no one-hot weights
DERIVATIVES = [name for name in registry.HYPERGRADIENTS if name != "zarts"]


@pytest.mark.parametrize("name", DERIVATIVES)
def test_every_hypergradient_takes_its_jacobian(name, monkeypatch):
    """Each rule finds the same as with the Jacobian written out as a constant matrix.

    L_train = w' C x + |w|^2 / 2 and L_valid = v'w + s'x, of which x is the sample, held
    at one option: the rules draw with different keys.
    """
    monkeypatch.setattr(jax.random, "categorical", lambda key, logits: 1)
    rng = np.random.default_rng(2)
    c, v, s = (jnp.asarray(rng.normal(size=n), jnp.float32) for n in ((2, 3), 2, 3))
    logits, w = jnp.array([1.0, 0.0, -0.5]), jnp.array([0.5, -1.0])
    p, drawn = jnp.asarray(softmax(logits), jnp.float32), jnp.array([0.0, 1.0, 0.0])
    q = (p + drawn) / 2
    matrix = 2 * (jnp.diag(q) - jnp.outer(q, q)) - (jnp.diag(p) - jnp.outer(p, p)) / 2

    def hyper(relax):
        def train(key, params, logits, batch):
            x = relax(key, logits, 0.0)
            return params @ c @ x + params @ params / 2, {}

        def valid(key, params, logits, batch):
            return v @ params + s @ relax(key, logits, 0.0), {}

        optimizer = optax.sgd(0.1)
        rule = registry.HYPERGRADIENTS[name](train, valid, optimizer)
        given = w, optimizer.init(w), logits, None, None
        return rule(jax.random.key(0), *given)[1]

    def written_out(key, given, progress):
        return drawn + matrix @ (given - logits)

    want = hyper(written_out)
    assert np.abs(want).max() > 0.05
    # a finite difference's own error in float32 is near 1e-5
    np.testing.assert_allclose(hyper(one_hot.reinmax), want, atol=3e-5)


def test_the_row_is_gdas_with_its_estimator():
    """Nothing else differs, but that every candidate is computed."""
    row, gdas = methods.reinmax(), methods.gdas()
    assert (row.relaxation, row.skip_zeros) == ("reinmax", False)
    same = "epochs weight_decay nesterov learning_rate logits_learning_rate batch_size"
    for field in same.split():
        assert getattr(row, field) == getattr(gdas, field)
    assert (row.epochs, row.weight_decay, row.nesterov) == (250, 5e-4, True)
    with pytest.raises(ValueError, match="skip_zeros must be off with relaxation rein"):
        gradient.check(dataclasses.replace(row, skip_zeros=True), spaces.zoo.tiny())
