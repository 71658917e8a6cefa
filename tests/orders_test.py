"""Tests of the orders of a step, the progress of schedules, and weight regularizers."""

import dataclasses
import functools

import hooks_test
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jnas import gradient, registry, types
from jnas.gradient import bilevel, progress, resolve, weight_regularizers
from jnas.training import optimizers, program


def train_loss(key, w, a, batch):
    """Bilinear: its gradients are w' a + b."""
    noise = jax.random.normal(key, ()) if key is not None else 0.0
    return (w * a * batch + w**2 + noise * w).sum(), {"of": jnp.float32(1)}


def valid_loss(key, w, a, batch):
    """Another one, with the same draws."""
    loss, _ = train_loss(key, w, a, batch)
    return loss + (3 * a).sum(), {"of": jnp.float32(2)}


def made(order):
    """An optimizer of rate .1 below and momentum above, and its first state."""
    own = registry.ORDERS[order](
        train_loss,
        valid_loss,
        params_optimizer=optax.sgd(0.1),
        logits_optimizer=optimizers.momentum_sgd(
            0.2, momentum=0.9, weight_decay=0.01, clip_norm=None
        ),
        hypergradient=bilevel.one_level if order == "together" else bilevel.first_order,
    )
    return own, own.init(jnp.array([1.0, 2.0]), jnp.array([0.5, -1.0]))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("order", list(registry.ORDERS))
def test_each_order_is_its_plain_steps(order, frozen):
    """Two steps, written out: gradients, momentum of the logits, frozen ones."""
    own, state = made(order)
    w, a, m = np.array([1.0, 2.0]), np.array([0.5, -1.0]), np.zeros(2)
    for number in range(2):
        key = jax.random.key(number)
        outer, inner = jax.random.split(key)
        train, valid = 2.0 + number, 5.0 - number
        state, info = jax.jit(own.step)(
            key, state, train, valid, frozen=jnp.bool_(frozen)
        )

        def below(w, a, key, batch):
            return a * batch + 2 * w + float(jax.random.normal(key, ()))

        def above(w, batch):
            return w * batch + 3

        def moved(a, m, slope):
            if frozen:
                return a, m
            m = 0.9 * m + slope + 0.01 * a
            return a - 0.2 * m, m

        if order == "logits_first":
            a, m = moved(a, m, above(w, valid))
            w = w - 0.1 * below(w, a, inner, train)
        elif order == "params_first":
            w = w - 0.1 * below(w, a, inner, train)
            a, m = moved(a, m, above(w, valid))
        else:
            slope = above(w, train)
            w, (a, m) = w - 0.1 * below(w, a, inner, train), moved(a, m, slope)
        np.testing.assert_allclose(state.params, w, rtol=1e-5)
        np.testing.assert_allclose(state.logits, a, rtol=1e-5)
        want = (2, 2) if order == "together" else (1, 2)
        assert (info.train_metrics["of"], info.valid_metrics["of"]) == want


@pytest.mark.parametrize("order", list(registry.ORDERS))
def test_a_rule_adjusts_the_gradient_and_keeps_parameters(order):
    """What it adds moves w; where it says no, w keeps its bits despite momentum."""
    own, state = made(order)
    seen = []

    def adjust(params, logits, grads):
        seen.append(logits)
        return grads + 10.0, jnp.array([True, False]), {"count": jnp.int32(7)}

    key = jax.random.key(0)
    plain, _ = own.step(key, state, 2.0, 5.0)
    after, info = own.step(key, state, 2.0, 5.0, adjust=adjust)
    np.testing.assert_allclose(after.params[0], plain.params[0] - 1.0, rtol=1e-5)
    assert after.params[1] == state.params[1] and plain.params[1] != state.params[1]
    assert info.carry["count"] == 7
    first = order == "logits_first"  # the others see the logits before their move
    assert bool((seen[0] == (after if first else state).logits).all())


def test_progress_by_hand():
    """Of five epochs of four steps: the papers' own schedules of their epochs."""
    for epoch in range(5):
        step = 4 * epoch + 1
        clock = program.Clock(jnp.int32(epoch), jnp.float32(step / 20), jnp.int32(step))
        got = {n: float(registry.PROGRESS[n](clock, 5)) for n in registry.PROGRESS}
        assert got == {
            "by_step": pytest.approx(step / 20),
            "by_epoch": pytest.approx(epoch / 4),
            "by_epochs_begun": pytest.approx((epoch + 1) / 5),
            "by_epochs_done": pytest.approx(epoch / 5),
        }
    assert float(progress.by_epoch(clock._replace(epoch=jnp.int32(0)), 1)) == 0


def test_schedules_of_pieces_follow_the_progress_of_the_method():
    """A relaxation that notes what it is given: by epoch, not by step."""
    seen = []

    def noting(key, logits, progress):
        jax.debug.callback(lambda p: seen.append(round(float(p), 6)), progress)
        return jax.nn.softmax(logits, -1)

    hooks_test.run(hooks_test.short(relaxation=noting, progress="by_epoch"))
    jax.effects_barrier()
    assert set(seen) <= {0.0, 0.5, 1.0} and {0.0, 0.5, 1.0} <= set(seen)


def counting(problem, *, by=1.0):
    """Adds to the gradient of every parameter, and counts its calls."""

    def call(key, clock, params, logits, grads, train, valid, carry):
        grads = jax.tree.map(lambda g: g + by, grads)
        return grads, None, (carry[0] + 1, clock.step)

    return types.WeightRegularizer(
        lambda params, logits: (jnp.int32(0), jnp.int32(0)), call
    )


def test_weight_regularizers_act_in_order_with_carries_of_their_own():
    """Two rules of a search: both carries, the clock, and the sum of what they add."""
    first = functools.partial(counting, by=1.0)
    second = functools.partial(counting, by=-1.0)
    one = hooks_test.short(clip_norm=0.0)
    _, plain, _, _ = hooks_test.run(one)
    both = dataclasses.replace(one, weight_regularizers=(first, second))
    _, state, _, _ = hooks_test.run(both)
    assert [int(carry[0]) for carry in state.inner.regularizers] == [12, 12]
    assert [int(carry[1]) for carry in state.inner.regularizers] == [11, 11]
    # x + 1 - 1 rounds in float32
    for mine, theirs in zip(
        *map(jax.tree.leaves, (state.inner.params, plain.inner.params)), strict=True
    ):
        np.testing.assert_allclose(mine, theirs, atol=2e-4)
    alone = dataclasses.replace(one, weight_regularizers=(first,))
    _, moved, _, _ = hooks_test.run(alone)
    leaves = map(jax.tree.leaves, (moved.inner.params, plain.inner.params))
    assert max(float(np.abs(a - b).max()) for a, b in zip(*leaves, strict=True)) > 0.1


def test_rules_without_a_carry_and_rules_that_keep_parameters():
    """``without_carry`` adds; of two masks a parameter moves where both let it."""
    adding = weight_regularizers.without_carry(
        lambda key, clock, params, logits, train: jax.tree.map(jnp.ones_like, params)
    )

    def keeping(mask):
        def call(key, clock, params, logits, grads, train, valid, carry):
            return grads, {"w": jnp.array(mask)}, carry

        return lambda problem: types.WeightRegularizer(lambda p, a: (), call)

    rules = (lambda problem: adding), keeping([True, False, True]), keeping([True] * 3)
    built = weight_regularizers.build((*rules, keeping([False, True, True])), None)
    params = {"w": jnp.zeros(3)}
    carry = built.init(params, None)
    given = jax.random.key(0), None, params, None, {"w": jnp.zeros(3)}, None, None
    grads, moves, after = built.call(*given, carry)
    assert grads["w"].tolist() == [1, 1, 1] and after == ((), (), (), ())
    assert moves["w"].tolist() == [False, False, True]
    assert weight_regularizers.build((), None) is None


REFUSED = {
    "hypergradient must be one_level with order together, got first_order": dict(
        order="together"
    ),
    "perturbation must be left out with order together, got uniform": dict(
        order="together", hypergradient="one_level", perturbation="uniform"
    ),
    "order must be one of .*Did you mean 'together'": dict(order="togeher"),
    "progress must be one of .*Did you mean 'by_epoch'": dict(progress="by_epoc"),
    "weight regularizer must be one of": dict(weight_regularizers=("nothing",)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_wrong_pieces_are_refused(message):
    """Before anything runs, with the nearest name."""
    with pytest.raises((KeyError, ValueError), match=message):
        gradient.check(hooks_test.short(**REFUSED[message]), hooks_test.MINI)


def test_snas_and_gdas_have_their_codes_numbers():
    """One level, temperature by epoch, N(1, .01), clipped at 10; the winner alone."""
    snas, gdas = registry.METHODS["snas"](), registry.METHODS["gdas"]()
    assert (snas.hypergradient, snas.order) == ("one_level", "together")
    assert (snas.relaxation, snas.progress) == (
        "gumbel_softmax_linear", "by_epochs_begun",
    )  # fmt: skip
    assert (snas.logits_mean, snas.logits_scale, snas.logits_clip_norm) == (1, 0.01, 10)
    assert (snas.drop_path_rate, snas.epochs, snas.batch_size) == (0.3, 150, 64)
    assert (gdas.relaxation, gdas.order) == ("straight_through_winner", "params_first")
    assert (gdas.progress, gdas.batch_size, gdas.epochs) == ("by_epoch", 256, 250)
    own = registry.METHODS["gdas_nasbench201"]()
    assert (own.relaxation, own.batch_size) == ("straight_through", 64)
    # 10 - 9.9 e / 249, as its code has it
    for epoch in (0, 100, 249):
        clock = program.Clock(jnp.int32(epoch), jnp.float32(0), jnp.int32(0))
        share = float(progress.by_epoch(clock, 250))
        assert 10 + (0.1 - 10) * share == pytest.approx(10 - 9.9 * epoch / 249)


def test_logits_start_at_their_mean_and_are_clipped():
    """N(1, .01) of SNAS; a gradient of norm 50 becomes one of norm 10 before Adam."""
    one = hooks_test.short(logits_mean=1.0, logits_scale=0.01)
    _, _, logits, _ = hooks_test.run(one)
    assert abs(logits[0].mean() - 1) < 0.02 and 0 < logits[0].std() < 0.03
    clipped = dataclasses.replace(
        registry.METHODS["darts"](), logits_clip_norm=10.0,
        logits_optimizer=functools.partial(
            optimizers.momentum_sgd, momentum=0.0, clip_norm=None
        ),
        logits_weight_decay=0.0, logits_learning_rate=1.0,
    )  # fmt: skip
    tx = resolve._logits_optimizer(clipped)
    slope = jnp.array([30.0, 40.0])
    updates, _ = tx.update(slope, tx.init(slope), slope)
    np.testing.assert_allclose(updates, [-6, -8], rtol=1e-6)
